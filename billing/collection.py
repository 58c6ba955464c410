"""Collecting an invoice: what follows from a decline and from money that arrives.

Owns the decisions only; the schedule is billing.dunning's, statuses are billing.invoice_states's. Rules:
billing-rules.md section 8.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.dunning import DeclineKind, DunningSettings, gives_up_at, next_attempt
from billing.errors import Conflict, Invalid
from billing.invoice_states import PAID, InvoiceStatus, PaymentStatus, require_unpaid
from billing.money import ZERO, decimal_text, is_rounded, minus, total


@dataclass(frozen=True, slots=True)
class NextStep:
    """What happens to an unpaid invoice at `at`: another charge, or (a hard decline) giving up on the method."""

    at: datetime
    charge: bool


def after_decline(
    settings: DunningSettings, kind: DeclineKind, failures: int, first_failed_at: datetime, now: datetime
) -> NextStep | None:
    """What follows a decline at `now`, the invoice's `failures`-th; None when the schedule is exhausted."""
    charge = kind is DeclineKind.soft
    at = next_attempt(settings, failures, first_failed_at) if charge else gives_up_at(settings, first_failed_at)
    return None if at is None or at <= now else NextStep(at, charge)


def at_finalizing(amount_due: Decimal) -> PaymentStatus:
    """The payment status of an invoice that has just been finalized: one of 0 is paid by itself."""
    return after_receipt(amount_due, ZERO, ZERO)


def first_attempt_at(payment: PaymentStatus, is_payable: bool, now: datetime) -> datetime | None:
    """When a finalized invoice is collected first: at once where a method or a wallet may pay it; others wait."""
    return now if is_payable and payment not in PAID else None


def asked_for(status: InvoiceStatus, amount_due: Decimal, adjusted: Decimal = ZERO) -> Decimal:
    """What an invoice asks for in all, in major units: less what credit notes took off; nothing once it is void."""
    return minus(amount_due, adjusted) if status is InvoiceStatus.FINALIZED else ZERO


def beyond_owed(owed: Decimal, amount_paid: Decimal) -> Decimal:
    """What of `amount_paid` is more than was asked for; never below 0."""
    return max(minus(amount_paid, owed), ZERO)


def remaining(status: InvoiceStatus, amount_due: Decimal, amount_paid: Decimal, adjusted: Decimal = ZERO) -> Decimal:
    """What is still owed, in major units: never below 0, all of it on a draft, nothing once voided or skipped.

    `adjusted` is what credit notes took off.
    """
    if status is InvoiceStatus.DRAFT:
        return amount_due
    settled = total((amount_paid, adjusted))
    return max(minus(amount_due, settled), ZERO) if status is InvoiceStatus.FINALIZED else ZERO


def charged_by_new_method(status: InvoiceStatus, owed: Decimal, uncollectible: bool) -> bool:
    """Whether a new payment method is charged at once: finalized, owed, and not written off (that is a person's)."""
    return status is InvoiceStatus.FINALIZED and owed > ZERO and not uncollectible


def split_payment(status: InvoiceStatus, amount: Decimal, owed: Decimal) -> tuple[Decimal, Decimal]:
    """Of money that came: what pays the invoice, and what is beyond it and becomes the customer's.

    On a finalized invoice that goes to the customer's wallet; what comes for a void one is all held for it, and goes
    back the way it came.
    """
    part = min(amount, owed) if status is InvoiceStatus.FINALIZED else amount
    return part, minus(amount, part)


def given_back_by_void(amount_paid: Decimal, prepaid_credits: Decimal, refunded: Decimal) -> Decimal:
    """What a void owes the customer: all that was paid, by money and by credits, less what was refunded before."""
    return minus(total((amount_paid, prepaid_credits)), refunded)


def refundable(amount_paid: Decimal, refunded: Decimal, on_its_way: Decimal, lost: Decimal) -> Decimal:
    """What of an invoice's payments can still be given back, in major units.

    `refunded` went back, or to the wallet when the invoice was voided; refunds of `on_its_way` are not settled, and
    `lost` was taken back by a bank. What went to the wallet when it came is not in `amount_paid`.
    """
    return max(minus(amount_paid, total((refunded, on_its_way, lost))), ZERO)


def after_refund(amount_due: Decimal, amount_paid: Decimal, refunded: Decimal) -> PaymentStatus:
    """The payment status once `refunded` of what was paid has been given back; only the excess leaves it paid."""
    kept = minus(amount_paid, refunded)
    if kept <= ZERO:
        return PaymentStatus.REFUNDED
    if kept > amount_due:
        return PaymentStatus.OVERPAID
    return PaymentStatus.SUCCEEDED if kept == amount_due < amount_paid else PaymentStatus.PARTIALLY_REFUNDED


def check_refund(amount: Decimal, left: Decimal, currency: str) -> None:
    """Whether `amount` of a payment, of which `left` was not given back, can be. Raises Conflict or Invalid."""
    if left <= ZERO:
        raise Conflict(
            "refund is not possible: nothing is left of the payment: it has gone back, or to the customer's wallet",
            state=PaymentStatus.REFUNDED,
        )
    if not ZERO < amount <= left or not is_rounded(amount, currency):
        raise Invalid(
            f"amount must be above 0 and at most {decimal_text(left)} {currency}, what is left of the payment, with no"
            f" more decimals than the currency has; got {decimal_text(amount)}",
            field="amount",
        )


def after_receipt(amount_due: Decimal, amount_paid: Decimal, amount: Decimal) -> PaymentStatus:
    """The payment status once `amount` has arrived on a finalized invoice that `amount_paid` was paid of before."""
    paid = total((amount_paid, amount))
    if paid > amount_due:
        return PaymentStatus.OVERPAID
    return PaymentStatus.SUCCEEDED if paid == amount_due else PaymentStatus.PENDING


def check_offline_payment(status: InvoiceStatus, payment: PaymentStatus, amount: Decimal, currency: str) -> None:
    """Whether `amount`, received outside a provider, can be booked. Raises Conflict or Invalid."""
    require_unpaid(status, payment, "pay")
    if payment is PaymentStatus.PROCESSING:
        raise Conflict(
            "pay is not possible while an attempt at the provider is under way: its outcome comes first", state=payment
        )
    if amount <= ZERO or not is_rounded(amount, currency):
        raise Invalid(
            f"amount must be above 0, with no more decimals than {currency} has; got {decimal_text(amount)}",
            field="amount",
        )
