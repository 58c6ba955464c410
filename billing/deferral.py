"""Deferred revenue of one line: what of it has been earned, and what credits took back, in whichever order these come.

Owns the sums; what a line defers and what a credit reverses are billing.ledger's.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from billing.money import ZERO, minus, total


@dataclass(frozen=True, slots=True)
class Deferral:
    """`amount` was put aside; `released` of it is revenue, `reversed` was taken back. Major units."""

    amount: Decimal
    released: Decimal = ZERO
    reversed: Decimal = ZERO

    @property
    def left(self) -> Decimal:
        """What is still put aside."""
        return minus(self.amount, total((self.released, self.reversed)))

    @property
    def gone(self) -> Decimal:
        """What is not put aside any more."""
        return total((self.released, self.reversed))


@dataclass(frozen=True, slots=True)
class TakenBack:
    """After a credit: `returned` had been released and is put aside again before the credit takes it.

    `lost` was never put aside (the line's inclusive tax was another when the credit was drafted): revenue lost.
    """

    after: Deferral
    returned: Decimal
    lost: Decimal


def take_back(before: Deferral, wanted: Decimal) -> TakenBack:
    """A finalized credit, whose own posting has taken `wanted` out of the account, lowers what is put aside."""
    beyond = max(minus(wanted, before.left), ZERO)
    returned = min(beyond, before.released)
    lost = minus(beyond, returned)
    after = replace(
        before,
        released=minus(before.released, returned),
        reversed=total((before.reversed, minus(wanted, lost))),
    )
    return TakenBack(after, returned, lost)


def release(before: Deferral) -> Deferral:
    """The period has ended: all that was not taken back is revenue."""
    return replace(before, released=minus(before.amount, before.reversed))


def reverse(before: Deferral) -> Deferral:
    """The invoice is void, and its reversal took back all that had not become revenue: nothing is left to release."""
    return replace(before, reversed=minus(before.amount, before.released))
