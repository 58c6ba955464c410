"""Allowances at their bounds: two windows only, a shorter reset than the period, a meter without one beside another."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from billing.allowances import FreePart, LineUsage, allowance_cuts, allowances_for, draw_free
from billing.entitlements import (
    Allowance,
    EffectiveEntitlement,
    Entitlement,
    FeatureType,
    UsageResetPeriod,
    effective_entitlements,
    scaled,
)
from billing.errors import InvariantBroken
from billing.meters import AggregationType, Meter, UsagePart
from billing.periods import BillingCycle, BillingPeriod, Cadence
from billing.terms import Terms

from .builders import package, span, talk, terms, usage_due

USED = span("2025-01-31", "2025-02-28")
METER = Meter("meter_talk", "talk", "call", AggregationType.SUM, "n")
OTHER = UsagePart(USED, Fraction(7))
TALK = UsagePart(USED, Fraction(5))


def entitled(made: Terms, limit: str, reset: UsageResetPeriod = UsageResetPeriod.BILLING_PERIOD) -> Terms:
    own = EffectiveEntitlement("talk", FeatureType.metered, True, "meter_talk", Decimal(limit), reset)
    return replace(made, entitlements=(own,))


def test_an_add_on_taken_three_times_gives_its_limit_three_times() -> None:
    one = Entitlement("e", "talk", FeatureType.metered, "meter_talk", Decimal(100))
    unlimited = replace(one, usage_limit=None)
    assert scaled(one, 3) == replace(one, usage_limit=Decimal(300))
    assert scaled(unlimited, 3) == unlimited
    (own,) = effective_entitlements((scaled(one, 3), one))
    assert own == EffectiveEntitlement("talk", FeatureType.metered, True, "meter_talk", Decimal(400))


def test_usage_over_two_windows_is_read_in_two() -> None:
    weekly = entitled(terms(talk()), "5", UsageResetPeriod.WEEKLY)
    assert allowance_cuts(weekly, METER, span("2025-01-31", "2025-02-05")) == (
        span("2025-01-31", "2025-02-03"),
        span("2025-02-03", "2025-02-05"),
    )


def test_a_window_shorter_than_the_period_shrinks_by_its_own_length() -> None:
    """A quarter that starts on 15 February: 14 of the month's 28 days are left, whatever the quarter has."""
    quarterly = terms(talk(), start="2025-02-15", cadence=Cadence(BillingPeriod.QUARTERLY), cycle=BillingCycle.calendar)
    made = entitled(quarterly, "100", UsageResetPeriod.MONTHLY)
    due = usage_due(talk(), span("2025-02-15", "2025-04-01"))
    assert [(one.window, one.limit) for one in allowances_for(made, (due,))] == [
        (span("2025-02-15", "2025-03-01"), Fraction(50)),
        (span("2025-03-01", "2025-04-01"), Fraction(100)),
    ]


def test_a_meter_without_an_allowance_pays_all_and_does_not_hide_the_next() -> None:
    made = entitled(terms(talk()), "100")
    found = allowances_for(made, (usage_due(package()), usage_due(talk())))
    assert found == (Allowance("meter_talk", USED, Fraction(100)),)
    other, talked = draw_free([LineUsage("meter_premium", (OTHER,)), LineUsage("meter_talk", (TALK,))], found)
    assert other == (FreePart(OTHER, Fraction(0)),)
    assert talked == (FreePart(TALK, Fraction(5), USED, Fraction(100)),)


def test_usage_that_reaches_beyond_its_window_is_named() -> None:
    narrow = Allowance("meter_talk", span("2025-01-31", "2025-02-07"), Fraction(20))
    with pytest.raises(InvariantBroken) as broken:
        draw_free([LineUsage("meter_talk", (TALK,))], [narrow])
    dates = "2025-01-31T00:00:00+00:00 to 2025-02-28T00:00:00+00:00"
    assert broken.value.message == f"no allowance of meter meter_talk covers the whole of {dates}"
