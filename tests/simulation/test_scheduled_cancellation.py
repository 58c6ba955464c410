"""A cancellation at a date: which dates are taken, and where the current period ends then."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.errors import Conflict, Invalid
from billing.periods import BillingPeriod, Cadence, Period
from billing.prices import BillingModel, InvoiceCadence, Price, PriceType
from billing.scheduled_cancellation import schedule_cancellation
from billing.subscriptions import SubscriptionState, SubscriptionStatus
from billing.terms import LineItem, ProrationBehavior, Terms


def day(month: int, number: int) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


MONTHLY = Cadence(BillingPeriod.MONTHLY)
SEAT = Price("seat", "Seat", PriceType.FIXED, BillingModel.FLAT_FEE, "usd", MONTHLY, InvoiceCadence.ADVANCE, Decimal(9))
TERMS = Terms(
    "s", "usd", "UTC", MONTHLY, day(1, 1), day(1, 1), (LineItem("l", SEAT, Decimal(1), day(1, 1)),), end_date=day(6, 1)
)
STATE = SubscriptionState(SubscriptionStatus.active, Period(day(2, 1), day(3, 1)))


def test_a_date_in_the_current_period_ends_it_there_and_a_later_one_restores_it() -> None:
    soon = schedule_cancellation(TERMS, STATE, day(2, 5), day(2, 10), ProrationBehavior.none)
    assert soon.current_period == Period(day(2, 1), day(2, 10))
    assert (soon.cancel_at, soon.cancel_proration) == (day(2, 10), ProrationBehavior.none)
    later = schedule_cancellation(TERMS, soon, day(2, 6), day(4, 10))
    assert later.current_period == Period(day(2, 1), day(3, 1))
    assert (later.cancel_at, later.cancel_proration) == (day(4, 10), None)


@pytest.mark.parametrize("at", [day(2, 5), day(2, 4), day(6, 2)])
def test_dates_that_are_refused(at: datetime) -> None:
    with pytest.raises(Invalid) as refusal:
        schedule_cancellation(TERMS, STATE, day(2, 5), at)
    assert refusal.value.field == "cancel_at"


@pytest.mark.parametrize("status", [SubscriptionStatus.cancelled, SubscriptionStatus.paused])
def test_states_that_refuse(status: SubscriptionStatus) -> None:
    with pytest.raises(Conflict, match=status):
        schedule_cancellation(TERMS, SubscriptionState(status, STATE.current_period), day(2, 5), day(2, 10))


def test_a_date_ends_a_trial_too_and_a_later_one_leaves_its_end() -> None:
    """A trial from 1 to 15 January: after it the first period would start."""
    on_trial = replace(TERMS, lines=(), trial_end=day(1, 15))
    trial = SubscriptionState(SubscriptionStatus.trialing, Period(day(1, 1), day(1, 15)))
    for at, end in ((day(1, 10), day(1, 10)), (day(2, 20), day(1, 15))):
        assert schedule_cancellation(on_trial, trial, day(1, 5), at).current_period == Period(day(1, 1), end)
    # once it is over, the first billing period is cut by the date alone
    after = SubscriptionState(SubscriptionStatus.active, Period(day(1, 15), day(2, 1)))
    cut = schedule_cancellation(on_trial, after, day(1, 16), day(1, 20))
    assert cut.current_period == Period(day(1, 15), day(1, 20))
