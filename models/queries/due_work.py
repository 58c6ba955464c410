"""What is due by the calendar and has not been done, of customers who live by real time; test clocks do their own."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import ColumnElement, func, or_, tuple_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.tables import CustomerRow, InvoiceLineRow, InvoiceRow, SubscriptionRow

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


@dataclass(frozen=True, slots=True)
class WaitingDraft:
    """A draft whose grace is over, how events name its customer, and the meters that it charges for."""

    invoice_id: str
    external_customer_id: str
    meter_ids: frozenset[str]
    place: tuple[datetime, str]
    """In the order in which drafts were made."""


async def list_drafts_like(
    session: AsyncSession, like: InvoiceRow, cutoff: datetime, after: tuple[datetime, str] | None, most: int
) -> list[WaitingDraft]:
    """Drafts of the same environment, plan and period that may be finalized at `cutoff`, as they were made.

    That one itself, and those behind the place `after`, `most` at most; only those with usage.
    """
    draft, made = InvoiceRow, tuple_(col(InvoiceRow.created_at), col(InvoiceRow.id))
    plan = select(SubscriptionRow.plan_id).where(SubscriptionRow.id == like.subscription_id).scalar_subquery()
    waiting = (
        select(draft.id, draft.customer_id, draft.created_at)
        .join(SubscriptionRow, col(SubscriptionRow.id) == col(draft.subscription_id))
        .where(
            draft.invoice_status == "DRAFT",
            draft.billing_reason == like.billing_reason,
            draft.period_start == like.period_start,
            draft.period_end == like.period_end,
            draft.timezone == like.timezone,
            col(draft.next_action_at) <= cutoff,
            col(draft.test_clock_id).is_(None),
            SubscriptionRow.plan_id == plan,
        )
        .order_by(col(draft.id) != like.id, made)
        .limit(most)
    )
    if after is not None:
        waiting = waiting.where(or_(col(draft.id) == like.id, made > tuple_(*after)))
    some = waiting.subquery()
    query = (
        select(
            some.c.id,
            CustomerRow.external_id,
            some.c.created_at,
            func.array_agg(col(InvoiceLineRow.meter_id).distinct()),
        )
        .join(CustomerRow, col(CustomerRow.id) == some.c.customer_id)
        .join(InvoiceLineRow, col(InvoiceLineRow.invoice_id) == some.c.id)
        .where(InvoiceLineRow.kind == "usage")
        .group_by(some.c.id, CustomerRow.external_id, some.c.created_at)
        .order_by(some.c.created_at, some.c.id)
    )
    return [
        WaitingDraft(name, customer, frozenset(meters), (at, name))
        for name, customer, at, meters in (await session.execute(query)).all()
    ]


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
