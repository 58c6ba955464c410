"""Collecting an invoice: who pays by what, attempts and what they came to.

Vendor calls are in `activities.payments`, what happens to money that arrives in `activities.receipts`; when to try
again, and by what, is `billing.collection`'s and `billing.attempts`'s.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import new_columns, scope_of, touch
from activities.exhaustion import exhaust
from activities.invoice_states import invoice_state
from activities.outbox import emit
from activities.payloads import amount_remaining, invoice_payload, payment_payload
from activities.ports import ActionRequired, Charged, ChargeOutcome, Declined, Pending
from activities.receipts import Money, receive, tell_payment
from activities.refunds import NewRefund, create_refund
from activities.settings import load_billing_settings
from activities.states import InvoiceState
from activities.wallet_payments import has_postpaid, pay_from_wallet
from billing.attempts import (
    Attempt,
    AttemptStatus,
    PaymentSource,
    is_dead,
    is_new_method,
    is_overdue,
    looked_up_again_at,
    source_of,
    takes_outcome,
    to_go_on_with,
    to_withdraw,
)
from billing.collection import after_decline, charged_by_new_method
from billing.dunning import DeclineKind
from billing.invoice_states import InvoiceStatus
from billing.money import ZERO, decimal_text
from models.ids import derived_id, new_id
from models.queries.payments import find_provider_payment, list_attempts_of_invoice
from models.queries.subscriptions import find_subscription
from models.tables import CustomerRow, InvoiceRow, PaymentAttemptRow, PaymentRow, SubscriptionRow


async def payment_source(session: AsyncSession, row: InvoiceRow) -> PaymentSource | None:
    """The subscription's payment method, else the customer's; None when invoices are sent instead of charged."""
    subscription = await find_subscription(session, row.subscription_id) if row.subscription_id else None
    is_sent = subscription is not None and subscription.collection_method == "send_invoice"
    own = None if subscription is None else source_of(is_sent, [_token(subscription)])
    if is_sent or own is not None:
        return own  # the customer is read only where it must be
    return source_of(is_sent, [_token(await session.get_one(CustomerRow, row.customer_id))])


def _token(holder: SubscriptionRow | CustomerRow) -> tuple[str | None, str | None]:
    return holder.payment_gateway, holder.gateway_payment_method_id


async def _attempts(session: AsyncSession, row: InvoiceRow) -> tuple[Sequence[PaymentAttemptRow], list[Attempt]]:
    """The attempts to collect an invoice in their order, as they are stored and as billing reasons about them."""
    rows = await list_attempts_of_invoice(session, row.id)
    return rows, [
        Attempt(
            each.id,
            each.payment_method_id,
            AttemptStatus(each.payment_status),
            DeclineKind(each.decline_kind) if each.decline_kind else None,
        )
        for each in rows
    ]


async def collection_state(session: AsyncSession, row: InvoiceRow) -> InvoiceState:
    """The invoice's state with what collection knows: attempts so far, and, until it is closed, the provider."""
    source = None if invoice_state(row).is_closed else await payment_source(session, row)
    rows, attempts = await _attempts(session, row)
    last = rows[-1].attempt_number if rows else 0
    state = invoice_state(row, attempts=last, provider=source.provider if source else None)
    if source is None and amount_remaining(row):
        state = replace(state, by_wallet=await has_postpaid(session, row))
    waiting = to_withdraw(attempts, source.method if source else None, amount_remaining(row) > ZERO)
    if waiting is None:
        return state
    return replace(state, to_withdraw=next(each.payment_gateway for each in rows if each.id == waiting.id))


async def has_new_method(session: AsyncSession, row: InvoiceRow) -> bool:
    """Whether an invoice that awaits money can be charged by a method that its last attempt did not use."""
    if not charged_by_new_method(InvoiceStatus(row.invoice_status), amount_remaining(row), row.uncollectible):
        return False
    source = await payment_source(session, row)
    _, attempts = await _attempts(session, row)
    return is_new_method(attempts, source.method if source else None)


async def open_attempt(
    session: AsyncSession, row: InvoiceRow, number: int, now: datetime, *, by_hand: bool = False
) -> tuple[PaymentAttemptRow, bool] | None:
    """The attempt to go on with, and whether it had been made before; None when there is none.

    A POST_PAID wallet pays first what it can: the attempt is for the rest.

    An earlier one whose outcome is open comes first, whatever the number: a second charge beside it could take the
    money twice. There is none when the attempt is settled, nothing is owed, there is no payment method (which ends the
    retries), or the method was declined for good and is the same, unless somebody asked for the attempt.
    """
    attempt_id = derived_id("attempt", row.id, str(number))
    rows, attempts = await _attempts(session, row)
    earlier = to_go_on_with(attempts, attempt_id)
    if earlier is not None:
        return None if earlier.is_settled else (next(each for each in rows if each.id == earlier.id), True)
    source = await payment_source(session, row)
    await pay_from_wallet(session, row, now)
    owed = amount_remaining(row)
    if row.invoice_status != InvoiceStatus.FINALIZED or owed == ZERO:
        return None
    if source is None:
        row.next_action_at = None
        touch(row)
        return None
    if not by_hand and is_dead(attempts, source.method):
        await exhaust(session, row, now)
        return None
    payment = await _provider_payment(session, row, source, owed)
    attempt = PaymentAttemptRow(
        id=attempt_id,
        **new_columns(scope_of(row)),
        payment_id=payment.id,
        invoice_id=row.id,
        attempt_number=number,
        payment_gateway=source.provider,
        payment_method_id=source.method,
        amount=owed,
        currency=row.currency,
        payment_status="INITIATED",
        attempted_at=now,
    )
    session.add(attempt)
    row.payment_status = payment.payment_status = "PROCESSING"
    touch(row)
    await session.flush()
    return attempt, False


async def _provider_payment(session: AsyncSession, row: InvoiceRow, source: PaymentSource, owed: Decimal) -> PaymentRow:
    """The one payment by which the provider collects this invoice; attempts come under it."""
    payment = await find_provider_payment(session, row.id)
    if payment is None:
        payment = PaymentRow(
            id=new_id("pay"),
            **new_columns(scope_of(row)),
            destination_id=row.id,
            customer_id=row.customer_id,
            payment_method_type="CARD",
            payment_method_id=source.method,
            payment_gateway=source.provider,
            amount=owed,
            currency=row.currency,
            payment_status="INITIATED",
        )
        session.add(payment)
        await session.flush()
        body = {"payment": payment_payload(payment)}
        await emit(session, scope_of(row), "payment.created", payment.id, body, row.finalized_at or row.drafted_at)
    payment.payment_method_id, payment.payment_gateway, payment.amount = source.method, source.provider, owed
    return payment


async def settle(
    session: AsyncSession,
    row: InvoiceRow,
    attempt: PaymentAttemptRow,
    outcome: ChargeOutcome,
    now: datetime,
    seen_at: datetime | None = None,
) -> None:
    """Writes down what an attempt came to, as seen at `seen_at` (`now` unless given), where that is news."""
    if not takes_outcome(AttemptStatus(attempt.payment_status), isinstance(outcome, Charged)):
        return
    payment = await session.get_one(PaymentRow, attempt.payment_id)
    attempt.outcome = outcome.outcome
    attempt.gateway_attempt_id = outcome.provider_payment_id
    for changed in (attempt, payment, row):
        touch(changed)
    if isinstance(outcome, Charged):
        await _succeed(session, row, payment, attempt, now)
    elif isinstance(outcome, Declined):
        await _decline(session, row, payment, attempt, outcome, now)
    elif isinstance(outcome, Pending):
        await _wait_for_bank(session, row, payment, attempt, now, seen_at or now)
    else:
        await _require_action(session, row, payment, attempt, outcome, now)


async def _succeed(
    session: AsyncSession, row: InvoiceRow, payment: PaymentRow, attempt: PaymentAttemptRow, now: datetime
) -> None:
    attempt.payment_status = payment.payment_status = "SUCCEEDED"
    attempt.settled_at = payment.succeeded_at = now
    attempt.error_message = payment.error_message = payment.payment_url = None
    payment.gateway_payment_id = attempt.gateway_attempt_id
    money = Money(attempt.id, attempt.payment_gateway, attempt.amount)
    await receive(session, row, payment, money, now)
    if row.invoice_status == InvoiceStatus.VOIDED:
        await _give_back(session, row, payment, attempt, now)


async def _give_back(
    session: AsyncSession, row: InvoiceRow, payment: PaymentRow, attempt: PaymentAttemptRow, now: datetime
) -> None:
    """Nothing is owed on a void invoice: money that comes all the same goes back by itself."""
    because = {"because": "the invoice was void when the money came"}
    refund = await create_refund(
        session, scope_of(row), payment.id, NewRefund(attempt.amount, "OTHER", f"void/{attempt.id}", because), now
    )
    row.needs_attention = (
        f"{decimal_text(attempt.amount)} {row.currency} came after the invoice was voided: refund {refund.id} is under"
        " way"
    )


async def _decline(
    session: AsyncSession,
    row: InvoiceRow,
    payment: PaymentRow,
    attempt: PaymentAttemptRow,
    outcome: Declined,
    now: datetime,
) -> None:
    attempt.payment_status = payment.payment_status = "FAILED"
    attempt.decline_kind = outcome.kind
    attempt.settled_at = payment.failed_at = now
    attempt.error_message = payment.error_message = outcome.reason
    await session.flush()
    if amount_remaining(row) == ZERO:  # paid otherwise or voided while the customer was to act: nothing failed
        await tell_payment(session, row, payment, "payment.failed", now)
        return
    row.payment_status = "FAILED"
    failures = [each for each in await list_attempts_of_invoice(session, row.id) if each.outcome == "declined"]
    settings = (await load_billing_settings(session)).dunning
    first = failures[0].settled_at or now
    step = after_decline(settings, DeclineKind(outcome.kind), len(failures), first, now)
    if step is None:
        await exhaust(session, row, now)
    else:
        row.next_action_at = step.at
    await session.flush()
    await tell_payment(session, row, payment, "payment.failed", now)
    await emit(session, scope_of(row), "invoice.update.payment", row.id, {"invoice": invoice_payload(row)}, now)


async def settle_withdrawn(
    session: AsyncSession, row: InvoiceRow, attempt: PaymentAttemptRow, outcome: ChargeOutcome | None, now: datetime
) -> None:
    """Writes down that an attempt that waited for the customer was taken back: no failure, nobody is dunned for it."""
    if not takes_outcome(AttemptStatus(attempt.payment_status), False):
        return
    if isinstance(outcome, Charged | Pending):
        await settle(session, row, attempt, outcome, now)
        return
    payment = await session.get_one(PaymentRow, attempt.payment_id)
    attempt.payment_status, attempt.outcome, attempt.settled_at = "VOIDED", "withdrawn", now
    payment.payment_status, payment.payment_url = "VOIDED", None
    if amount_remaining(row):  # by another method, then
        row.next_action_at, row.needs_attention = now, None
    for changed in (attempt, payment, row):
        touch(changed)
    await session.flush()
    await tell_payment(session, row, payment, "payment.updated", now)


async def _wait_for_bank(
    session: AsyncSession,
    row: InvoiceRow,
    payment: PaymentRow,
    attempt: PaymentAttemptRow,
    now: datetime,
    seen_at: datetime,
) -> None:
    is_new = attempt.payment_status != "PROCESSING"
    attempt.payment_status = payment.payment_status = "PROCESSING"
    if amount_remaining(row):
        row.payment_status = "PROCESSING"
        row.next_action_at = looked_up_again_at(seen_at)
        row.needs_attention = None
        if is_overdue(attempt.attempted_at, seen_at):
            row.needs_attention = (
                f"the bank has been at work on the payment since {attempt.attempted_at:%Y-%m-%d}: ask"
                f" {attempt.payment_gateway} about {attempt.gateway_attempt_id}"
            )
    await session.flush()
    if is_new:
        await tell_payment(session, row, payment, "payment.pending", now)


async def _require_action(
    session: AsyncSession,
    row: InvoiceRow,
    payment: PaymentRow,
    attempt: PaymentAttemptRow,
    outcome: ActionRequired,
    now: datetime,
) -> None:
    if attempt.action_url == outcome.url:
        return  # asked for already, and still waiting
    attempt.payment_status = payment.payment_status = "PENDING"
    attempt.action_url = payment.payment_url = outcome.url
    if amount_remaining(row) > ZERO:
        row.payment_status = "PENDING"
        row.next_action_at = None
        row.needs_attention = f"the customer confirms the payment at {outcome.url}"
    await session.flush()
    await tell_payment(session, row, payment, "payment.pending", now)
