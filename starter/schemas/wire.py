"""The wire format: how requests are read and answers are written.

Decimals are text without trailing zeros, instants RFC 3339 in UTC, a field without a value is left out unless its class
names it in `nullable`. Unknown fields of requests are ignored, as in the reference.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from activities.outbox import wire_instant
from billing.errors import Invalid
from billing.money import decimal_text, parse_decimal
from billing.periods import check_utc
from models.queries.paging import LIMIT_DEFAULT, LIMIT_MAX, Condition, Page
from models.tables.base import Entity

DECIMAL_SCHEMA = {"type": "string", "examples": ["12.5"], "description": "A decimal number as text."}
TIME_SCHEMA = {"type": "string", "format": "date-time", "examples": ["2025-01-31T00:00:00Z"]}
NAME_LENGTH_MAX = 255
TEXT_LENGTH_MAX = 10_000


def _read_decimal(value: object) -> Decimal:
    try:
        return parse_decimal(value, "value")
    except Invalid as error:
        raise PydanticCustomError("decimal", "{problem}", {"problem": error.message.removeprefix("value ")}) from error


def _read_instant(value: object) -> object:
    if isinstance(value, str) and "T" in value.upper():
        return value
    if isinstance(value, datetime):
        return value
    raise PydanticCustomError("instant", "must be an RFC 3339 instant, such as 2025-01-31T00:00:00Z")


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise PydanticCustomError("instant", "must name its offset, such as 2025-01-31T00:00:00Z or ...+05:30")
    try:
        return check_utc(value.astimezone(UTC), "instant")
    except (Invalid, OverflowError) as error:
        raise PydanticCustomError("instant", "must lie between the years 1970 and 9990") from error


def _currency_code(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


DecimalIn = Annotated[Decimal, BeforeValidator(_read_decimal), WithJsonSchema(DECIMAL_SCHEMA)]
DecimalOut = Annotated[Decimal, WithJsonSchema(DECIMAL_SCHEMA)]
NumberOut = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""A decimal that the reference writes as a JSON number; all its digits are written."""
Instant = Annotated[datetime, BeforeValidator(_read_instant), AfterValidator(_to_utc), WithJsonSchema(TIME_SCHEMA)]
InstantOut = Annotated[datetime, WithJsonSchema(TIME_SCHEMA)]
Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
Text = Annotated[str, Field(max_length=TEXT_LENGTH_MAX)]
ShortText = Annotated[str, Field(max_length=NAME_LENGTH_MAX)]
Currency = Annotated[str, BeforeValidator(_currency_code), Field(min_length=3, max_length=5, examples=["usd"])]
Metadata = Annotated[dict[Annotated[str, Field(max_length=NAME_LENGTH_MAX)], Text], Field(max_length=100)]
Ids = Annotated[list[ShortText], Field(max_length=1000)]


class Request(BaseModel):
    """A request body. `absent` maps fields of the reference that would change a bill, and that are not offered, to why.

    They are refused instead of ignored: an answer of 201 must never mean less than what was asked for. A null counts as
    not given.
    """

    model_config = ConfigDict(extra="ignore", populate_by_name=True)
    absent: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for name, reason in cls.absent.items():
            if data.get(name):
                facts = {"name": name, "reason": reason}
                raise PydanticCustomError("absent", "{name} must be left out: {reason}", facts)
        return {name: value for name, value in data.items() if value is not None}


class Answer(BaseModel):
    """An answer's body. Fields that are None are left out, except those in `nullable`, which are written as null."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)
    nullable: ClassVar[frozenset[str]] = frozenset()
    numbers: ClassVar[frozenset[str]] = frozenset()
    """Decimal fields that are JSON numbers."""

    def wire(self) -> dict[str, Any]:
        """The body as plain JSON values."""
        body: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value is None and name not in self.nullable:
                continue
            numeric = name in self.numbers and isinstance(value, Decimal)
            body[field.alias or name] = msgspec.Raw(decimal_text(value).encode()) if numeric else to_wire(value)
        return body


class EntityAnswer(Answer):
    """The columns that every stored thing shows."""

    id: str
    tenant_id: str
    environment_id: str
    status: str
    created_at: InstantOut
    updated_at: InstantOut
    created_by: str
    updated_by: str


def entity_columns(row: Entity) -> dict[str, Any]:
    """What every answer takes from its row unchanged."""
    return {name: getattr(row, name) for name in EntityAnswer.model_fields}


class Pagination(Answer):
    """Where a page lies in its list."""

    total: int
    limit: int
    offset: int


class Message(Answer):
    """What was done, in words."""

    message: str


class SortBy(Request):
    """One sort key; the first named sorts first."""

    field: str = "created_at"
    direction: Annotated[str, Field(pattern="^(asc|desc)$")] = "desc"


class FilterBy(Request):
    """One generic filter. `value` holds the operand under the name of its type, or is the operand itself."""

    field: str
    operator: str = "eq"
    data_type: str | None = None
    value: Any = None

    def condition(self) -> Condition:
        """The filter for the query functions."""
        value = self.value
        if isinstance(value, dict):
            value = next((item for item in value.values() if item is not None), None)
        return Condition(self.field, self.operator, value)


class ListParams(Request):
    """What every list takes, in the query string of a GET."""

    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    offset: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    order: Annotated[str, Field(pattern="^(asc|desc)$")] = "desc"
    status: Annotated[str, Field(pattern="^(published|archived|deleted)$")] | None = None
    expand: str = ""
    start_time: Instant | None = None
    end_time: Instant | None = None
    sort: str | None = None

    def page(self) -> Page:
        """The page for the query functions."""
        descending = self.order == "desc"
        sort = tuple((name.strip(), descending) for name in (self.sort or "").split(",") if name.strip())
        return Page(
            self.limit, self.offset, sort or (("created_at", descending),), self.status, self.start_time, self.end_time
        )

    def expands(self, name: str) -> bool:
        """Whether `expand` asks for this nested thing."""
        return name in {part.strip().split(".")[0] for part in self.expand.split(",")}


class SearchParams(ListParams):
    """What every search takes, as a JSON body: the same, and `filters` and several sort keys."""

    sort: list[SortBy] | str | None = None  # type: ignore[assignment]
    filters: Annotated[list[FilterBy], Field(max_length=50)] = Field(default=[])

    def page(self) -> Page:
        """The page for the query functions."""
        descending = self.order == "desc"
        keys = self.sort if isinstance(self.sort, list) else [SortBy(field=self.sort)] if self.sort else []
        sort = tuple((key.field, key.direction == "desc") for key in keys)
        conditions = tuple(entry.condition() for entry in self.filters)
        return Page(
            self.limit, self.offset, sort or (("created_at", descending),), self.status, self.start_time,
            self.end_time, conditions,
        )  # fmt: skip


def to_wire(value: Any) -> Any:
    """Plain JSON values for whatever an answer holds."""
    if isinstance(value, Answer):
        return value.wire()
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return wire_instant(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, dict):
        return {key: to_wire(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_wire(item) for item in value]
    return value


def json_answer(body: Answer | dict[str, Any] | list[Any], status: int = 200) -> Response:
    """The response that carries a body."""
    return Response(msgspec.json.encode(to_wire(body)), status, media_type="application/json")


def list_answer(items: Iterable[Answer], total: int, params: ListParams) -> Response:
    """The list envelope: items and pagination."""
    pagination = Pagination(total=total, limit=params.limit, offset=params.offset)
    return json_answer({"items": [item.wire() for item in items], "pagination": pagination.wire()})


def one_or_many(one: str | None, many: list[str] | None) -> list[str] | None:
    """A filter that the reference offers in the singular and in the plural, as one list."""
    return many if one is None else [one, *(many or [])]


class Changes(Request):
    """A change of some fields: `given()` has those that the request names, the others stay as they are."""

    def given(self, skip: Iterable[str] = ()) -> dict[str, Any]:
        """Field names and their new values; a null counts as not given, as in the reference."""
        names = self.model_fields_set - set(skip)
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
