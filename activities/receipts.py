"""Money that arrives: on the invoice, in the ledger, on the subscription, and told to everyone who listens.

Owns what every payment has in common, and those received outside a provider. What a payment leaves owed is
`billing.collection`'s; attempts at providers are `activities.collection`'s.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import new_columns, scope_of, touch
from activities.outbox import emit
from activities.payloads import amount_remaining, invoice_payload, payment_payload
from activities.wallets import give_back
from billing.collection import after_receipt, asked_for, check_offline_payment, split_payment
from billing.invoice_states import PAID, InvoiceStatus, PaymentStatus
from billing.ledger import PostingKind, post_payment, post_recovered, written_off
from billing.money import ZERO, total
from billing.subscriptions import SubscriptionStatus, clear_past_due
from billing.wallet_postings import post_paid_by_wallet
from billing.wallets import EntryReason
from models.conversions import state_from_row
from models.ids import new_id
from models.queries.ledger import insert_posting, postings_of_invoice
from models.queries.payments import list_attempts_of_payment
from models.queries.subscriptions import find_subscription
from models.tables import InvoiceRow, PaymentRow


@dataclass(frozen=True, slots=True)
class Money:
    """What has arrived, in major units, from whom (None: a wallet); `reference` is its name in the ledger."""

    reference: str
    provider: str | None
    amount: Decimal


@dataclass(frozen=True, slots=True)
class NewPayment:
    """A payment that somebody received outside a provider: cash, a bank transfer."""

    amount: Decimal
    payment_method_type: str = "OFFLINE"
    idempotency_key: str | None = None
    metadata: dict[str, str] | None = None


async def receive(session: AsyncSession, row: InvoiceRow, payment: PaymentRow, money: Money, now: datetime) -> None:
    """Money has arrived for a locked invoice.

    What is beyond that which was owed goes to the customer's wallet. For a void invoice all of it is held, to be
    refunded.
    """
    scope = scope_of(row)
    status = InvoiceStatus(row.invoice_status)
    part, beyond = split_payment(status, money.amount, amount_remaining(row))
    if row.uncollectible:
        await recover(session, row, money.reference, part, now)
    if part:
        _pay(row, part, now)
    row.version += 1
    if money.provider is None:
        posting = post_paid_by_wallet(money.reference, money.amount, row.currency)
    else:
        posting = post_payment(money.reference, money.provider, money.amount, row.currency, beyond)
    await insert_posting(session, scope, posting, now, invoice_id=row.id, customer_id=row.customer_id)
    if status is InvoiceStatus.FINALIZED and not amount_remaining(row):
        await _subscription_paid(session, row)
    if beyond:
        await give_back(session, row, beyond, EntryReason.adjustment, now, payment.id)
    await session.flush()
    await tell_payment(session, row, payment, "payment.success", now)
    await emit(session, scope, "invoice.update.payment", row.id, {"invoice": invoice_payload(row)}, now)


async def recover(session: AsyncSession, row: InvoiceRow, reference: str, part: Decimal, now: datetime) -> None:
    """What was written off is owed again as far as money, or a credit note, has come for it."""
    posted = await postings_of_invoice(session, row.id, (PostingKind.written_off, PostingKind.recovered))
    posting = post_recovered(reference, min(part, written_off(posted)), row.currency)
    await insert_posting(session, scope_of(row), posting, now, invoice_id=row.id, customer_id=row.customer_id)


def _pay(row: InvoiceRow, amount: Decimal, now: datetime) -> None:
    """`amount`, no more than is owed on a finalized invoice, is paid of it."""
    invoice_status = InvoiceStatus(row.invoice_status)
    status = after_receipt(asked_for(invoice_status, row.amount_due, row.adjustment_amount), row.amount_paid, amount)
    row.amount_paid = total((row.amount_paid, amount))
    row.payment_status = status.value
    row.next_action_at = row.needs_attention = None
    paid = status in PAID
    if paid and invoice_status is InvoiceStatus.FINALIZED:
        row.paid_at = row.paid_at or now
    row.uncollectible = row.uncollectible and not paid


async def settle_adjusted(session: AsyncSession, row: InvoiceRow, now: datetime) -> None:
    """Credit notes have left nothing to pay of a locked invoice: it is settled, as if the last of it had been paid."""
    _pay(row, ZERO, now)
    await _subscription_paid(session, row)


async def record_payment(session: AsyncSession, row: InvoiceRow, new: NewPayment, now: datetime) -> PaymentRow:
    """Books an offline payment on a locked invoice; what is beyond it goes to the customer's wallet.

    Raises Conflict or Invalid, and then nothing has changed.
    """
    status, payment_status = InvoiceStatus(row.invoice_status), PaymentStatus(row.payment_status)
    check_offline_payment(status, payment_status, new.amount, row.currency)
    payment = PaymentRow(
        id=new_id("pay"),
        **new_columns(scope_of(row)),
        idempotency_key=new.idempotency_key,
        destination_id=row.id,
        customer_id=row.customer_id,
        payment_method_type=new.payment_method_type,
        amount=new.amount,
        currency=row.currency,
        payment_status=PaymentStatus.SUCCEEDED.value,
        succeeded_at=now,
        payment_metadata=new.metadata or {},
    )
    session.add(payment)
    await session.flush()
    next_action, waits_for = row.next_action_at, row.needs_attention
    await receive(session, row, payment, Money(payment.id, "offline", new.amount), now)
    if amount_remaining(row):  # a part: whatever was to happen about the rest still does
        row.next_action_at, row.needs_attention = next_action, waits_for
    touch(row)
    return payment


async def tell_payment(session: AsyncSession, row: InvoiceRow, payment: PaymentRow, event: str, now: datetime) -> None:
    """Announces a payment as it is now, with its attempts."""
    attempts = await list_attempts_of_payment(session, payment.id)
    await emit(session, scope_of(row), event, payment.id, {"payment": payment_payload(payment, attempts)}, now)


async def _subscription_paid(session: AsyncSession, row: InvoiceRow) -> None:
    """A subscription that was past due is active again, never one that has been cancelled."""
    subscription = await find_subscription(session, row.subscription_id, lock=True) if row.subscription_id else None
    if subscription is not None and subscription.subscription_status == SubscriptionStatus.past_due:
        subscription.subscription_status = clear_past_due(state_from_row(subscription)).status.value
        touch(subscription)
