"""What is due by the calendar and has not been done, of customers who live by real time; test clocks do their own."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import ColumnElement, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.tables import InvoiceRow, SubscriptionRow

Row = TypeVar("Row", SubscriptionRow, InvoiceRow)


@dataclass(frozen=True, slots=True)
class DueFilter:
    """What was there at the real instant `known_by` and has its next action at or before `as_of`.

    Of one tenant, or of one of its customers; None: of all.
    """

    as_of: datetime
    known_by: datetime
    tenant_id: str | None = None
    customer_id: str | None = None


async def count_due(session: AsyncSession, table: type[Row], wanted: DueFilter) -> int:
    """How many are due."""
    query = select(func.count()).select_from(table).where(*_is_due(table, wanted))
    return int((await session.exec(query)).one())


async def list_due(session: AsyncSession, table: type[Row], wanted: DueFilter, after: str, most: int) -> list[Row]:
    """Those due with ids behind `after`, by id, `most` at most: what is done meanwhile moves nothing else."""
    query = select(table).where(*_is_due(table, wanted), col(table.id) > after).order_by(col(table.id)).limit(most)
    return list((await session.exec(query)).all())


def _is_due(table: type[Row], wanted: DueFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        col(table.next_action_at) <= wanted.as_of,
        col(table.created_at) <= wanted.known_by,
        col(table.test_clock_id).is_(None),
    ]
    if wanted.tenant_id is not None:
        conditions.append(col(table.tenant_id) == wanted.tenant_id)
    if wanted.customer_id is not None:
        conditions.append(col(table.customer_id) == wanted.customer_id)
    return conditions
