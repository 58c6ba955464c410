"""Column types and the columns that every table shares.

`table=True` models check nothing on construction, so types, CHECKs and row-level security live in the database; the
values that the code reasons about are the dataclasses of `billing/`.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import DateTime, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel


class UtcTime(TypeDecorator[datetime]):
    """`timestamptz`, aware UTC on both sides; a naive value is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; instants are aware UTC")
        return value

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC)


class Amount(TypeDecorator[Decimal]):
    """Money in major units. No scale, which would round in silence: a CHECK holds each to its currency's exponent."""

    impl = Numeric
    cache_ok = True


class Rate(TypeDecorator[Decimal]):
    """Unit prices, quantities and percentages, exact to 15 decimals."""

    impl = Numeric(38, 15)
    cache_ok = True


class Json(TypeDecorator[Any]):
    """`jsonb`; decimals inside travel as strings."""

    impl = JSONB
    cache_ok = True


class LongText(TypeDecorator[str]):
    """`text` without a length."""

    impl = Text
    cache_ok = True


class Scoped(SQLModel):
    """What every row carries: whose it is. Row-level security filters on exactly these two columns."""

    tenant_id: str
    environment_id: str


class Entity(Scoped):
    """A row with an id of its own and the bookkeeping columns of the wire format."""

    id: str = Field(primary_key=True)
    status: str = "published"
    created_at: datetime = Field(sa_type=UtcTime)
    updated_at: datetime = Field(sa_type=UtcTime)
    created_by: str = ""
    updated_by: str = ""
