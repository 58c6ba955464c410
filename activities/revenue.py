"""Deferred revenue: put aside when an advance line is finalized, released when its period has ended.

A credit takes back what it was taken of, in whichever order things happen: before the credited invoice is finalized,
or after its revenue was released. Once both invoices are finalized, the ledger's deferred revenue is the sum of
amount - released - reversed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.bookkeeping import scope_of
from activities.drafting import credited_line, line_from_row
from billing.deferral import Deferral, release, reverse, take_back
from billing.invoice_states import InvoiceStatus
from billing.invoices import Invoice
from billing.ledger import Posting, deferred_amount, post_back_to_deferred, release_deferred, reversed_amount
from billing.money import ZERO
from models.database import Database
from models.queries.invoices import get_invoice, list_credits, list_lines
from models.queries.ledger import find_deferred, insert_posting, list_releasable
from models.tables import DeferredRevenueRow, InvoiceLineRow, InvoiceRow

BATCH = 500


async def defer_revenue(
    session: AsyncSession, row: InvoiceRow, invoice: Invoice, lines: Sequence[InvoiceLineRow], now: datetime
) -> None:
    """Notes what the lines of a finalized invoice put into deferred revenue, and what its credits take out again."""
    for line, line_row in zip(invoice.lines, lines, strict=True):
        if deferred_amount(line) > 0:
            deferred = _deferred_row(row, line_row, deferred_amount(line))
            session.add(deferred)
            await _take_earlier_credits(session, row, deferred, now)
        await _take_back_credited(session, line_row, now)


def _deferred_row(row: InvoiceRow, line: InvoiceLineRow, amount: Decimal) -> DeferredRevenueRow:
    return DeferredRevenueRow(
        tenant_id=row.tenant_id,
        environment_id=row.environment_id,
        invoice_line_id=line.id,
        invoice_id=row.id,
        customer_id=row.customer_id,
        subscription_id=row.subscription_id,
        test_clock_id=row.test_clock_id,
        currency=row.currency,
        amount=amount,
        released=ZERO,
        reversed=ZERO,
        postings=0,
        release_at=line.period_end,
    )


async def _take_earlier_credits(
    session: AsyncSession, row: InvoiceRow, deferred: DeferredRevenueRow, now: datetime
) -> None:
    """A credit without usage beside it is finalized at once, while the invoice that it is taken of is in its grace."""
    for credit, invoice in await list_credits(session, row.subscription_id) if row.subscription_id else ():
        if (
            invoice.invoice_status in {"FINALIZED", "VOIDED"}
            and credited_line(credit).invoice_line_id == deferred.invoice_line_id
        ):
            await _take_back(session, deferred, credit, now)


async def _take_back(
    session: AsyncSession, deferred: DeferredRevenueRow, credit: InvoiceLineRow, now: datetime
) -> None:
    """Lowers deferred revenue by a finalized credit, whose own posting has taken all of it out of the account.

    What had been released meanwhile returns to the account first.
    """
    taken = take_back(_deferral(deferred), reversed_amount(line_from_row(credit)))
    if taken.returned:
        deferred.postings += 1
        reference = f"{deferred.invoice_line_id}/{deferred.postings}"
        posting = post_back_to_deferred(reference, taken.returned, deferred.currency)
        await _post(session, deferred, posting, deferred.release_at)
    if taken.lost:
        await _post(session, deferred, post_back_to_deferred(credit.id, taken.lost, deferred.currency), now)
    _write(deferred, taken.after)


def _deferral(row: DeferredRevenueRow) -> Deferral:
    return Deferral(row.amount, row.released, row.reversed)


def _write(row: DeferredRevenueRow, after: Deferral) -> None:
    row.released, row.reversed = after.released, after.reversed


async def settle_deferral(session: AsyncSession, row: InvoiceRow, before: InvoiceStatus, now: datetime) -> None:
    """A voided invoice has nothing left to release: its reversal took all of it back.

    The credits that it gives stay given; those of a draft are posted by the void, and take back what they credit now.
    """
    for line in await list_lines(session, row.id):
        deferred = await find_deferred(session, line.id)
        if deferred is not None:
            _write(deferred, reverse(_deferral(deferred)))
        if before is InvoiceStatus.DRAFT:
            await _take_back_credited(session, line, now)


async def _take_back_credited(session: AsyncSession, line: InvoiceLineRow, now: datetime) -> None:
    """What a credit line takes out of deferred revenue; nothing of an invoice whose void has taken all back."""
    billed = line_from_row(line).derivation.credit_of
    deferred = None if billed is None else await find_deferred(session, billed.invoice_line_id)
    if deferred is not None and (await get_invoice(session, deferred.invoice_id)).invoice_status != "VOIDED":
        await _take_back(session, deferred, line, now)


async def release_due(
    session: AsyncSession, at: datetime, *, subscription_id: str | None = None, test_clock_id: str | None = None
) -> int:
    """Turns deferred revenue whose period has ended at `at` into revenue; returns how many lines were released."""
    due = await list_releasable(session, at, subscription_id=subscription_id, test_clock_id=test_clock_id, most=BATCH)
    for deferred in due:
        line_row = await session.get_one(InvoiceLineRow, deferred.invoice_line_id)
        before = _deferral(deferred)
        posting = release_deferred(line_row.id, line_from_row(line_row), before.gone, deferred.release_at)
        if posting is not None:
            deferred.postings += 1
            posting = replace(posting, reference=f"{line_row.id}/{deferred.postings}")
            await _post(session, deferred, posting, deferred.release_at)
        _write(deferred, release(before))
    return len(due)


async def _post(session: AsyncSession, deferred: DeferredRevenueRow, posting: Posting, at: datetime) -> None:
    await insert_posting(
        session,
        scope_of(deferred),
        posting,
        at,
        invoice_id=deferred.invoice_id,
        customer_id=deferred.customer_id,
    )


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
