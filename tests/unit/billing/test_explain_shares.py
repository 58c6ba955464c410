"""Explanations of what the whole invoice decides for a line: coupons, taxes, lots; and their document."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from msgspec import structs

from billing.coupons import Coupon, CouponAssociation, CouponCadence, CouponType
from billing.entitlements import Allowance
from billing.errors import InvariantBroken
from billing.explain import document_of, explain_line, explanations
from billing.invoices import InvoiceInputs, build_final_invoice
from billing.meters import UsagePart
from billing.prices import TierMode
from billing.taxes import TaxRate, TaxRateType
from billing.terms import LineKind
from billing.wallets import AllowedPriceTypes, CreditLot, Wallet, WalletType

from .builders import credit_due, fixed_due, inputs, seat, snapshot, span, tax, tiered, usage_due, utc

USED = span("2025-01-31", "2025-02-28")
PER_UNIT = tiered(TierMode.SLAB, (None, "1", "0"))


def told(made: InvoiceInputs, line: int) -> list[str]:
    """What follows a line's rounding."""
    text = explanations(build_final_invoice(made), made)[line].text
    return text[next(place for place, words in enumerate(text) if words.startswith("rounded once")) + 1 :]


def cheap(amount: str) -> InvoiceInputs:
    return inputs(*(fixed_due(seat(part), quantity="1") for part in amount.split()))


def off(name: str, line: str | None = None, percent: str | None = None, amount: str | None = None) -> CouponAssociation:
    kind = CouponType.fixed if amount else CouponType.percentage
    coupon = Coupon(
        name,
        name,
        kind,
        None if percent is None else Decimal(percent),
        None if amount is None else Decimal(amount),
        "usd" if amount else None,
        CouponCadence.forever,
    )
    return CouponAssociation(f"{name}:{line}", coupon, line)


def test_the_units_that_are_missing_go_to_the_largest_rests() -> None:
    # 0.10 over 0.33, 0.34 and 0.33: 0.033, 0.034 and 0.033; one cent is missing
    made = replace(cheap("0.33 0.34 0.33"), coupons=(off("ten", percent="10"),))
    assert [told(made, line)[0] for line in range(3)] == [
        "discount ten: its part of 0.1: 0.1 x 0.33 / 1 = 0.033, cut down to 0.03: -0.03 usd",
        "discount ten: its part of 0.1: 0.1 x 0.34 / 1 = 0.034, "
        "cut down to 0.03, and 0.01 more for the largest rests (this is number 1): -0.04 usd",
        "discount ten: its part of 0.1: 0.1 x 0.33 / 1 = 0.033, cut down to 0.03: -0.03 usd",
    ]


def test_coupons_of_a_line_and_of_the_invoice_one_after_the_other() -> None:
    coupons = (off("half", "line_0", percent="50"), off("six", "line_0", amount="6"), off("one", amount="1"))
    usage = (snapshot("meter_talk", USED, "5"),)
    made = inputs(fixed_due(seat("10"), quantity="1"), usage_due(PER_UNIT), usage=usage)
    made = replace(made, coupons=coupons)
    assert told(made, 0) == [
        "discount half: 50 % of 10 = 5: -5.00 usd",
        "discount six: of 6 off, all that is left of the line: -5.00 usd",
        "net of discounts: 0.00 usd",
    ]
    assert told(made, 1) == ["discount one: its part of 1: 1 x 5 / 5 = 1: -1.00 usd", "net of discounts: 4.00 usd"]


def test_each_tax_on_each_line_with_its_base() -> None:
    fee = TaxRate("fee", "fee", "Fee", TaxRateType.fixed, Decimal(3))
    made = inputs(
        fixed_due(seat("10"), quantity="1"), fixed_due(seat("20"), quantity="1"), taxes=(tax("18"), tax("5", True), fee)
    )
    assert told(made, 0) == [
        "tax base: 10.00 usd",
        # 30 - 30 / 1.05 = 1.43 in all: 0.476 and 0.952
        "tax Tax 5: 5 % contained in 10 = 0.476190476190..., "
        "cut down to 0.47, and 0.01 more for the largest rests (this is number 1) -> 0.48 usd (not added)",
        "tax Tax 18: 18 % of 10 = 1.8 -> 1.80 usd",
        "tax Fee: 3 x 10 / 30 = 1 -> 1.00 usd",
    ]


def test_credits_beyond_the_charges_are_not_in_the_tax_base() -> None:
    made = inputs(fixed_due(seat("10"), quantity="1"), credit_due("100", Fraction(1, 2)), taxes=(tax("18"),))
    assert told(made, 1) == [
        "tax base: -10.00 usd: 40 of the credit is beyond the charges at the same rates",
        "tax Tax 18: 18 % of -10 = -1.8 -> -1.80 usd",
    ]


def test_a_lot_pays_more_than_one_line_and_a_line_is_paid_by_more_than_one() -> None:
    lots = tuple(
        CreditLot(name, Decimal(credits), Decimal(credits), utc("2025-01-01"), priority=place)
        for place, (name, credits) in enumerate((("a", "3"), ("b", "10")))
    )
    own = Wallet("w", WalletType.PRE_PAID, "usd", Decimal(2), AllowedPriceTypes.ALL, lots=lots)
    made = replace(cheap("10 5"), wallet=own)
    # a is worth 6 and b 20: the first line takes 6 and 4, the second 5
    assert told(made, 0) == [
        "3 credits of lot a pay 6 usd",
        "2 credits of lot b pay 4 usd",
        "paid by credits: 10.00 usd",
    ]
    assert told(made, 1) == ["2.5 credits of lot b pay 5 usd", "paid by credits: 5.00 usd"]


def test_a_line_by_itself_says_what_is_known_of_it() -> None:
    made = replace(cheap("10"), coupons=(off("one", amount="1"),), tax_rates=(tax("18"),))
    (line,) = build_final_invoice(made).lines
    assert explain_line(line)[-2:] == ["discount one: -1.00 usd", "net of discounts: 9.00 usd"]


def test_the_document_of_a_line() -> None:
    part = UsagePart(USED, Fraction(30), group="eu")
    usage = replace(snapshot("meter_talk", USED, "30"), parts=(part,), bucketed=True)
    allowance = Allowance("meter_talk", USED, Fraction(10))
    made = replace(inputs(usage_due(PER_UNIT), usage=(usage,)), allowances=(allowance,))
    (line,) = explanations(build_final_invoice(made), made)
    document = document_of(line)
    assert document["text"] == line.text
    assert document["sections"][0]["windows"] == [
        {
            "name": "2025-01-31 to 2025-02-28 of eu",
            "period_start": "2025-01-31T00:00:00Z", "period_end": "2025-02-28T00:00:00Z", "quantity": "30",
            "billable": "20", "group": "eu", "free": "10", "used_before": "0", "usage_limit": "10",
            "reset_start": "2025-01-31T00:00:00Z", "reset_end": "2025-02-28T00:00:00Z", "amount": "20",
        }
    ]  # fmt: skip
    assert document["sections"][1]["parts"] == [
        {
            "label": "2025-01-31 to 2025-02-28 of eu: tier 1 (from 0 and more)", "how": "20 x 1", "amount": "20",
            "exact": "20",
        }
    ]  # fmt: skip
    together = replace(made, usage=(snapshot("meter_talk", USED, "30"),))
    (line,) = explanations(build_final_invoice(together), together)
    assert "amount" not in document_of(line)["sections"][0]["windows"][0]
    endless = replace(made, allowances=(replace(allowance, limit=None),))
    (line,) = explanations(build_final_invoice(endless), endless)
    assert document_of(line)["sections"][0]["windows"][0]["usage_limit"] == "unlimited"
    plain = inputs(
        usage_due(PER_UNIT),
        usage=(replace(snapshot("meter_talk", USED, "30"), bucketed=True, parts=(UsagePart(USED, Fraction(30)),)),),
    )
    (line,) = explanations(build_final_invoice(plain), plain)
    assert set(document_of(line)["sections"][0]["windows"][0]) == {
        "name", "period_start", "period_end", "quantity", "billable", "amount",
    }  # fmt: skip


def test_a_credit_that_was_given_before_is_not_given_again() -> None:
    due = credit_due("60", Fraction(1, 2))
    assert due.credit_of is not None
    again = replace(due, credit_of=replace(due.credit_of, credited=Decimal(45)))
    (line, _) = build_final_invoice(inputs(again)).lines
    assert explain_line(line)[-3:] == [
        "-60 x 0.5 = -30",
        "45.00 usd was credited before, so 15 is left to credit",
        "rounded once, half away from zero, to 2 digits: -15 -> -15.00 usd",
    ]


def test_a_line_that_does_not_say_what_it_follows_from_is_not_explained() -> None:
    made = inputs(fixed_due(seat("10")), credit_due("5", Fraction(1, 2)))
    fixed, credit = build_final_invoice(made).lines
    for broken in (
        structs.replace(fixed, derivation=structs.replace(fixed.derivation, price=None)),
        structs.replace(credit, derivation=structs.replace(credit.derivation, credit_of=None)),
        structs.replace(fixed, kind=LineKind.true_up),
    ):
        with pytest.raises(InvariantBroken):
            explain_line(broken)
