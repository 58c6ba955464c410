"""Dunning that has ended without money: what becomes of the invoice and of its subscription is the tenant's setting."""

from datetime import datetime, timedelta

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.exceptions import ApplicationError

from activities.bookkeeping import scope_of, touch
from activities.late_usage import LATER
from activities.outbox import START_INVOICE, TELL_SUBSCRIPTION, emit, enqueue
from activities.payloads import amount_remaining, invoice_payload
from activities.settings import load_billing_settings
from activities.subscriptions import CancelSubscription, cancel_subscription
from billing.ledger import post_written_off
from billing.subscriptions import CancellationType, mark_past_due
from models.conversions import state_from_row
from models.queries.ledger import insert_posting
from models.queries.subscriptions import find_subscription
from models.tables import InvoiceRow, SubscriptionRow

BOUNDARY_PAUSE = timedelta(seconds=1)


async def exhaust(session: AsyncSession, row: InvoiceRow, now: datetime) -> None:
    """Writes a locked invoice off or leaves it open; its subscription is past due, or ends with its final invoice."""
    settings = (await load_billing_settings(session)).dunning
    row.next_action_at = None
    row.payment_status = "FAILED"
    if settings.writes_off and not row.uncollectible:
        await _write_off(session, row, now)
    subscription = await find_subscription(session, row.subscription_id, lock=True) if row.subscription_id else None
    ends = False
    if subscription is not None:
        status = mark_past_due(state_from_row(subscription)).status
        subscription.subscription_status, ends = status.value, settings.ends(status)
        touch(subscription)
    await emit(session, scope_of(row), "invoice.payment.overdue", row.id, {"invoice": invoice_payload(row)}, now)
    if subscription is not None and ends:
        await _end(session, row, subscription, now)


async def _write_off(session: AsyncSession, row: InvoiceRow, now: datetime) -> None:
    """What is owed is an expense from now on, once and until it is paid after all."""
    row.uncollectible = True
    posting = post_written_off(row.id, amount_remaining(row), row.currency)
    await insert_posting(session, scope_of(row), posting, now, invoice_id=row.id, customer_id=row.customer_id)


async def _end(session: AsyncSession, row: InvoiceRow, subscription: SubscriptionRow, now: datetime) -> None:
    """Cancels at once, as by command; the subscription's workflow is told that it has ended."""
    if subscription.next_action_at is not None and subscription.next_action_at <= now:
        raise ApplicationError(
            f"the period that ends at {subscription.next_action_at.isoformat()} is closed first",
            type="boundary_first",
            next_retry_delay=BOUNDARY_PAUSE,
        )
    command = CancelSubscription(
        scope=scope_of(row),
        subscription_id=subscription.id,
        command_id=f"exhausted/{row.id}",
        cancellation_type=CancellationType.immediate.value,
        now=max(now, subscription.current_period_start),  # a boundary may have been crossed while the provider answered
        reason=f"invoice {row.invoice_number} could not be collected",
    )
    for invoice in await cancel_subscription(session, subscription, command, LATER):
        if invoice.invoice_status == "DRAFT":
            await enqueue(session, scope_of(row), START_INVOICE, invoice.id)
    await enqueue(session, scope_of(row), TELL_SUBSCRIPTION, subscription.id)
