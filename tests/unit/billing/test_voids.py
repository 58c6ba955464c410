"""Voids: what the customer gets back of an invoice, and when there is nothing to give."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from billing.errors import Conflict
from billing.invoices import build_final_invoice
from billing.usage_charges import share_of_charge
from billing.voids import credits_given, given_back

from .builders import credit_due, fixed_due, inputs, seat

# 60 for seats, of which 28 at 18 % on top are given back: 14 days of 28
INVOICE = build_final_invoice(
    replace(inputs(fixed_due(seat("60"), "1"), credit_due("56", Fraction(1, 2), exclusive_tax="10.08")))
)


def test_what_a_credit_line_gave_is_its_amount_and_the_tax_that_this_was_billed_with() -> None:
    (given,) = credits_given(INVOICE)
    assert (given.line.amount, given.exclusive_tax, given.amount) == (
        Decimal("-28.00"),
        Decimal("5.04"),
        Decimal("33.04"),
    )


def test_what_other_invoices_credited_is_not_given_twice() -> None:
    given = credits_given(INVOICE)
    # 40 were paid; of the 33.04 that it credited 3.04 went to the customer, and its charges used up 30
    assert given_back(Decimal(40), given, Decimal("3.04"), (), "FINALIZED") == 70
    assert given_back(Decimal("33.04"), (), Decimal(0), given, "FINALIZED") == 0
    with pytest.raises(Conflict) as refused:
        given_back(Decimal("33.03"), (), Decimal(0), given, "FINALIZED")
    assert refused.value.state == "FINALIZED"
    assert refused.value.message == (
        "void is not possible: 33.04 of the invoice were credited already, and 0.01 of that were never paid; issue a"
        " credit note (ADJUSTMENT) for what is left to pay instead"
    )


def test_of_nothing_that_was_charged_there_is_no_tax() -> None:
    assert share_of_charge(Decimal(18), Decimal(100)) == Fraction(18, 100)
    assert share_of_charge(Decimal(0), Decimal(0)) == 0
