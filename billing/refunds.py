"""Refunds: which charge one goes back to, what it does to the invoice, and which reports of a provider are news.

Owns these decisions; how much can go back at all is billing.collection's, what is posted billing.ledger's. Rules:
billing-rules.md section 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from billing.collection import after_refund, beyond_owed, check_refund
from billing.errors import Invalid
from billing.invoice_states import PAID, PaymentStatus
from billing.money import ZERO, decimal_text, minus, total


class RefundStatus(StrEnum):
    """A FAILED refund waits for a person: it is retried, or given up (CANCELLED)."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


UNDER_WAY: Final = frozenset({RefundStatus.PENDING, RefundStatus.PROCESSING})
COUNTS: Final = UNDER_WAY | {RefundStatus.SUCCEEDED}
"""Statuses in which money has gone back or is about to."""
UNSETTLED: Final = UNDER_WAY | {RefundStatus.FAILED}
"""Statuses in which it is open where the money is."""


@dataclass(frozen=True, slots=True)
class Charge:
    """Money that came at once, and how much of it has not gone back; `attempt_id` is None outside a provider."""

    attempt_id: str | None
    provider: str | None
    gateway_payment_id: str | None
    taken: Decimal
    left: Decimal


class Told(StrEnum):
    """What a provider reports of a refund."""

    succeeded = "succeeded"
    pending = "pending"
    declined = "declined"


class TakenIn(StrEnum):
    """What is done about a report: settle our refund, book one made elsewhere, tell a person that it came back."""

    nothing = "nothing"
    settle = "settle"
    book = "book"
    tell = "tell"


def chosen_charge(
    charges: Sequence[Charge], amount: Decimal | None, held: Decimal, currency: str
) -> tuple[Charge, Decimal]:
    """The newest of `charges` (oldest first) that has as much left, and the amount; None is all that is left.

    `held` is what of all the invoice's payments can still go back. Raises Conflict when that is nothing, Invalid for
    the amount, also when no single charge has as much.
    """
    left = min(total(charge.left for charge in charges), held)
    amount = left if amount is None else amount
    check_refund(amount, left, currency)
    for charge in reversed(charges):
        if charge.left >= amount:
            return charge, amount
    most = max(charge.left for charge in charges)
    raise Invalid(
        f"amount must be at most {decimal_text(most)} {currency}: the payment was charged {len(charges)} times, and a"
        " refund is of one charge; ask for one refund each",
        field="amount",
    )


@dataclass(frozen=True, slots=True)
class RefundEffect:
    """What a refund does: `overpaid` was beyond the invoice before, `of_invoice` lowers what the invoice keeps."""

    overpaid: Decimal
    of_invoice: Decimal
    refunded: Decimal
    payment: PaymentStatus


def refund_effect(
    payment: PaymentStatus, owed: Decimal, paid: Decimal, refunded: Decimal, amount: Decimal, credit: Decimal
) -> RefundEffect:
    """The effect of `amount`, of which `credit` was taken out of a wallet, on an invoice that asked for `owed`.

    `paid` came in for it and `refunded` went back before. Credit of a wallet was no longer the invoice's: it changes
    nothing there. An invoice that was not paid is not `refunded` either.
    """
    rest = minus(amount, credit)
    after = total((refunded, rest))
    status = after_refund(owed, paid, after) if rest and payment in PAID else payment
    return RefundEffect(beyond_owed(owed, minus(paid, refunded)), rest, after, status)


def settles_excess(overpaid: Decimal, amount: Decimal) -> bool:
    """Whether a refund of `amount` gives back all that had been paid beyond the invoice."""
    return ZERO < overpaid <= amount


def split_told(amount: Decimal, excess: Decimal, held: Decimal) -> tuple[Decimal, Decimal]:
    """Of a refund made elsewhere: what is taken out of the wallet's `excess`, and what was given back twice.

    What is credit of a wallet went back first; what is beyond all that was `held` besides it has been given before.
    """
    credit = min(amount, excess)
    return credit, max(minus(minus(amount, credit), held), ZERO)


def take_in(known: RefundStatus | None, told: Told) -> TakenIn:
    """What a report of a refund asks for; `known` is ours as it stands, None one that was made elsewhere.

    One made elsewhere is booked once it has succeeded, ours is settled once; money that comes back after it had gone is
    a person's.
    """
    if known is None:
        return TakenIn.book if told is Told.succeeded else TakenIn.nothing
    if known in UNDER_WAY and told is not Told.pending:
        return TakenIn.settle
    return TakenIn.tell if (known, told) == (RefundStatus.SUCCEEDED, Told.declined) else TakenIn.nothing
