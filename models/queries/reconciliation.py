"""What reconciliation looks at, of every tenant, in pages by id: rows that ought to be on their way by themselves."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.tables import InvoiceRow, SubscriptionRow


async def list_subscriptions_to_look_up(
    session: AsyncSession,
    *,
    made_before: datetime,
    made_after: datetime | None,
    due_before: datetime,
    again: Collection[str],
    behind: str,
    most: int,
) -> Sequence[SubscriptionRow]:
    """Subscriptions that have something to do and so need a workflow; the next page is behind the last id.

    With `made_after` only those for which it may be missing: made since then, or due before `due_before`, or named in
    `again`. Instants are real time; those of test clocks are never due by it.
    """
    row = SubscriptionRow
    query = select(row).where(col(row.next_action_at).is_not(None), col(row.created_at) < made_before)
    if made_after is not None:
        is_due = col(row.test_clock_id).is_(None) & (col(row.next_action_at) < due_before)
        query = query.where(or_(col(row.created_at) > made_after, is_due, col(row.id).in_(again)))
    return (await session.exec(query.where(col(row.id) > behind).order_by(col(row.id)).limit(most))).all()


async def list_overdue_subscriptions(session: AsyncSession, before: datetime, most: int) -> Sequence[SubscriptionRow]:
    """Subscriptions in real time whose boundary passed before `before`, the longest overdue first."""
    due = col(SubscriptionRow.next_action_at)
    query = select(SubscriptionRow).where(due < before, col(SubscriptionRow.test_clock_id).is_(None))
    return (await session.exec(query.order_by(due, col(SubscriptionRow.id)).limit(most))).all()


async def list_overdue_invoices(session: AsyncSession, before: datetime, most: int) -> Sequence[InvoiceRow]:
    """Invoices in real time that should have acted before `before`, the longest overdue first."""
    due = col(InvoiceRow.next_action_at)
    query = select(InvoiceRow).where(due < before, col(InvoiceRow.test_clock_id).is_(None))
    return (await session.exec(query.order_by(due, col(InvoiceRow.id)).limit(most))).all()


async def list_invoices_without_document(session: AsyncSession, before: datetime, most: int) -> Sequence[InvoiceRow]:
    """Invoices that were finalized, last changed before `before` (real time), and have no PDF."""
    row = InvoiceRow
    query = select(row).where(
        col(row.invoice_status) == "FINALIZED",
        col(row.invoice_number).is_not(None),
        col(row.document_key).is_(None),
        col(row.updated_at) < before,
    )
    return (await session.exec(query.order_by(col(row.updated_at), col(row.id)).limit(most))).all()


async def known_ids(session: AsyncSession, ids: Collection[str]) -> frozenset[str]:
    """Those of the ids that are a subscription's or an invoice's."""
    found: set[str] = set()
    for column in (SubscriptionRow.id, InvoiceRow.id):
        found.update((await session.exec(select(column).where(col(column).in_(ids)))).all())
    return frozenset(found)
