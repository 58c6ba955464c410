"""Closes that bill nothing of their own, and the end of an ended subscription's look-back: late usage alone.

A close with lines of its own finds late usage when it is finalized (`activities.invoices`). One without is drafted only
if there is late usage, so that has to be known at its boundary.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.exceptions import ApplicationError

from activities.bookkeeping import scope_of
from activities.drafting import draft_invoice
from activities.late_notes import issue_notes
from activities.late_usage import ReadAnew, closes_of, corrections_of, look_back_of, settle
from billing import late_usage as rules
from billing.late_usage import LateUsageSettings
from billing.subscriptions import SubscriptionState
from billing.terms import DueInvoice, Terms
from models.billing_settings import BillingSettings
from models.queries.invoices import list_drafts_of, lock_invoices
from models.tables import InvoiceRow, SubscriptionRow

UNFINISHED_PAUSE: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Close:
    """A subscription with its terms and its tenant's settings, and usage of closed periods where it was read anew."""

    subscription: SubscriptionRow
    terms: Terms
    settings: BillingSettings
    late: ReadAnew | None = None


async def lock_looked_back(session: AsyncSession, late: ReadAnew | None) -> None:
    """Locks the invoices of the closed periods that were read, which credit notes may credit.

    Before their subscription: whoever is paid, or voids, locks an invoice and then its subscription.
    """
    if late is not None:
        await lock_invoices(session, [state[0] for state in late.state])


async def draft(session: AsyncSession, close: Close, due: DueInvoice) -> InvoiceRow:
    """The invoice for what is due. Raises UsageWanted where only late usage can give it a line."""
    row = close.subscription
    if due.lines or not rules.closes_a_period(due):
        return await draft_invoice(session, scope_of(row), row, close.terms, due, close.settings)
    look_back = await look_back_of(session, row, None, close.settings.late_usage, lock=close.late is not None)
    found = corrections_of(look_back, close.late)
    invoice = await draft_invoice(session, scope_of(row), row, close.terms, due, close.settings, found)
    if invoice.invoice_status == "SKIPPED":
        settle(session, row.id, invoice, look_back, found, (), due.at)
        await issue_notes(session, look_back, found, due.at)
    return invoice


async def end_look_back(session: AsyncSession, close: Close, at: datetime) -> list[InvoiceRow]:
    """What came late for the last periods of a subscription that has ended, or is paused: one invoice, if any.

    Raises UsageWanted.
    """
    row = close.subscription
    await _require_finalized(session, row)
    look_back = await look_back_of(session, row, None, close.settings.late_usage, lock=close.late is not None)
    found = corrections_of(look_back, close.late)
    row.looked_back_at, row.next_action_at = row.current_period_end, None
    if rules.makes_lines(found):
        due = rules.look_back_invoice(row.current_period_end, at)
        return [await draft_invoice(session, scope_of(row), row, close.terms, due, close.settings, found)]
    settle(session, row.id, None, look_back, found, (), at)
    await issue_notes(session, look_back, found, at)
    return []


async def next_action(
    session: AsyncSession, row: SubscriptionRow, state: SubscriptionState, settings: LateUsageSettings
) -> datetime | None:
    """When the subscription acts next: at its boundary, or when the look-back on its last periods ends.

    Nothing is looked back on where no period of it was billed by usage.
    """
    if state.next_boundary is not None or not settings.looks_back or row.looked_back_at == state.current_period.end:
        return state.next_boundary
    closes = await closes_of(session, row.id, None, settings.periods)
    if not any(inputs.due.has_usage for _, inputs in closes):
        return None
    return rules.look_back_end(settings, state.current_period.end, [invoice.finalize_at for invoice, _ in closes])


async def _require_finalized(session: AsyncSession, row: SubscriptionRow) -> None:
    drafts = await list_drafts_of(session, row.id)
    if drafts:
        raise ApplicationError(
            f"invoice {drafts[0].id} has to be finalized before the look-back on late usage ends; it waits for that",
            type="draft_left",
            next_retry_delay=UNFINISHED_PAUSE,
        )
