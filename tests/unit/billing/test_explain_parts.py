"""Explanations part by part: each figure of a line is the sum of its parts, and a line without something has none."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from billing.commitments import Commitment, CommitmentType
from billing.coupons import Coupon, CouponAssociation, CouponCadence, CouponType
from billing.explain import Figure, explain_line, explanations
from billing.invoices import Invoice, InvoiceInputs, build_final_invoice
from billing.prices import RoundMode, TierMode
from billing.wallets import AllowedPriceTypes, CreditLot, Wallet, WalletType

from .builders import credit_due, fixed_due, inputs, package, seat, snapshot, span, tax, tiered, usage_due, utc
from .test_time_of_day import NIGHT, NOON, billed, promise

D = Decimal
MONTH = span("2025-01-31", "2025-02-28")


def parts(made: InvoiceInputs, place: int, figure: Figure = Figure.amount) -> list[tuple[str, str, Fraction]]:
    found = explanations(build_final_invoice(made), made, "UTC")[place]
    return [(part.label, part.how, part.amount) for part in found.parts_of(figure)]


def test_a_credit_that_was_given_in_part_before() -> None:
    """Half of 100 is unused; 80 were credited, so that 30 of these 50 are not given again."""
    made = inputs(fixed_due(seat("100"), "1"), credit_due("100", Fraction(1, 2), credited="80"))
    assert parts(made, 1) == [
        ("unused time", "-100 x 1/2", Fraction(-50)), ("credited before", "80.00 usd", Fraction(30)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rounding", "words"),
    [
        (RoundMode.up, "price: 4.75 usd a package of 50; 149 / 50 = 2.98, a started package counts"),
        (RoundMode.down, "price: 4.75 usd a package of 50; 149 / 50 = 2.98, only full packages count"),
    ],
)
def test_which_packages_count(rounding: RoundMode, words: str) -> None:
    usage = (snapshot("meter_premium", MONTH, "149"),)
    invoice = build_final_invoice(inputs(usage_due(package("4.75", 50, rounding)), usage=usage))
    assert words in explain_line(invoice.lines[0])


def test_tiers_say_from_where_they_count() -> None:
    slab = tiered(TierMode.SLAB, ("10", "1", "2"), ("20", "0.5", "3"), (None, "0.1", "0"))
    text = explain_line(
        build_final_invoice(inputs(usage_due(slab), usage=(snapshot("meter_talk", MONTH, "25"),))).lines[0]
    )
    assert [line for line in text if line.startswith(("tier", "sum"))] == [
        "tier 1 (from 0 up to 10): 10 x 1 + 2 flat = 12",
        "tier 2 (from 10 up to 20): 10 x 0.5 + 3 flat = 8",
        "tier 3 (from 20 and more): 5 x 0.1 = 0.5",
        "sum: 12 + 8 + 0.5 = 20.5",
    ]


def at_hours(invoice: Invoice, made: InvoiceInputs) -> list[list[tuple[str, str, Fraction]]]:
    return [
        [(part.label, part.how, part.amount) for part in found.parts_of(Figure.amount) if part.label != "price"]
        for found in explanations(invoice, made, "UTC")
    ]


def test_what_is_beyond_the_promise_of_one_time_of_day_leaves_out_the_others() -> None:
    """31 calls at 1 were made, of which 12 by night and 12 at noon: the rest is not theirs."""
    commitment: Commitment = promise(NIGHT, NOON)
    assert commitment.type is CommitmentType.amount
    invoice = billed(commitment, {23: 8, 5: 4, 12: 12, 15: 7})
    explained = [explain_line(line) for line in invoice.lines]
    assert [text[-3:-1] for text in explained[1:3]] == [
        ["9 of 12 counts towards the commitment", "beyond it: (12 - 9) x 2 = 6"],
        ["10 of 12 counts towards the commitment", "beyond it: (12 - 10) x 1 = 2"],
    ]
    found = at_hours(invoice, replace(inputs(), currency="usd"))
    for line, own in zip(invoice.lines[1:3], found[1:3], strict=True):
        others = [amount for label, _, amount in own if label == "at other times of the day"]
        assert others == [line.derivation.commitment.whole - 31 if line.derivation.commitment else None]


def test_discounts_taxes_and_credits_are_parts_where_there_are_any() -> None:
    """62.50 of seats: 10 % off are 6.25, 18 % of 56.25 are 10.125, rounded 10.13; a wallet pays 20 of it.

    A line of 0 beside it has none of them, but for the tax of nothing.
    """
    coupon = Coupon("c", "Ten", CouponType.percentage, percentage_off=D(10), cadence=CouponCadence.forever)
    lot = CreditLot("lot", D(20), D(20), utc("2025-01-01"))
    wallet = Wallet("w", WalletType.PRE_PAID, "usd", allowed_price_types=AllowedPriceTypes.ALL, lots=(lot,))
    made = replace(
        inputs(fixed_due(seat()), fixed_due(seat("0")), taxes=(tax(),)),
        coupons=(CouponAssociation("a", coupon),),
        wallet=wallet,
    )
    for figure, amount in (
        (Figure.discount, Fraction("-6.25")), (Figure.tax, Fraction("10.13")), (Figure.credits, Fraction(-20)),
    ):  # fmt: skip
        assert sum(value for _, _, value in parts(made, 0, figure)) == amount
        assert [part for part in parts(made, 1, figure) if part[2]] == []
    assert [label for label, _, _ in parts(made, 1, Figure.tax)] == ["tax Tax 18"]
    assert parts(made, 1, Figure.credits) == parts(made, 1, Figure.discount) == []
