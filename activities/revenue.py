"""Deferred revenue: put aside when an advance line is finalized, released when its period has ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.bookkeeping import scope_of
from activities.drafting import line_from_row
from billing.invoices import Invoice
from billing.ledger import deferred_amount, release_deferred, reversed_amount
from billing.money import minus, total
from models.database import Database
from models.queries.ledger import find_deferred, insert_posting, list_releasable
from models.scope import Scope
from models.tables import DeferredRevenueRow, InvoiceLineRow, InvoiceRow

BATCH = 500


async def defer_revenue(
    session: AsyncSession, scope: Scope, row: InvoiceRow, invoice: Invoice, lines: Sequence[InvoiceLineRow]
) -> None:
    """Notes what the lines of a finalized invoice put into deferred revenue, and what its credits take out again."""
    for line, line_row in zip(invoice.lines, lines, strict=True):
        if deferred_amount(line) > 0:
            session.add(
                DeferredRevenueRow(
                    tenant_id=scope.tenant_id,
                    environment_id=scope.environment_id,
                    invoice_line_id=line_row.id,
                    invoice_id=row.id,
                    customer_id=row.customer_id,
                    subscription_id=row.subscription_id,
                    test_clock_id=row.test_clock_id,
                    currency=row.currency,
                    amount=deferred_amount(line),
                    release_at=line.period.end,
                )
            )
        billed = line.derivation.credit_of
        deferred = await find_deferred(session, billed.invoice_line_id) if billed else None
        if deferred is not None:
            left = minus(deferred.amount, total((deferred.released, deferred.reversed)))
            deferred.reversed = total((deferred.reversed, min(reversed_amount(line), left)))


async def release_due(
    session: AsyncSession, at: datetime, *, subscription_id: str | None = None, test_clock_id: str | None = None
) -> int:
    """Turns deferred revenue whose period has ended at `at` into revenue; returns how many lines were released."""
    due = await list_releasable(session, at, subscription_id=subscription_id, test_clock_id=test_clock_id, most=BATCH)
    for deferred in due:
        line_row = await session.get_one(InvoiceLineRow, deferred.invoice_line_id)
        posting = release_deferred(line_row.id, line_from_row(line_row), deferred.reversed, deferred.release_at)
        if posting is not None:
            await insert_posting(
                session,
                scope_of(deferred),
                posting,
                deferred.release_at,
                invoice_id=deferred.invoice_id,
                customer_id=deferred.customer_id,
            )
        deferred.released = minus(deferred.amount, deferred.reversed)
    return len(due)


@dataclass(frozen=True, slots=True)
class ReleaseRevenue:
    """Release what is due at `now`, for every tenant, of everything that lives by real time."""

    now: datetime


class RevenueActivities:
    """Releases of deferred revenue that no period end takes care of (a subscription that has ended)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="revenue.release")
    async def release(self, command: ReleaseRevenue) -> int:
        """Releases everything due, in batches of one transaction each; returns how many lines."""
        released = 0
        while True:
            async with self._database.system_transaction() as session:
                batch = await release_due(session, command.now)
            released += batch
            activity.heartbeat(released)
            if batch < BATCH:
                return released
