"""Proration by local days: shares are counted in midnights of the zone, the day of change is the new terms'."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.due_lines import share_of
from billing.explain import explain_line
from billing.invoices import billed_line, build_invoice
from billing.money import ZERO
from billing.periods import BillingCycle, Period, local_days
from billing.subscription_changes import change_lines, with_quantity
from billing.subscriptions import open_subscription
from billing.terms import DueInvoice, ProrationUnit, Terms

from .builders import inputs, seat, span, terms, utc


def by_days(made: Terms) -> Terms:
    return replace(made, proration_unit=ProrationUnit.day)


@pytest.mark.parametrize(
    ("over", "zone", "days"),
    [
        (span("2025-02-01", "2025-03-01"), "UTC", 28),
        (span("2025-02-01T23:59", "2025-02-02T00:01"), "UTC", 1),
        (span("2025-02-01T00:01", "2025-02-01T23:59"), "UTC", 0),
        # 31 January 19:00 UTC is 1 February in Kolkata
        (span("2025-01-31T19:00", "2025-02-02T17:00"), "Asia/Kolkata", 1),
        # the last Sunday of March has 23 hours in Berlin, and is a day
        (span("2025-03-29T23:00", "2025-03-30T22:00"), "Europe/Berlin", 1),
    ],
)
def test_local_days(over: Period, zone: str, days: int) -> None:
    assert local_days(over, zone) == days


def test_a_calendar_start_costs_its_days() -> None:
    # 14 February 18:00 to 1 March: 15 of 28 days, whatever the hour
    made = by_days(terms(seat("28"), start="2025-02-14T18:00", cycle=BillingCycle.calendar, quantity="1"))
    opening = open_subscription(made).invoice
    assert opening is not None
    assert opening.lines[0].share == Fraction(15, 28)
    (line,) = build_invoice(inputs(*opening.lines)).lines
    assert str(line.amount) == "15.00"
    share = "share of the whole period 2025-02-01 to 2025-03-01: 15 of 28 days = 15/28 = 0.535714285714..."
    assert share in explain_line(line)


def amounts(invoice: DueInvoice | None) -> list[str]:
    assert invoice is not None
    return [str(line.amount) for line in build_invoice(inputs(*invoice.lines)).lines]


@pytest.mark.parametrize("hour", ["00:00", "13:37", "23:59"])
def test_the_day_of_change_belongs_to_the_new_terms(hour: str) -> None:
    made = by_days(terms(seat("28"), start="2025-02-01", quantity="1"))
    opening = open_subscription(made)
    assert opening.invoice is not None
    (line,) = build_invoice(inputs(*opening.invoice.lines)).lines
    billed = (billed_line("inv", "li", line, ZERO),)
    at = utc(f"2025-02-08T{hour}")
    new = with_quantity(made.lines[0], "b", Decimal(2), at)
    changed = change_lines(made, opening.state, at, ["line_0"], [new], billed)
    assert amounts(changed.invoice) == ["-21.00", "42.00"]  # 21 of 28 days are left, the 8th among them
    assert changed.invoice is not None
    credit = build_invoice(inputs(*changed.invoice.lines)).lines[0]
    words = "21 of 28 days" if hour != "00:00" else "1814400 of 2419200 seconds"
    assert any(words in text for text in explain_line(credit))


def test_a_change_on_the_last_day_leaves_that_day_and_none_within_one_day() -> None:
    made = by_days(terms(seat("28"), start="2025-02-01", quantity="1"))
    assert share_of(made, span("2025-02-28T23:00", "2025-03-01"), span("2025-02-01", "2025-03-01")) == Fraction(1, 28)
    assert (
        share_of(made, span("2025-02-28T22:00", "2025-02-28T23:00"), span("2025-02-28T21:00", "2025-02-28T23:00")) == 0
    )


@given(st.integers(0, 28 * 1440), st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York", "Pacific/Apia"]))
def test_the_two_sides_of_a_change_are_the_whole(minute: int, zone: str) -> None:
    made = by_days(terms(seat(), start="2025-02-01", zone=zone))
    whole = span("2025-02-01", "2025-03-01")
    at = Period(whole.start, whole.end).start + (whole.end - whole.start) * minute / (28 * 1440)
    sides = share_of(made, Period(whole.start, at), whole) + share_of(made, Period(at, whole.end), whole)
    assert sides == 1
