"""What a POST_PAID wallet pays of an invoice: all of it, or some lines with the tax on top of them."""

from decimal import Decimal
from fractions import Fraction

import pytest

from billing.invoices import Invoice, build_final_invoice
from billing.prices import TierMode
from billing.wallet_payments import payable_of
from billing.wallets import AllowedPriceTypes

from .builders import credit_due, fixed_due, inputs, seat, snapshot, span, tax, tiered, usage_due

USED = span("2025-01-31", "2025-02-28")
PER_UNIT = tiered(TierMode.SLAB, (None, "1", "0"))


def invoice(*credits: str) -> Invoice:
    """62.50 of seats and 30 of usage with 18 % of tax on top, less half of each of `credits`."""
    due = (fixed_due(seat()), usage_due(PER_UNIT), *(credit_due(each, Fraction(1, 2)) for each in credits))
    return build_final_invoice(inputs(*due, taxes=(tax(),), usage=(snapshot("meter_talk", USED, "30"),)))


@pytest.mark.parametrize(
    ("allowed", "paid_before", "payable"),
    [
        (AllowedPriceTypes.ALL, "0", "109.15"),  # 92.50 + 16.65
        (AllowedPriceTypes.USAGE, "0", "35.40"),  # 30 + 5.40
        (AllowedPriceTypes.USAGE, "20", "15.40"),
        (AllowedPriceTypes.USAGE, "40", "0"),  # a line that a later rule made smaller
        (AllowedPriceTypes.FIXED, "0", "73.75"),  # 62.50 + 11.25
    ],
)
def test_a_wallet_pays_its_lines_with_their_tax(allowed: AllowedPriceTypes, paid_before: str, payable: str) -> None:
    made = invoice()
    assert payable_of(made, made.amount_due, Decimal(paid_before), allowed) == Decimal(payable)


def test_never_more_than_is_owed() -> None:
    assert payable_of(invoice(), Decimal(10), Decimal(0), AllowedPriceTypes.USAGE) == 10


def test_a_credit_for_unused_time_lowers_what_a_wallet_for_fixed_lines_pays() -> None:
    # 62.50 - 25 = 37.50 and 6.75 of tax; a credit of 75 leaves 17.50 of all, 20.65 with tax, and nothing of the seats
    small, large = invoice("50"), invoice("150")
    assert payable_of(small, small.amount_due, Decimal(0), AllowedPriceTypes.FIXED) == Decimal("44.25")
    assert payable_of(large, large.amount_due, Decimal(0), AllowedPriceTypes.FIXED) == 0
    assert payable_of(large, large.amount_due, Decimal(0), AllowedPriceTypes.USAGE) == Decimal("20.65")
