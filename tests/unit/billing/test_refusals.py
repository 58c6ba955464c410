"""Refusals: an error names what was wrong, in which field, and what would be right; a conflict the present state."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.errors import Conflict, Invalid
from billing.periods import (
    BillingCycle,
    BillingPeriod,
    Cadence,
    Period,
    boundary,
    calendar_anchor,
    check_utc,
    from_local,
)
from billing.prices import TierMode, rate
from billing.subscription_changes import change_billing_period, change_lines, pause, resume
from billing.subscriptions import billing_anchor, open_subscription

from .builders import MONTHLY, seat, snapshot, span, talk, tiered, utc
from .story import ANNUAL, FEBRUARY, item

Make = Callable[[], object]
RUNNING = open_subscription(FEBRUARY).state
PAUSED = pause(FEBRUARY, RUNNING, utc("2025-02-10"))
ENDING = replace(PAUSED.terms, end_date=utc("2025-02-15"))
ONCE = Cadence(BillingPeriod.ONETIME)
TRIAL = "trial_period_days must be from 0 to 3650, and only recurring FIXED prices have a trial"

REFUSED: list[tuple[Make, str, str]] = [
    # periods
    (
        lambda: Period(datetime(2025, 2, 1), utc("2025-03-01")),  # noqa: DTZ001 - the naive value is the point
        "start",
        "start must be an instant in UTC; got 2025-02-01T00:00:00",
    ),
    (
        lambda: Period(utc("2025-02-01"), datetime(1901, 1, 1, tzinfo=UTC)),
        "end",
        "end must lie between the years 1970 and 9990; got 1901",
    ),
    (
        lambda: span("2025-02-02", "2025-02-01"),
        "end",
        "a period must not end before it starts: 2025-02-02 00:00:00+00:00 to 2025-02-01 00:00:00+00:00",
    ),
    (lambda: Cadence(BillingPeriod.ONETIME, 2), "billing_period_count", "billing_period_count must be 1 for ONETIME"),
    (
        lambda: Cadence(BillingPeriod.DAILY, 1001),
        "billing_period_count",
        "billing_period_count must be between 1 and 1000; got 1001",
    ),
    (
        lambda: calendar_anchor(utc("2025-02-01"), "UTC", ONCE),
        "billing_period",
        "billing_period ONETIME has no period boundaries",
    ),
    (
        lambda: boundary(utc("2025-02-01"), "UTC", ANNUAL, 7966),  # 2025 + 7965 is the last year that there is
        "billing_period_count",
        "billing dates must not lie beyond the year 9990",
    ),
    # what was read
    (
        lambda: replace(snapshot("meter_talk", span("2025-02-01", "2025-03-01"), "5"), cutoff=utc("1901-01-01")),
        "cutoff",
        "cutoff must lie between the years 1970 and 9990; got 1901",
    ),
    # prices, beside those of test_prices
    (
        lambda: replace(seat(), maximum_amount=Decimal("-0.01")),
        "maximum_amount",
        "maximum_amount must be 0 or more; got -0.01",
    ),
    (lambda: replace(seat(cadence=ONCE), trial_period_days=1), "trial_period_days", TRIAL),
    (lambda: replace(talk(), trial_period_days=1), "trial_period_days", TRIAL),
    (lambda: replace(seat(), trial_period_days=-1), "trial_period_days", TRIAL),
    # subscriptions and their changes
    (
        lambda: billing_anchor(utc("2025-02-01"), "UTC", MONTHLY, BillingCycle.calendar, utc("2025-02-10")),
        "billing_anchor",
        "billing_anchor must be absent when billing_cycle is calendar",
    ),
    (
        lambda: billing_anchor(
            utc("2025-02-01"), "UTC", MONTHLY, BillingCycle.anniversary, datetime(1901, 1, 1, tzinfo=UTC)
        ),
        "billing_anchor",
        "billing_anchor must lie between the years 1970 and 9990; got 1901",
    ),
    (
        lambda: change_lines(FEBRUARY, RUNNING, utc("2025-02-08"), ["line_9"], []),
        "line_items",
        "line line_9 is not in force at 2025-02-08T00:00:00+00:00",
    ),
    (
        lambda: change_lines(PAUSED.terms, RUNNING, utc("2025-02-10"), ["line_0"], []),  # it ends at that instant
        "line_items",
        "line line_0 is not in force at 2025-02-10T00:00:00+00:00",
    ),
    (
        lambda: change_lines(FEBRUARY, RUNNING, utc("2025-02-08"), [], [item("b", seat(), "2025-02-07")]),
        "start_date",
        "line b must not start before 2025-02-08T00:00:00+00:00",
    ),
    (
        lambda: pause(FEBRUARY, RUNNING, utc("2025-03-01")),
        "at",
        "at must lie in the current period, 2025-02-01T00:00:00+00:00 to 2025-03-01T00:00:00+00:00",
    ),
    (
        lambda: resume(PAUSED.terms, PAUSED.state, utc("2025-02-09"), {}),
        "at",
        "resume must not be before the pause at 2025-02-10T00:00:00+00:00",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "field", "message"), REFUSED)
def test_a_refusal_names_the_field_and_what_would_be_right(make: Make, field: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        make()
    assert (refused.value.field, refused.value.message) == (field, message)


CONFLICTS: list[tuple[Make, str, str]] = [
    (
        lambda: change_billing_period(PAUSED.terms, PAUSED.state, utc("2025-02-08"), ANNUAL, []),
        "paused",
        "change is not possible: the subscription is paused",
    ),
    (
        lambda: resume(FEBRUARY, RUNNING, utc("2025-02-10"), {}),
        "active",
        "resume is not possible: the subscription is active",
    ),
    (
        lambda: resume(ENDING, PAUSED.state, utc("2025-02-15"), {"line_0": "b"}),
        "paused",
        "resume is not possible: the subscription ended at 2025-02-15T00:00:00+00:00",
    ),
]


@pytest.mark.parametrize(("make", "state", "message"), CONFLICTS)
def test_a_conflict_names_the_present_state(make: Make, state: str, message: str) -> None:
    with pytest.raises(Conflict) as refused:
        make()
    assert (refused.value.state, refused.value.message) == (state, message)


def test_the_last_years_that_there_are() -> None:
    for year in (1970, 9990):
        assert check_utc(datetime(year, 6, 1, tzinfo=UTC), "at").year == year
    assert boundary(utc("2025-02-01"), "UTC", ANNUAL, 7965).year == 9990
    assert boundary(utc("2025-02-01"), "UTC", MONTHLY, 7965 * 12 + 10) == datetime(9990, 12, 1, tzinfo=UTC)


def test_instants_are_in_utc_itself() -> None:
    instant = from_local(datetime(2025, 2, 1), "Asia/Kolkata")  # noqa: DTZ001 - a wall clock has no zone
    assert instant == utc("2025-02-01") - timedelta(hours=5, minutes=30)
    assert instant.tzinfo is UTC  # whatever the machine's own zone is


@pytest.mark.parametrize("least", ["0", "0.5", "1"])
def test_a_least_quantity_and_a_largest_amount_may_be_anything_from_0_on(least: str) -> None:
    price = replace(seat(min_quantity=least), maximum_amount=Decimal(least))
    assert (price.min_quantity, price.maximum_amount) == (Decimal(least), Decimal(least))


def test_a_tier_may_cost_nothing() -> None:
    assert rate(tiered(TierMode.SLAB, ("10", "0", "0"), (None, "1", "0")), 12).amount == 2
