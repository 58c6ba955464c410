"""Credit notes: how much of an invoice can still be credited, and what a note changes.

Owns the caps. Does not know how an invoice is paid or where a refund goes. Rules: billing-rules.md section 6: an
ADJUSTMENT lowers what is left to pay, a REFUND gives back what was paid; each at most what is left of it.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from billing.errors import Conflict, Invalid
from billing.invoice_states import InvoiceStatus, require_finalized
from billing.money import ZERO, decimal_text, is_rounded, minus, total


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
