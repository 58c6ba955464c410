"""What a charge for usage should have cost, once its usage is known better.

Owns how a discount shrinks with its charge; what was charged is billing.invoice_lines' UsageCharge.
"""

from decimal import Decimal
from fractions import Fraction

from billing.invoice_lines import UsageCharge
from billing.money import minus, round_amount, total


def net_target(charge: UsageCharge, gross: Decimal, currency: str) -> Decimal:
    """What a charge of `gross` should have cost net of discounts.

    Below what was charged first, the discount shrinks with it, so that a credit never gives back what was not paid;
    beyond it nothing is taken off, as late lines take no coupons.
    """
    if gross >= charge.gross:
        return total((charge.net, minus(gross, charge.gross)))
    return round_amount(Fraction(gross) * share_of_charge(charge.net, charge.gross), currency)


def share_of_charge(part: Decimal, whole: Decimal) -> Fraction:
    """`part` of `whole`, exactly; of nothing, nothing."""
    return Fraction(part) / Fraction(whole) if whole else Fraction(0)
