"""The sum: lines, credits, taxes and totals worked by hand; the laws of the invoice; verification."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from billing.errors import InvariantBroken
from billing.invoice_states import InvoiceStatus
from billing.invoices import (
    Invoice,
    billed_line,
    build_final_invoice,
    build_invoice,
    due_at,
    invoice_number,
    is_deferred,
    verify,
)
from billing.money import total
from billing.periods import Period
from billing.taxes import TaxRate, TaxRateType
from billing.terms import DueLine, LineKind

from .builders import credit_due, fixed_due, inputs, package, seat, snapshot, span, talk, tax, usage_due, utc

USED = span("2025-01-31", "2025-02-28")


def amounts(invoice: Invoice) -> list[str]:
    return [str(line.amount) for line in invoice.lines]


def test_seat_usage_and_packages_with_tax() -> None:
    invoice = build_final_invoice(
        inputs(
            fixed_due(seat()),
            usage_due(talk()),
            usage_due(package()),
            taxes=(tax("18"),),
            usage=(snapshot("meter_talk", USED, "40000.25"), snapshot("meter_premium", USED, "101")),
        )
    )
    # seat 5 x 12.5; talk 36000 x 0.0015 = 54, 4000.25 x 0.0012 + 5 = 9.8003; premium 3 x 4.75
    assert amounts(invoice) == ["62.50", "63.80", "14.25"]
    assert invoice.subtotal == Decimal("140.55")
    assert [str(part.amount) for part in invoice.taxes] == ["25.30"]  # 25.299
    assert (invoice.total, invoice.amount_due) == (Decimal("165.85"), Decimal("165.85"))
    assert invoice.status is InvoiceStatus.DRAFT


def test_each_line_is_rounded_once_and_the_subtotal_is_their_sum() -> None:
    line = fixed_due(seat("0.005"), quantity="1")
    invoice = build_invoice(inputs(line, line, line))
    assert amounts(invoice) == ["0.01", "0.01", "0.01"]
    assert invoice.subtotal == Decimal("0.03")  # not 0.015 -> 0.02


def test_a_short_period_costs_its_share() -> None:
    invoice = build_invoice(inputs(fixed_due(seat(), share=Fraction(17, 31))))
    assert amounts(invoice) == ["34.27"]  # 62.5 x 17 / 31 = 34.274...
    assert invoice.lines[0].derivation.exact == Fraction("62.5") * 17 / 31


def test_inclusive_tax_stays_inside_the_total() -> None:
    invoice = build_invoice(inputs(fixed_due(seat("118"), quantity="1"), taxes=(tax("18", inclusive=True),)))
    assert (invoice.subtotal, invoice.total_tax, invoice.total) == (Decimal(118), Decimal(18), Decimal(118))
    assert invoice.lines[0].inclusive_tax == 18


def test_a_line_of_zero_is_listed_and_an_invoice_without_lines_is_skipped() -> None:
    invoice = build_final_invoice(inputs(usage_due(talk()), usage=(snapshot("meter_talk", USED, "0", 0),)))
    assert (amounts(invoice), invoice.status) == (["0.00"], InvoiceStatus.DRAFT)
    assert build_final_invoice(inputs()).status is InvoiceStatus.SKIPPED


def test_a_draft_may_lack_usage_but_a_final_invoice_never() -> None:
    lacking = inputs(usage_due(talk()), usage=(snapshot("meter_talk", span("2025-01-30", "2025-02-28"), "9"),))
    draft = build_invoice(lacking)
    assert draft.awaits_usage
    assert amounts(draft) == ["0.00"]
    with pytest.raises(InvariantBroken, match="line_1"):
        build_final_invoice(lacking)


def test_the_final_invoice_keeps_the_fixed_lines_of_the_draft() -> None:
    given_inputs = inputs(fixed_due(seat()), usage_due(talk()), taxes=(tax(),))
    draft = build_invoice(given_inputs)
    final = build_final_invoice(replace(given_inputs, usage=(snapshot("meter_talk", USED, "1000"),)))
    assert (draft.lines[0].amount, draft.lines[0].derivation) == (final.lines[0].amount, final.lines[0].derivation)


def test_a_credit_beside_larger_charges_lowers_the_tax_base() -> None:
    charge, credit = fixed_due(seat("100"), quantity="1"), credit_due("60", Fraction(1, 2))
    invoice = build_invoice(inputs(charge, credit, taxes=(tax(),)))
    assert amounts(invoice) == ["100.00", "-30.00"]
    assert (invoice.subtotal, invoice.total_tax, invoice.total) == (Decimal(70), Decimal("12.60"), Decimal("82.60"))
    assert [str(line.exclusive_tax) for line in invoice.lines] == ["18.00", "-5.40"]


@pytest.mark.parametrize(
    ("charge", "carried", "inclusive"),
    [
        # half of 59.00 with 9.00 of tax inside is 29.50 with 4.50, half of 22.00 with 2.00 is 11.00 with 1.00
        ("0", "40.50", "5.50"),
        # 0.50 is left of the 40.50: 0.36 of the first with 0.36 x 9 / 59 = 0.055, 0.14 of the second with 0.013
        ("40.00", "0.50", "0.07"),
        ("40.50", "0.00", "0.00"),
    ],
)
def test_credits_that_are_carried_together_keep_the_taxes_inside_each(
    charge: str, carried: str, inclusive: str
) -> None:
    credits = [
        credit_due("59.00", Fraction(1, 2), inclusive_tax="9.00"),
        credit_due("22.00", Fraction(1, 2), inclusive_tax="2.00"),
    ]
    invoice = build_invoice(inputs(fixed_due(seat(charge), quantity="1"), *credits))
    assert (invoice.carried.amount, invoice.carried.inclusive_tax) == (Decimal(carried), Decimal(inclusive))
    assert invoice.carried.exclusive_tax == 0


def test_credit_beyond_the_charges_is_carried_with_the_tax_that_it_was_billed_with() -> None:
    invoice = build_invoice(
        inputs(
            fixed_due(seat("10"), quantity="1"),
            credit_due("200", Fraction(1, 4), exclusive_tax="36"),
            taxes=(tax("5"),),
        )
    )
    assert amounts(invoice) == ["10.00", "-50.00", "40.00"]
    assert invoice.lines[-1].kind is LineKind.adjustment
    assert (invoice.subtotal, invoice.total_tax, invoice.total) == (Decimal(0), Decimal(0), Decimal(0))
    # 40 of the 200 that were billed with 36 of tax: 7.20, whatever the rate is now
    assert (invoice.carried.amount, invoice.carried.exclusive_tax) == (Decimal(40), Decimal("7.20"))
    assert invoice.carried.to_customer == Decimal("47.20")


def test_a_credit_takes_at_most_what_is_left_uncredited() -> None:
    invoice = build_invoice(inputs(credit_due("60", Fraction(3, 4), credited="25")))
    assert amounts(invoice) == ["-35.00", "35.00"]


def test_a_fixed_tax_is_shared_out_to_the_lines() -> None:
    line = fixed_due(seat("1"), quantity="1")
    invoice = build_invoice(inputs(line, line, line, taxes=(tax("0.05", kind=TaxRateType.fixed),)))
    assert [str(part.exclusive_tax) for part in invoice.lines] == ["0.02", "0.02", "0.01"]
    assert invoice.total == Decimal("3.05")


LINES = st.lists(
    st.one_of(
        st.decimals(0, 10**6, places=4).map(lambda amount: fixed_due(seat(str(amount)), quantity="1")),
        st.tuples(st.decimals(0, 10**6, places=2), st.fractions(0, 1), st.integers(0, 1)).map(
            lambda row: credit_due(str(row[0]), row[1], credited=str(row[0] * row[2]))
        ),
    ),
    max_size=6,
)
RATES = st.lists(
    st.tuples(st.integers(0, 40), st.booleans()).map(lambda row: tax(str(row[0]), inclusive=row[1])), max_size=3
)


@given(LINES, RATES)
def test_invoice_laws(lines: list[DueLine], rates: list[TaxRate]) -> None:
    given_inputs = inputs(*lines, taxes=tuple(rates))
    invoice = build_invoice(given_inputs)
    assert total(line.amount for line in invoice.lines) == invoice.subtotal >= 0
    assert total((invoice.subtotal, -invoice.total_discount, invoice.exclusive_tax)) == invoice.total >= 0
    credits = total(line.amount for line in invoice.lines if line.kind is LineKind.proration_credit)
    assert invoice.carried.amount <= -credits
    assert build_invoice(given_inputs) == invoice  # closing twice changes nothing


def test_an_invoice_that_does_not_add_up_cannot_exist() -> None:
    invoice = build_invoice(inputs(fixed_due(seat()), taxes=(tax(),)))
    for wrong in ({"subtotal": Decimal(1)}, {"total": Decimal(1)}, {"total_tax": Decimal(1)}, {"lines": ()}):
        with pytest.raises(InvariantBroken, match="does not add up"):
            structs.replace(invoice, **wrong)


def broken_laws(**wrong: Any) -> list[str]:
    invoice = build_invoice(inputs(fixed_due(seat()), taxes=(tax(),)))
    with pytest.raises(InvariantBroken) as broken:
        structs.replace(invoice, **wrong)
    laws: list[str] = broken.value.details["laws"]
    assert broken.value.message == f"an invoice does not add up: {'; '.join(laws)}"
    return laws


def test_the_laws_that_are_broken_are_named() -> None:
    """62.50 of seats and 11.25 of tax: 73.75."""
    sums = "total is subtotal - total_discount + exclusive tax - prepaid credits"
    subtotal, taxes = "subtotal is the sum of the lines", "total_tax is the sum of the taxes"
    own_taxes, skipped = "the lines' taxes add up", "only an invoice without lines is SKIPPED"
    assert broken_laws(total=Decimal(1)) == [sums]
    assert broken_laws(total=Decimal(-1)) == [sums, "the total is not negative"]
    assert broken_laws(subtotal=Decimal(-1)) == [subtotal, "subtotal is not negative", sums]
    assert broken_laws(total_tax=Decimal(1)) == [taxes, own_taxes]
    assert broken_laws(lines=()) == [subtotal, own_taxes, skipped]
    assert broken_laws(status=InvoiceStatus.SKIPPED) == [skipped]
    assert broken_laws(total_discount=Decimal(1)) == [
        "total_discount is the sum of the discounts", "the lines' discounts add up", sums,
    ]  # fmt: skip
    assert broken_laws(total_prepaid_credits_applied=Decimal(1)) == [
        sums, "prepaid credits are the sum of the draws", "the lines' credits add up",
    ]  # fmt: skip


def test_verify_finds_the_wrong_digit() -> None:
    given_inputs = inputs(usage_due(talk()), usage=(snapshot("meter_talk", USED, "1000"),))
    stored = build_final_invoice(given_inputs)
    assert verify(given_inputs, stored) == ()
    renamed = structs.replace(stored, lines=(structs.replace(stored.lines[0], display_name="Calls"),))
    assert verify(given_inputs, renamed) == ("lines[0].display_name: expected 'Talk time', stored 'Calls'",)
    assert verify(replace(given_inputs, usage=(snapshot("meter_talk", USED, "1001"),)), stored)


def test_numbers_and_due_dates() -> None:
    assert invoice_number(1, utc("2025-03-31T23:59:59")) == "INV-202503-00001"
    assert invoice_number(123456, utc("2025-12-01")) == "INV-202512-123456"
    assert due_at(utc("2025-02-28"), 30) == utc("2025-03-30")


def test_only_advance_time_is_deferred_and_creditable() -> None:
    moment = Period(utc("2025-01-31"), utc("2025-01-31"))
    invoice = build_invoice(inputs(fixed_due(seat()), usage_due(talk()), fixed_due(seat(), period=moment)))
    assert [is_deferred(line) for line in invoice.lines] == [True, False, False]
    assert billed_line("inv", "li", invoice.lines[0], Decimal(0)).amount == Decimal("62.50")
    with pytest.raises(InvariantBroken, match="cannot be credited"):
        billed_line("inv", "li", invoice.lines[1], Decimal(0))
