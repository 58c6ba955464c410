"""Trials, pauses and resumptions, worked by hand."""

from dataclasses import replace
from fractions import Fraction

import pytest

from billing.errors import Conflict, Invalid
from billing.periods import BillingCycle, BillingPeriod, Cadence, add_local_days
from billing.prices import InvoiceCadence
from billing.subscription_changes import (
    pause,
    resume,
)
from billing.subscriptions import (
    CancellationType,
    SubscriptionStatus,
    cancel,
    clear_past_due,
    close_period,
    mark_past_due,
    open_subscription,
)
from billing.terms import BillingReason, ProrationBehavior

from .builders import seat, span, talk, terms, utc
from .story import on_trial, shown, story

NONE = ProrationBehavior.none
ARREAR = InvoiceCadence.ARREAR


# Trials.


def test_a_trial_costs_nothing_and_the_first_period_starts_at_its_end() -> None:
    trial = on_trial(terms(seat(), talk(), start="2025-01-20", zone="Europe/Berlin"), "2025-02-03")
    told = story(trial)
    assert (told.state.status, told.state.current_period) == (
        SubscriptionStatus.trialing, span("2025-01-20", "2025-02-03"),
    )  # fmt: skip
    assert told.invoices == []
    step = close_period(told.terms, told.state)
    assert step.invoice is not None
    assert (step.invoice.reason, step.invoice.period) == (
        BillingReason.SUBSCRIPTION_TRIAL_END, span("2025-02-03", "2025-03-03"),
    )  # fmt: skip
    assert shown(told.close()) == [("fixed", "line_0", "02-03 03-03", "62.50")]
    assert told.state.status is SubscriptionStatus.active
    # the first usage line is that of the first real period
    closed = told.close()
    assert shown(closed)[1] == ("usage", "line_1", "02-03 03-03", "0.00")


def test_a_trial_without_anything_in_advance_makes_no_invoice() -> None:
    told = story(on_trial(terms(talk(), start="2025-01-20"), "2025-02-03"))
    assert told.close() is None
    assert told.state.status is SubscriptionStatus.active


def test_a_trial_can_be_cancelled_and_end_the_subscription() -> None:
    trial = on_trial(terms(seat(), talk(), start="2025-01-20"), "2025-02-03")
    state = open_subscription(trial).state
    gone = cancel(trial, state, utc("2025-01-25"), CancellationType.immediate)
    assert gone.invoice is not None
    assert gone.invoice.lines == ()
    asked = cancel(trial, state, utc("2025-01-25"), CancellationType.end_of_period).state
    ended = close_period(trial, asked)
    assert ended.state.status is SubscriptionStatus.cancelled
    assert ended.invoice is not None
    assert ended.invoice.lines == ()
    short = replace(trial, end_date=utc("2025-01-30"))
    assert open_subscription(short).state.current_period == span("2025-01-20", "2025-01-30")
    assert mark_past_due(state) == state


def test_trial_days_are_local_calendar_days() -> None:
    # 14 days from 20 March 10:00 in Berlin: 3 April 10:00, an hour of clock change later
    assert add_local_days(utc("2025-03-20T09:00"), "Europe/Berlin", 14) == utc("2025-04-03T08:00")


@pytest.mark.parametrize("until", ["2025-01-31", "2025-01-30"])
def test_a_trial_must_end_after_the_start(until: str) -> None:
    with pytest.raises(Invalid, match="trial_end"):
        on_trial(terms(seat()), until)


def test_no_line_starts_inside_the_trial() -> None:
    with pytest.raises(Invalid, match="first period"):
        replace(terms(seat()), trial_end=utc("2025-02-10"))


# Pause and resume.


def test_pause_closes_and_resume_starts_a_new_period() -> None:
    told = story(terms(seat("28"), talk(), seat("5", Cadence(BillingPeriod.ONETIME)), start="2025-02-01", quantity="1"))
    invoice = told.change(pause(told.terms, told.state, utc("2025-02-15"), told.beyond("2025-02-15")))
    assert shown(invoice) == [
        ("usage", "line_1", "02-01 02-15", "0.00"),
        ("proration_credit", "line_0", "02-15 03-01", "-14.00"),
        ("adjustment", "", "02-28 02-28", "14.00"),
    ]
    assert (told.state.status, told.state.next_boundary) == (SubscriptionStatus.paused, None)
    assert clear_past_due(told.state) == told.state
    with pytest.raises(Conflict, match="is paused"):
        told.close()
    with pytest.raises(Conflict, match="is paused"):
        pause(told.terms, told.state, utc("2025-02-16"))
    resumed = resume(told.terms, told.state, utc("2025-02-20"), {"line_0": "b", "line_1": "c"})
    assert shown(told.change(resumed)) == [("fixed", "b", "02-20 03-20", "28.00")]
    assert (told.state.status, told.state.current_period) == (
        SubscriptionStatus.active, span("2025-02-20", "2025-03-20"),
    )  # fmt: skip
    # nothing of the pause is ever billed
    assert shown(told.close()) == [("fixed", "b", "03-20 04-20", "28.00"), ("usage", "c", "02-20 03-20", "0.00")]


def test_resume_of_a_calendar_subscription_and_without_prorations() -> None:
    made = terms(seat("31"), start="2025-01-01", cycle=BillingCycle.calendar, quantity="1")
    paused = pause(made, open_subscription(made).state, utc("2025-01-10"), proration=NONE)
    assert paused.invoice is not None
    assert paused.invoice.lines == ()
    resumed = resume(paused.terms, paused.state, utc("2025-01-17"), {"line_0": "b"})
    assert resumed.state.current_period == span("2025-01-17", "2025-02-01")
    assert resumed.invoice is not None
    assert resumed.invoice.lines[0].share == Fraction(15, 31)
    quiet = terms(talk(), start="2025-01-01")
    stopped = pause(quiet, open_subscription(quiet).state, utc("2025-01-10"))
    assert resume(stopped.terms, stopped.state, utc("2025-01-17"), {"line_0": "b"}).invoice is None
