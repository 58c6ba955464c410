"""The lines of the credit notes of a correction: they add up to the notes, and the notes to what is owed."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.credit_notes import InvoiceBalance
from billing.invoice_lines import PeriodCorrection
from billing.invoices import build_final_invoice
from billing.late_notes import late_notes
from billing.late_usage import LateUsagePolicy, LateUsageSettings, closed_period, corrections, in_its_way
from billing.money import total
from billing.prices import TierMode

from .builders import inputs, package, snapshot, tax, tiered, usage_due
from .test_late_usage import FEBRUARY, PAID, closed, corrected

NOTES = LateUsageSettings(LateUsagePolicy.credit_note)


def told(made: PeriodCorrection, balance: InvoiceBalance) -> list[tuple[str, str, list[str]]]:
    """Type, amount and the amounts of the lines of each note."""
    return [
        (note.kind.value, str(note.amount), [str(amount) for _, amount in note.lines])
        for note in late_notes(made, balance)
    ]


def both(talk: str, premium: str) -> PeriodCorrection:
    """Two prices: of talk 80 were billed (41), of premium calls 120 in three packages of 50 (14.25); 18 % on top."""
    talked = usage_due(tiered(TierMode.SLAB, ("100", "0.5", "1"), (None, "0.2", "0")))
    usage = (snapshot("meter_talk", FEBRUARY, "80"), snapshot("meter_premium", FEBRUARY, "120"))
    calls = replace(usage_due(package(divide_by=50)), line_item_id="line_2")
    own = inputs(talked, calls, usage=usage, taxes=(tax(),))
    period = closed_period("inv_1", own, build_final_invoice(own).lines)
    now = (snapshot("meter_talk", FEBRUARY, talk), snapshot("meter_premium", FEBRUARY, premium))
    return corrections([period], {"inv_1": now})[0]


@pytest.mark.parametrize(
    ("balance", "notes"),
    [
        (PAID, [("REFUND", "41.30", ["41.30"])]),
        (
            InvoiceBalance(Decimal(50), paid=Decimal(20)),
            [("ADJUSTMENT", "30", ["30.00"]), ("REFUND", "11.30", ["11.30"])],
        ),
        (InvoiceBalance(Decimal(20)), []),
    ],
)
def test_one_line(balance: InvoiceBalance, notes: list[tuple[str, str, list[str]]]) -> None:
    assert told(corrected(closed("80", tax()), "10"), balance) == notes


def test_a_charge_that_rose_lowers_the_note() -> None:
    """Talk: 35 less, with its tax of 7.38 in 41, 41.30. Premium calls: 4.75 more, with 2.57 in 14.25, 5.607."""
    made = both("10", "160")
    assert told(made, PAID) == [("REFUND", "35.69", ["41.30", "-5.61"])]
    assert told(both("10", "120"), PAID) == [("REFUND", "41.30", ["41.30"])]


@given(st.decimals(0, 70, places=2), st.decimals(0, 70, places=2), st.sampled_from(["10", "33", "79"]))
def test_lines_add_up_to_notes_and_notes_to_what_is_owed(left: Decimal, paid: Decimal, talk: str) -> None:
    made = both(talk, "160")
    balance = InvoiceBalance(total((left, paid)), paid=paid)
    notes = late_notes(made, balance)
    whole = late_notes(made, PAID)
    for note in notes:
        assert total(amount for _, amount in note.lines) == note.amount
    if notes:
        assert total(note.amount for note in notes) == whole[0].amount
    else:
        assert not whole or whole[0].amount > balance.total


def test_by_notes_only_where_they_may() -> None:
    made = corrected(closed("80", tax()), "10")
    assert in_its_way(NOTES, made, PAID) == replace(made, by_credit_note=True)
    assert in_its_way(NOTES, made, None) == made
    assert in_its_way(NOTES, made, InvoiceBalance(Decimal(1))) == made
    assert in_its_way(LateUsageSettings(), made, PAID) == made
