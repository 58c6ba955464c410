"""Terms of a subscription: what makes no sense is refused with its field, up to the last value that does."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from billing.errors import Invalid
from billing.periods import BillingPeriod, Cadence
from billing.terms import LineItem, is_taken, line_quantity

from .builders import seat, talk, terms, utc

TERMS = terms(seat(), talk(), start="2025-02-01")
LINE = TERMS.lines[0]
EARLY = utc("1901-01-01")
YEARS = "must lie between the years 1970 and 9990; got 1901"
LATER = LineItem("later", seat(), Decimal(1), utc("2025-02-10"))


@pytest.mark.parametrize(
    ("make", "field", "message"),
    [
        (lambda: replace(LINE, start=EARLY), "start_date", f"start_date {YEARS}"),
        (lambda: replace(LINE, end=EARLY), "end_date", f"end_date {YEARS}"),
        (lambda: replace(LINE, trial_end=EARLY), "trial_end", f"trial_end {YEARS}"),
        (lambda: replace(LINE, quantity=Decimal("-0.5")), "quantity", "quantity must be 0 or more; got -0.5"),
        (
            lambda: replace(LINE, end=utc("2025-01-31T23:59:59")),
            "end_date",
            "a line's end_date must not be before its start_date",
        ),
        (lambda: replace(TERMS, anchor=EARLY), "billing_anchor", f"billing_anchor {YEARS}"),
        (lambda: replace(TERMS, start=EARLY), "start_date", f"start_date {YEARS}"),
        (lambda: replace(TERMS, end_date=EARLY), "end_date", f"end_date {YEARS}"),
        (lambda: replace(TERMS, trial_end=EARLY), "trial_end", f"trial_end {YEARS}"),
        (
            lambda: replace(TERMS, cadence=Cadence(BillingPeriod.ONETIME)),
            "billing_period",
            "billing_period of a subscription must recur; ONETIME is for prices",
        ),
        (lambda: replace(TERMS, end_date=TERMS.start), "end_date", "end_date must be after start_date"),
        (lambda: replace(TERMS, trial_end=TERMS.start), "trial_end", "trial_end must be after start_date"),
        (
            lambda: replace(TERMS, currency="eur"),
            "currency",
            "price price_seat is in usd, the subscription in eur",
        ),
        (
            lambda: replace(TERMS, trial_end=utc("2025-02-02")),
            "start_date",
            "line line_0 must not start before the subscription's first period",
        ),
        (
            lambda: replace(TERMS, lines=(LATER, replace(LATER, start=utc("2025-01-31T23:00")))),
            "start_date",
            "line later must not start before the subscription's first period",
        ),
        (
            lambda: replace(TERMS, auto_invoice_threshold=Decimal(0)),
            "auto_invoice_threshold",
            "auto_invoice_threshold must be above 0, with no more digits than usd has; got 0",
        ),
        (
            lambda: replace(TERMS, auto_invoice_threshold=Decimal("0.001")),
            "auto_invoice_threshold",
            "auto_invoice_threshold must be above 0, with no more digits than usd has; got 0.001",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], field: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        make()
    assert (refused.value.field, refused.value.message) == (field, message)


@pytest.mark.parametrize(
    "make",
    [
        lambda: replace(LINE, quantity=Decimal(0)),
        lambda: replace(LINE, end=LINE.start),  # it was to begin later and never did
        lambda: replace(TERMS, auto_invoice_threshold=Decimal("0.01")),
        lambda: replace(TERMS, end_date=utc("2025-02-01T00:00:01")),
        lambda: replace(TERMS, trial_end=LATER.start, lines=(LATER,)),
    ],
)
def test_the_last_values_that_make_sense(make: Callable[[], object]) -> None:
    assert make()


def test_a_plans_prices_of_the_same_length_and_those_that_are_due_once_are_taken() -> None:
    quarterly, three_months = Cadence(BillingPeriod.QUARTERLY), Cadence(BillingPeriod.MONTHLY, 3)
    assert is_taken(seat(), Cadence(BillingPeriod.MONTHLY))
    assert not is_taken(seat(), quarterly)
    assert is_taken(replace(seat(), cadence=quarterly), three_months)
    assert is_taken(replace(seat(), cadence=Cadence(BillingPeriod.ONETIME)), quarterly)


def test_a_line_has_the_given_quantity_else_the_least_else_one() -> None:
    least = replace(seat(), min_quantity=Decimal(3))
    assert line_quantity(least, {}) == 3
    assert line_quantity(least, {least.id: Decimal(7)}) == 7
    assert line_quantity(seat(), {}) == 1
    assert line_quantity(talk(), {talk().id: Decimal(7)}) == 0
