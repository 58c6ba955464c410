"""Single lines explained: a credit that comes second, and lines that do not say what they follow from."""

from fractions import Fraction

import pytest
from msgspec import structs

from billing.errors import InvariantBroken
from billing.explain import explain_line
from billing.invoices import build_invoice
from billing.terms import LineKind

from .builders import credit_due, fixed_due, inputs, seat


def test_a_credit_takes_at_most_what_earlier_ones_have_left() -> None:
    # 14 of 28 days of 62.50 are 31.25; 40 were credited before, so 22.50 is left
    line = build_invoice(inputs(credit_due("62.50", Fraction(1, 2), credited="40"))).lines[0]
    text = explain_line(line)
    assert str(line.amount) == "-22.50"
    assert "40.00 usd was credited before, so 22.5 is left to credit" in text
    assert text[-1] == "rounded once, half away from zero, to 2 digits: -22.5 -> -22.50 usd"


@pytest.mark.parametrize(
    ("kind", "message"),
    [(LineKind.proration_credit, "what it credits"), (LineKind.true_up, "which commitment it trues up")],
)
def test_a_line_that_hides_its_reason_is_no_line(kind: LineKind, message: str) -> None:
    line = build_invoice(inputs(fixed_due(seat()))).lines[0]
    with pytest.raises(InvariantBroken, match=f"line line_0 does not say {message}"):
        explain_line(structs.replace(line, kind=kind))


def test_a_line_that_is_rated_has_a_price() -> None:
    line = build_invoice(inputs(fixed_due(seat()))).lines[0]
    with pytest.raises(InvariantBroken, match="must have a price"):
        explain_line(structs.replace(line, derivation=structs.replace(line.derivation, price=None)))
