"""Threshold invoices: when unbilled usage is looked at, and what such an invoice can bill."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from billing.commitments import Commitment, CommitmentType
from billing.periods import BillingPeriod
from billing.prices import InvoiceCadence
from billing.subscriptions import SubscriptionStatus, open_subscription
from billing.terms import BillingReason, LineItem
from billing.thresholds import checked_after, commitments_met, is_checked, threshold_invoice

from .builders import seat, span, talk, terms, utc

ARREARS = replace(seat("28", invoice_cadence=InvoiceCadence.ARREAR), id="arrears")
FEBRUARY = terms(talk(), ARREARS, start="2025-02-01", quantity="1")
STATE = open_subscription(FEBRUARY).state


@pytest.mark.parametrize(
    ("at", "checked"),
    [
        ("2025-02-10T10:00", "2025-02-10T11:00"),  # what is received at a full hour is known at the next
        ("2025-02-10T10:15:42", "2025-02-10T11:00"),
        ("2025-02-10T23:59:59", "2025-02-11"),
    ],
)
def test_usage_is_looked_at_at_the_next_full_hour(at: str, checked: str) -> None:
    assert checked_after(utc(at)) == utc(checked)
    assert checked_after(utc(at) + timedelta(microseconds=1)) == utc(checked)


@pytest.mark.parametrize(
    ("status", "at", "checked"),
    [
        (SubscriptionStatus.active, "2025-02-01", False),  # nothing of the period has passed
        (SubscriptionStatus.active, "2025-02-01T01:00", True),
        (SubscriptionStatus.past_due, "2025-02-28T23:00", True),
        (SubscriptionStatus.active, "2025-03-01", False),  # its close bills it
        (SubscriptionStatus.active, "2025-03-02", False),
        (SubscriptionStatus.trialing, "2025-02-10", False),
        (SubscriptionStatus.paused, "2025-02-10", False),
        (SubscriptionStatus.cancelled, "2025-02-10", False),
    ],
)
def test_only_a_running_period_is_looked_at(status: SubscriptionStatus, at: str, checked: bool) -> None:
    assert is_checked(replace(STATE, status=status), utc(at)) is checked


def test_such_an_invoice_has_the_usage_lines_that_the_period_will_close_with() -> None:
    at = utc("2025-02-10")
    added = LineItem("new", talk(), Decimal(1), at)
    earlier = LineItem("old", talk(), Decimal(1), utc("2025-02-09"))
    made = replace(FEBRUARY, lines=(*FEBRUARY.lines, added, earlier))
    due = threshold_invoice(made, STATE, at)
    assert (due.reason, due.at, due.period) == (
        BillingReason.AUTO_INVOICE_THRESHOLD, at, span("2025-02-01", "2025-02-10"),
    )  # fmt: skip
    assert [(line.line_item_id, line.period) for line in due.lines] == [
        ("line_0", span("2025-02-01", "2025-03-01")),
        ("old", span("2025-02-09", "2025-03-01")),
    ]


def test_a_period_that_a_known_end_cuts_closes_there() -> None:
    ending = replace(FEBRUARY, end_date=utc("2025-02-15"))
    state = open_subscription(ending).state
    (line,) = threshold_invoice(ending, state, utc("2025-02-10")).lines
    assert line.period == span("2025-02-01", "2025-02-15")
    cancelled = replace(state, cancel_at=utc("2025-02-15"))
    assert threshold_invoice(FEBRUARY, cancelled, utc("2025-02-10")).lines == (line,)


def test_commitments_are_those_of_the_whole_period_or_of_what_is_left_of_it() -> None:
    """100 for the billing period, of which the end leaves 14 of 28 days; 100 for a quarter of 89 days."""
    end = utc("2025-02-15")
    monthly = Commitment(CommitmentType.amount, Decimal(100))
    quarterly = replace(monthly, duration=BillingPeriod.QUARTERLY)
    for promised, whole, cut in (
        (monthly, span("2025-02-01", "2025-03-01"), Fraction(14, 28)),
        (quarterly, span("2025-02-01", "2025-05-01"), Fraction(14, 89)),
    ):
        made = replace(FEBRUARY, commitments=(promised,))
        (one,) = commitments_met(made, threshold_invoice(made, STATE, utc("2025-02-10")))
        assert (one.period, one.share) == (whole, Fraction(1))
        ending = replace(made, end_date=end)
        due = threshold_invoice(ending, open_subscription(ending).state, utc("2025-02-10"))
        (one,) = commitments_met(ending, due, end)
        assert (one.period.start, one.share) == (whole.start, cut)
