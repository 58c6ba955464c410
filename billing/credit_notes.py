"""Credit notes: how much of an invoice can still be credited, and what a note changes.

Owns the caps. Does not know how an invoice is paid or where a refund goes. Rules: billing-rules.md section 6: an
ADJUSTMENT lowers what is left to pay, a REFUND gives back what was paid; each at most what is left of it. A note is
written as a DRAFT that changes nothing; it takes effect when it is finalized.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from billing.collection import asked_for
from billing.errors import Conflict, Invalid
from billing.invoice_states import PAID, InvoiceStatus, PaymentStatus, require_finalized
from billing.money import ZERO, decimal_text, is_rounded, minus, round_amount, total
from billing.refunds import refund_effect


class CreditNoteType(StrEnum):
    """ADJUSTMENT: of an invoice that is not (wholly) paid. REFUND: of what was paid."""

    ADJUSTMENT = "ADJUSTMENT"
    REFUND = "REFUND"


class CreditNoteReason(StrEnum):
    """Why it was given."""

    DUPLICATE = "DUPLICATE"
    FRAUDULENT = "FRAUDULENT"
    ORDER_CHANGE = "ORDER_CHANGE"
    UNSATISFACTORY = "UNSATISFACTORY"
    SERVICE_ISSUE = "SERVICE_ISSUE"
    BILLING_ERROR = "BILLING_ERROR"
    SUBSCRIPTION_CANCELLATION = "SUBSCRIPTION_CANCELLATION"


class CreditNoteStatus(StrEnum):
    """Only a FINALIZED note has a number and an effect; a VOIDED one has none any more, or never had."""

    DRAFT = "DRAFT"
    FINALIZED = "FINALIZED"
    VOIDED = "VOIDED"


@dataclass(frozen=True, slots=True)
class InvoiceBalance:
    """What happened to an invoice's total, in major units of its currency.

    `adjusted` and `refunded` are the sums of its credit notes; `paid` is what came in, whatever was refunded of it.
    """

    total: Decimal
    paid: Decimal = ZERO
    adjusted: Decimal = ZERO
    refunded: Decimal = ZERO

    @property
    def remaining(self) -> Decimal:
        """What is left to pay; never below 0."""
        return max(minus(self.total, total((self.paid, self.adjusted))), ZERO)

    @property
    def refundable(self) -> Decimal:
        """What was paid and not given back."""
        return minus(self.paid, self.refunded)

    def creditable(self, kind: CreditNoteType) -> Decimal:
        """The most that a note of this type can be for."""
        return self.remaining if kind is CreditNoteType.ADJUSTMENT else self.refundable


def issue_credit_note(
    balance: InvoiceBalance, status: InvoiceStatus, kind: CreditNoteType, amount: Decimal, currency: str
) -> InvoiceBalance:
    """The balance after a note of `amount`. An adjustment that leaves nothing to pay settles the invoice.

    Raises Conflict unless the invoice is FINALIZED and something of this type is left, Invalid for the amount.
    """
    require_finalized(status, "credit_note")
    most = balance.creditable(kind)
    if most == ZERO:
        left = "nothing is left to pay" if kind is CreditNoteType.ADJUSTMENT else "nothing is left of what was paid"
        raise Conflict(f"{kind} is not possible: {left}", state=status, field="credit_note_type")
    if amount <= ZERO or amount > most or not is_rounded(amount, currency):
        raise Invalid(
            f"amount must be above 0 and at most {decimal_text(most)}, with no more digits than {currency} has; "
            f"got {decimal_text(amount)}",
            field="amount",
        )
    if kind is CreditNoteType.ADJUSTMENT:
        return replace(balance, adjusted=total((balance.adjusted, amount)))
    return replace(balance, refunded=total((balance.refunded, amount)))


def type_for(payment: PaymentStatus) -> CreditNoteType:
    """The type of a note that names none: a REFUND of an invoice that is paid, else an ADJUSTMENT."""
    return CreditNoteType.REFUND if payment in PAID else CreditNoteType.ADJUSTMENT


def require_no_attempt(payment: PaymentStatus) -> None:
    """What is left to pay must not change while a provider is charging it; raises Conflict."""
    if payment is PaymentStatus.PROCESSING:
        raise Conflict(
            "credit_note is not possible while an attempt at the provider is under way: its outcome comes first",
            state=payment,
        )


def payment_after_refund(
    payment: PaymentStatus, status: InvoiceStatus, amount_due: Decimal, before: InvoiceBalance, amount: Decimal
) -> PaymentStatus:
    """The payment status of an invoice once a REFUND of `amount` is given; `before` is its balance without it."""
    owed = asked_for(status, amount_due, before.adjusted)
    return refund_effect(payment, owed, before.paid, before.refunded, amount, ZERO).payment


def require_draft_note(status: CreditNoteStatus) -> None:
    """Only a DRAFT can be finalized; raises Conflict."""
    if status is not CreditNoteStatus.DRAFT:
        possible = ("void",) if status is CreditNoteStatus.FINALIZED else ()
        raise Conflict(
            f"finalize is not possible: the credit note is {status}, it must be a DRAFT",
            state=status,
            possible=possible,
            field="credit_note_status",
        )


def check_void_of_note(
    status: CreditNoteStatus, kind: CreditNoteType, invoice: InvoiceStatus, payment: PaymentStatus, automatic: bool
) -> None:
    """Whether a note can be voided: a DRAFT always, a FINALIZED one while its invoice still waits for money.

    `automatic` notes credit usage that is known better by now, which is counted by that. Raises Conflict.
    """
    if status is CreditNoteStatus.DRAFT:
        return
    reason = None
    if status is CreditNoteStatus.VOIDED:
        reason = "it is VOIDED already"
    elif automatic:
        reason = "it credits usage that was corrected; usage that is known better is corrected again"
    elif kind is CreditNoteType.REFUND:
        reason = "its amount is in the customer's wallet; debit it there"
    elif invoice is not InvoiceStatus.FINALIZED or payment not in (PaymentStatus.PENDING, PaymentStatus.FAILED):
        reason = f"its invoice is {invoice}/{payment} and does not wait for money any more"
    if reason is not None:
        raise Conflict(f"void is not possible: {reason}", state=status, possible=(), field="credit_note_status")


def require_not_written_off(uncollectible: bool) -> None:
    """What was given up does not grow again; raises Conflict."""
    if uncollectible:
        raise Conflict(
            "void is not possible: the invoice is written off as uncollectible", state="uncollectible", possible=()
        )


def withdraw_adjustment(balance: InvoiceBalance, amount: Decimal) -> InvoiceBalance:
    """The balance once an ADJUSTMENT of `amount` is void: so much is left to pay again."""
    return replace(balance, adjusted=minus(balance.adjusted, amount))


def check_line_amount(amount: Decimal, left: Decimal, currency: str, path: str) -> None:
    """Whether `amount` of an invoice's line, of which `left` was not credited, can be. Raises Invalid for `path`."""
    if not ZERO < amount <= left or not is_rounded(amount, currency):
        raise Invalid(
            f"{path} must be above 0 and at most {decimal_text(max(left, ZERO))}, what is left of the line with its"
            f" tax, with no more decimals than {currency} has; got {decimal_text(amount)}",
            field=path,
        )


@dataclass(frozen=True, slots=True)
class TaxedAmount:
    """What was billed, taxes included, and the `tax` in it: of an invoice's line, or of the invoice as a whole."""

    amount: Decimal
    tax: Decimal

    def tax_in(self, before: Decimal, amount: Decimal, currency: str) -> Decimal:
        """The tax in `amount` of it, after `before` was credited; rounded on the running sum, so that parts add up."""
        if not self.amount:
            return ZERO
        share = Fraction(self.tax) / Fraction(self.amount)
        gone = round_amount(Fraction(before) * share, currency)
        return minus(round_amount(Fraction(total((before, amount))) * share, currency), gone)


def credit_note_number(sequence: int, at: datetime) -> str:
    """CN-YYYYMM-00001: by the UTC month of finalizing, without gaps, like the numbers of invoices."""
    return f"CN-{at:%Y%m}-{sequence:05d}"
