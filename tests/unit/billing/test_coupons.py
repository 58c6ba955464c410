"""Coupons: what may be created and redeemed, and what they take off lines and invoices, worked by hand."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.codec import from_json, to_json
from billing.coupons import (
    Coupon,
    CouponAssociation,
    CouponCadence,
    CouponType,
    DiscountBase,
    check_redeemable,
    discounts,
)
from billing.errors import BillingError, Conflict, Invalid
from billing.explain import explain_invoice, explain_line
from billing.invoices import Invoice, InvoiceInputs, billed_line, build_final_invoice, build_invoice, verify
from billing.ledger import deferred_amount, post_finalized
from billing.money import ZERO, total
from billing.taxes import TaxRate
from billing.terms import DueLine, LineKind

from .builders import credit_due, fixed_due, inputs, seat, snapshot, span, talk, tax, usage_due, utc

BEGINS = utc("2025-02-01")


def percent(value: str, cadence: CouponCadence = CouponCadence.forever) -> Coupon:
    return Coupon(f"coupon_{value}", f"{value} % off", CouponType.percentage, Decimal(value), cadence=cadence)


def fixed(value: str, currency: str = "usd") -> Coupon:
    name = f"{value} off"
    return Coupon(f"coupon_{value}", name, CouponType.fixed, None, Decimal(value), currency, CouponCadence.forever)


def carried(coupon: Coupon, line_item_id: str | None = None, used: int = 0) -> CouponAssociation:
    return CouponAssociation(f"assoc_{coupon.id}_{line_item_id}", coupon, line_item_id, used)


def off(amounts: list[str], *associations: CouponAssociation, currency: str = "usd") -> list[list[str]]:
    """The parts of each discount; line n has the item id "n"."""
    lines = [DiscountBase(str(index), Decimal(amount), BEGINS) for index, amount in enumerate(amounts)]
    return [[str(part) for part in one.parts] for one in discounts(lines, associations, currency)]


REFUSED: list[tuple[Callable[[], object], str, str]] = [
    (lambda: percent("0"), "percentage_off", "percentage_off must be above 0 and at most 100; got 0"),
    (lambda: percent("100.01"), "percentage_off", "percentage_off must be above 0 and at most 100; got 100.01"),
    (
        lambda: Coupon("c", "c", CouponType.percentage),
        "percentage_off",
        "percentage_off must be above 0 and at most 100; got nothing",
    ),
    (
        lambda: Coupon("c", "c", CouponType.percentage, Decimal(5), Decimal(5)),
        "amount_off",
        "amount_off and currency must be absent for percentage coupons",
    ),
    (
        lambda: Coupon("c", "c", CouponType.percentage, Decimal(5), currency="usd"),
        "amount_off",
        "amount_off and currency must be absent for percentage coupons",
    ),
    (
        lambda: Coupon("c", "c", CouponType.fixed, Decimal(5), Decimal(5), "usd"),
        "percentage_off",
        "percentage_off must be absent for fixed coupons",
    ),
    (
        lambda: Coupon("c", "c", CouponType.fixed, None, Decimal(5)),
        "currency",
        "currency is required for fixed coupons",
    ),
    (
        lambda: Coupon("c", "c", CouponType.fixed, None, None, "usd"),
        "amount_off",
        "amount_off must be above 0, with no more digits than usd has; got nothing",
    ),
    (lambda: fixed("0"), "amount_off", "amount_off must be above 0, with no more digits than usd has; got 0"),
    (lambda: fixed("0.001"), "amount_off", "amount_off must be above 0, with no more digits than usd has; got 0.001"),
    (
        lambda: fixed("0.5", "jpy"),
        "amount_off",
        "amount_off must be above 0, with no more digits than jpy has; got 0.5",
    ),
    (
        lambda: replace(percent("5"), cadence=CouponCadence.repeated),
        "duration_in_periods",
        "duration_in_periods must be 1 or more for repeated coupons, and absent for others",
    ),
    (
        lambda: replace(percent("5"), cadence=CouponCadence.repeated, duration_in_periods=0),
        "duration_in_periods",
        "duration_in_periods must be 1 or more for repeated coupons, and absent for others",
    ),
    (
        lambda: replace(percent("5"), duration_in_periods=2),
        "duration_in_periods",
        "duration_in_periods must be 1 or more for repeated coupons, and absent for others",
    ),
    (lambda: replace(percent("5"), max_redemptions=0), "max_redemptions", "max_redemptions must be 1 or more; got 0"),
    (
        lambda: replace(percent("5"), redeem_after=utc("2025-02-01"), redeem_before=utc("2025-02-01")),
        "redeem_before",
        "redeem_before must be after redeem_after",
    ),
    (
        lambda: replace(percent("5"), redeem_after=utc("2025-02-01").replace(tzinfo=None)),
        "redeem_after",
        "redeem_after must be an instant in UTC; got 2025-02-01T00:00:00",
    ),
]


@pytest.mark.parametrize(("make", "field", "message"), REFUSED)
def test_a_coupon_that_makes_no_sense_is_refused(make: Callable[[], object], field: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        make()
    assert (refused.value.field, refused.value.message) == (field, message)


@pytest.mark.parametrize(
    ("at", "redemptions", "currency", "error"),
    [
        ("2025-01-31T23:59:59", 0, "usd", Conflict),  # the window opens at its first instant
        ("2025-02-01", 0, "usd", None),
        ("2025-02-28T23:59:59", 1, "usd", None),
        ("2025-03-01", 0, "usd", Conflict),  # and is over at its last
        ("2025-02-10", 2, "usd", Conflict),
        ("2025-02-10", 0, "eur", Invalid),
    ],
)
def test_redeeming(at: str, redemptions: int, currency: str, error: type[BillingError] | None) -> None:
    coupon = replace(fixed("5"), redeem_after=utc("2025-02-01"), redeem_before=utc("2025-03-01"), max_redemptions=2)
    if error is None:
        check_redeemable(coupon, currency, utc(at), redemptions)
        return
    with pytest.raises(error):
        check_redeemable(coupon, currency, utc(at), redemptions)


def test_a_percentage_may_be_redeemed_in_any_currency_at_any_time() -> None:
    check_redeemable(percent("5"), "jpy", utc("2025-02-10"), 10**6)


@pytest.mark.parametrize(
    ("cadence", "periods", "used", "used_up"),
    [
        (CouponCadence.once, None, 0, False),
        (CouponCadence.once, None, 1, True),  # once means once
        (CouponCadence.repeated, 2, 1, False),
        (CouponCadence.repeated, 2, 2, True),
        (CouponCadence.forever, None, 999, False),
    ],
)
def test_counting(cadence: CouponCadence, periods: int | None, used: int, used_up: bool) -> None:
    coupon = replace(percent("10"), cadence=cadence, duration_in_periods=periods)
    association = carried(coupon, used=used)
    assert association.used_up is used_up
    assert bool(off(["100"], association)) is not used_up


@pytest.mark.parametrize(
    ("amounts", "associations", "parts"),
    [
        # 12.345 -> 12.35 rounded once
        (["123.45"], [carried(percent("10"))], [["12.35"]]),
        # line coupons both on the original 100, not 100 and then 90
        (["100", "50"], [carried(percent("10"), "0"), carried(percent("20"), "0")], [["10.00", "0"], ["20.00", "0"]]),
        # together at most the line: 60 + 60 of 100
        (["100"], [carried(percent("60"), "0"), carried(fixed("60"), "0")], [["60.00"], ["40.00"]]),
        # invoice coupons in order on the running total: 10 % of 150 = 15, then 20 % of 135 = 27
        (["100", "50"], [carried(percent("10")), carried(percent("20"))], [["10.00", "5.00"], ["18.00", "9.00"]]),
        # the order is the caller's: 20 off 100, then 10 % of 80
        (["100"], [carried(fixed("20")), carried(percent("10"))], [["20.00"], ["8.00"]]),
        # a line coupon goes first wherever it stands: 50 off the line, then 10 % of 50 + 50
        (["100", "50"], [carried(percent("10")), carried(fixed("50"), "0")], [["50", "0"], ["5.00", "5.00"]]),
        # 10 off 1.00, 1.00, 1.00: everything, no more
        (["1", "1", "1"], [carried(fixed("10"))], [["1.00", "1.00", "1.00"]]),
        # 0.10 on 0.33 / 0.34 / 0.33: 0.033, 0.034, 0.033 -> three times 3 cents, the 10th to the largest remainder
        (["0.33", "0.34", "0.33"], [carried(fixed("0.10"))], [["0.03", "0.04", "0.03"]]),
        # 0.02 on three equal lines: 2/3 of a cent each; the ties go to the earlier lines
        (["0.33", "0.33", "0.33"], [carried(fixed("0.02"))], [["0.01", "0.01", "0.00"]]),
        # a coupon that takes nothing off is left out
        (["0.04"], [carried(percent("10"))], []),
        (["0"], [carried(fixed("5")), carried(percent("50"))], []),
        (["10"], [carried(fixed("5"), "elsewhere")], []),
        ([], [carried(fixed("5"))], []),
    ],
)
def test_discounts(amounts: list[str], associations: list[CouponAssociation], parts: list[list[str]]) -> None:
    assert off(amounts, *associations) == parts


def test_a_fixed_line_coupon_is_worth_its_amount_once_for_all_lines_of_the_item() -> None:
    lines = [DiscountBase(name, Decimal(amount), BEGINS) for name, amount in (("a", 3), ("b", 9), ("a", 4))]
    (found,) = discounts(lines, [carried(fixed("5"), "a")], "usd")
    assert (found.base, found.amount, found.parts) == (Decimal(7), Decimal(5), (Decimal(3), ZERO, Decimal(2)))


def test_currencies_without_and_with_three_digits() -> None:
    assert off(["1001"], carried(percent("10")), currency="jpy") == [["100"]]  # 100.1
    assert off(["1.005"], carried(percent("10")), currency="kwd") == [["0.101"]]  # 0.1005
    with pytest.raises(Invalid, match="is in eur"):
        off(["10"], carried(fixed("5", "eur")))


@given(
    st.lists(st.decimals(0, 10**6, places=2), max_size=6),
    st.lists(
        st.tuples(st.booleans(), st.decimals("0.01", 100, places=2), st.sampled_from([None, "0", "1"])), max_size=4
    ),
)
def test_discount_laws(amounts: list[Decimal], rows: list[tuple[bool, Decimal, str | None]]) -> None:
    lines = [DiscountBase(str(index), amount, BEGINS) for index, amount in enumerate(amounts)]
    associations = [
        carried(fixed(str(value)) if is_fixed else percent(str(value)), item) for is_fixed, value, item in rows
    ]
    found = discounts(lines, associations, "usd")
    for one in found:
        assert total(one.parts) == one.amount > 0
        assert all(part >= 0 for part in one.parts)
    for index, line in enumerate(lines):
        assert total(one.parts[index] for one in found) <= line.amount


# On an invoice.


def with_coupons(made: InvoiceInputs, *associations: CouponAssociation) -> InvoiceInputs:
    return replace(made, coupons=associations)


def sums(invoice: Invoice) -> tuple[str, str, str, str]:
    return str(invoice.subtotal), str(invoice.total_discount), str(invoice.total_tax), str(invoice.total)


def test_tax_is_taken_of_what_is_left_after_discounts() -> None:
    made = with_coupons(
        inputs(
            fixed_due(seat()),
            usage_due(talk()),
            taxes=(tax(),),
            usage=(snapshot("meter_talk", span("2025-01-31", "2025-02-28"), "40000.25"),),
        ),
        carried(percent("50"), "line_0"),
        carried(fixed("10")),
    )
    invoice = build_final_invoice(made)
    # lines 62.50 and 63.80; half of the seat = 31.25; 10 shared out on 31.25 and 63.80: 3.2877 and 6.7122
    assert [str(line.discount) for line in invoice.lines] == ["34.54", "6.71"]
    assert sums(invoice) == ("126.30", "41.25", "15.31", "100.36")  # 18 % of 85.05 = 15.309
    assert [str(line.exclusive_tax) for line in invoice.lines] == ["5.03", "10.28"]  # of 27.96 and 57.09
    assert verify(made, invoice) == ()
    assert from_json(InvoiceInputs, to_json(made)) == made
    assert from_json(Invoice, to_json(invoice)) == invoice


def test_inclusive_tax_is_inside_what_is_left() -> None:
    made = with_coupons(
        inputs(fixed_due(seat("118"), quantity="1"), taxes=(tax("18", inclusive=True),)), carried(percent("50"))
    )
    assert sums(build_invoice(made)) == ("118.00", "59.00", "9.00", "59.00")  # 59 = 50 + 9


def test_a_coupon_of_all_makes_an_invoice_of_nothing() -> None:
    made = with_coupons(inputs(fixed_due(seat()), taxes=(tax(),)), carried(percent("100")))
    assert sums(build_invoice(made)) == ("62.50", "62.50", "0.00", "0.00")


def test_credits_take_no_coupon_and_are_not_in_its_base() -> None:
    made = with_coupons(
        inputs(fixed_due(seat("100"), quantity="1"), credit_due("60", Fraction(1, 2)), taxes=(tax(),)),
        carried(percent("10")),
        carried(fixed("5"), "line_0"),
    )
    invoice = build_invoice(made)
    # 5 off the charge, then 10 % of 95 = 9.50; the credit of 30 stays whole
    assert [str(line.discount) for line in invoice.lines] == ["14.50", "0"]
    assert sums(invoice) == ("70.00", "14.50", "9.99", "65.49")  # 18 % of 55.50


def test_credit_beyond_the_charges_net_of_discounts_is_carried() -> None:
    made = with_coupons(
        inputs(fixed_due(seat("100"), quantity="1"), credit_due("60", Fraction(1, 2)), taxes=(tax(),)),
        carried(fixed("80")),
    )
    invoice = build_invoice(made)
    # 100 - 80 = 20 to pay, 30 of credit: 10 carried; the subtotal is raised to the discounts
    assert [str(line.amount) for line in invoice.lines] == ["100.00", "-30.00", "10.00"]
    assert sums(invoice) == ("80.00", "80.00", "0.00", "0.00")
    assert invoice.carried.amount == 10


def test_what_was_billed_net_of_discounts_is_what_can_be_credited_and_is_deferred() -> None:
    made = with_coupons(inputs(fixed_due(seat()), taxes=(tax(),)), carried(percent("20")))
    invoice = build_invoice(made)
    line = invoice.lines[0]
    assert billed_line("inv_1", "li_1", line, ZERO).amount == Decimal("50.00")  # 62.50 - 12.50
    assert deferred_amount(line) == Decimal("50.00")
    posted = {entry.account: entry.debit or entry.credit for entry in post_finalized("inv_1", invoice).entries}
    assert posted == {
        "accounts_receivable": Decimal("59.00"),
        "deferred_revenue": Decimal("50.00"),
        "tax_payable": Decimal("9.00"),
    }


def test_discounts_are_explained() -> None:
    made = with_coupons(inputs(fixed_due(seat())), carried(percent("20"), "line_0"), carried(fixed("60")))
    invoice = build_invoice(made)
    assert explain_line(invoice.lines[0])[-3:] == [
        "discount 20 % off: -12.50 usd",
        "discount 60 off: -50.00 usd",
        "net of discounts: 0.00 usd",
    ]
    assert explain_invoice(invoice, made)[-4:] == [
        "20 % off: 20 % off 62.50 usd: -12.50 usd",
        "60 off: 60.00 usd off 50.00 usd: -50.00 usd",
        "Discounts together: -62.50 usd",
        "Total: 0.00 usd",
    ]


CHARGES = st.decimals(0, 10**4, places=3).map(lambda amount: fixed_due(seat(str(amount)), quantity="1"))
CREDITS = st.tuples(st.decimals("0.01", 10**4, places=2), st.fractions(0, 1)).map(
    lambda row: credit_due(str(row[0]), row[1], exclusive_tax="1")
)
COUPONS = st.one_of(
    st.integers(1, 100).map(lambda value: percent(str(value))),
    st.decimals("0.01", 10**4, places=2).map(lambda value: fixed(str(value))),
)


@given(
    st.lists(st.one_of(CHARGES, CREDITS), max_size=5),
    st.lists(st.tuples(COUPONS, st.sampled_from([None, "line_0"])), max_size=3),
    st.lists(st.tuples(st.integers(0, 30), st.booleans()).map(lambda row: tax(str(row[0]), row[1])), max_size=2),
)
def test_the_sum_with_discounts(
    lines: list[DueLine], rows: list[tuple[Coupon, str | None]], rates: list[TaxRate]
) -> None:
    associations = [CouponAssociation(f"a{index}", *row) for index, row in enumerate(rows)]
    invoice = build_invoice(with_coupons(inputs(*lines, taxes=tuple(rates)), *associations))
    assert total((invoice.subtotal, -invoice.total_discount, invoice.exclusive_tax)) == invoice.total >= 0
    assert invoice.subtotal >= invoice.total_discount
    assert all(line.net_amount >= 0 for line in invoice.lines if line.kind is LineKind.fixed)
    if invoice.lines:
        post_finalized("inv_1", invoice)  # balances, or raises
