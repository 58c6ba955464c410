"""What reconciliation looks at, of every tenant, in pages by id: rows that ought to be on their way by themselves."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, or_
from sqlalchemy.orm import defer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.scope import Scope
from models.tables import (
    CustomerRow,
    EventCorrectionRow,
    InvoiceRow,
    MeterRow,
    PaymentAttemptRow,
    SubscriptionRow,
    TenantRow,
    UsageSnapshotRow,
)


@dataclass(frozen=True, slots=True)
class Frozen:
    """What an invoice was computed from, and whose events those are."""

    snapshot: UsageSnapshotRow
    meter: MeterRow
    external_customer_id: str


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


async def attempts_by_id(session: AsyncSession, ids: Collection[str]) -> dict[str, PaymentAttemptRow]:
    """Those of the attempts that we have."""
    rows = (await session.exec(select(PaymentAttemptRow).where(col(PaymentAttemptRow.id).in_(ids)))).all()
    return {row.id: row for row in rows}


async def known_tenants(session: AsyncSession, ids: Collection[str]) -> frozenset[str]:
    """Those of the ids that are a tenant's here."""
    return frozenset((await session.exec(select(TenantRow.id).where(col(TenantRow.id).in_(ids)))).all())


async def list_paid_attempts(
    session: AsyncSession, provider: str, since: datetime, until: datetime
) -> Sequence[PaymentAttemptRow]:
    """Attempts that the provider is said to have been paid by, booked in [since, until) (real time), oldest first."""
    row = PaymentAttemptRow
    query = select(row).where(
        row.payment_gateway == provider,
        row.payment_status == "SUCCEEDED",
        col(row.updated_at) >= since,
        col(row.updated_at) < until,
    )
    return (await session.exec(query.order_by(col(row.updated_at), col(row.id)))).all()


async def list_frozen_usage(session: AsyncSession, frozen_after: datetime, behind: str, most: int) -> Sequence[Frozen]:
    """Usage that invoices finalized since then (real time) stand on; the next page is behind the last id."""
    row = UsageSnapshotRow
    query = (
        select(row, MeterRow, CustomerRow.external_id)
        .join(InvoiceRow, col(InvoiceRow.id) == col(row.invoice_id))
        .join(CustomerRow, col(CustomerRow.id) == col(InvoiceRow.customer_id))
        .join(MeterRow, col(MeterRow.id) == col(row.meter_id))
        .where(InvoiceRow.invoice_status == "FINALIZED", col(row.created_at) > frozen_after, col(row.id) > behind)
        .order_by(col(row.id))
        .limit(most)
    )
    return [Frozen(*found) for found in (await session.exec(query)).all()]


async def list_billed_usage(
    session: AsyncSession, scope: Scope, external_customer_ids: Collection[str], first: datetime
) -> Sequence[Frozen]:
    """What final invoices of these customers counted, of periods that end after `first`; without its long columns."""
    row = UsageSnapshotRow
    query = (
        select(row, MeterRow, CustomerRow.external_id)
        .join(InvoiceRow, col(InvoiceRow.id) == col(row.invoice_id))
        .join(CustomerRow, col(CustomerRow.id) == col(InvoiceRow.customer_id))
        .join(MeterRow, col(MeterRow.id) == col(row.meter_id))
        .where(
            CustomerRow.tenant_id == scope.tenant_id,
            CustomerRow.environment_id == scope.environment_id,
            col(CustomerRow.external_id).in_(external_customer_ids),
            InvoiceRow.invoice_status == "FINALIZED",
            col(row.period_end) > first,
        )
        .options(defer(col(row.query)), defer(col(row.daily)))  # type: ignore[arg-type]
    )
    return [Frozen(*found) for found in (await session.exec(query)).all()]


async def correction_of_period(
    session: AsyncSession, scope: Scope, external_customer_id: str, *, since: datetime, start: int, end: int
) -> bool:
    """Whether an event of the customer was corrected since then that lay, or lies, in [start, end) (milliseconds).

    `since` is real time.
    """
    row = EventCorrectionRow
    lies = [
        text["timestamp"].as_string().cast(BigInteger).between(start, end - 1)
        for text in (col(row.before), col(row.after))
    ]
    query = select(row.id).where(
        row.tenant_id == scope.tenant_id,
        row.environment_id == scope.environment_id,
        row.external_customer_id == external_customer_id,
        col(row.created_at) >= since,
        or_(*lies),
    )
    return (await session.exec(query.limit(1))).first() is not None
