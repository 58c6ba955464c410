"""Terms one after another: where usage is cut, whose allowances count when, and what was agreed at an instant."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from billing.entitlements import Allowance, AllowanceDraw, EffectiveEntitlement, FeatureType, UsageResetPeriod
from billing.meters import AggregationType, Meter
from billing.periods import Period
from billing.prices import Price
from billing.terms import DueLine, Terms
from billing.terms_history import TermsInForce, allowances_over, changed, metered, terms_before, usage_cuts
from billing.windows import WindowSize

from .builders import fixed_due, package, seat, span, talk, terms, usage_due, utc

METER = Meter("meter_talk", "talk", "call", AggregationType.SUM, "n")
FEBRUARY = span("2025-02-01", "2025-03-01")
EARLY, LATE = span("2025-02-01", "2025-02-15"), span("2025-02-15", "2025-03-01")
BARE = terms(talk(), start="2025-02-01")
MONTHLY, WEEKLY = UsageResetPeriod.BILLING_PERIOD, UsageResetPeriod.WEEKLY


def with_allowance(limit: str, reset: UsageResetPeriod = MONTHLY, enabled: bool = True) -> Terms:
    own = EffectiveEntitlement("talk", FeatureType.metered, enabled, "meter_talk", Decimal(limit), reset)
    return replace(BARE, entitlements=(own,))


def history(early: Terms, late: Terms) -> tuple[TermsInForce, ...]:
    return (TermsInForce(early, EARLY), TermsInForce(late, LATE))


HUNDRED, WEEKS = with_allowance("100"), with_allowance("5", WEEKLY)
WEEKS_OF_EARLY = (  # Mondays are the 3rd and the 10th
    span("2025-02-01", "2025-02-03"),
    span("2025-02-03", "2025-02-10"),
    span("2025-02-10", "2025-02-15"),
)


@pytest.mark.parametrize(
    ("early", "late", "period", "cuts"),
    [
        (HUNDRED, with_allowance("50"), FEBRUARY, (EARLY, LATE)),
        (HUNDRED, BARE, FEBRUARY, (EARLY, LATE)),  # one that grants nothing is read by itself too
        (BARE, HUNDRED, FEBRUARY, (EARLY, LATE)),
        (WEEKS, HUNDRED, FEBRUARY, (*WEEKS_OF_EARLY, LATE)),
        (BARE, BARE, FEBRUARY, ()),
        (with_allowance("5", enabled=False), BARE, FEBRUARY, ()),
        # the usage of a line that saw one of them only
        (HUNDRED, with_allowance("50"), EARLY, ()),
        (HUNDRED, with_allowance("50"), span("2025-02-20", "2025-03-01"), ()),
        (WEEKS, HUNDRED, EARLY, WEEKS_OF_EARLY),
    ],
)
def test_usage_is_read_in_the_windows_of_each_terms(
    early: Terms, late: Terms, period: Period, cuts: tuple[Period, ...]
) -> None:
    assert usage_cuts(history(early, late), METER, period) == cuts


def test_what_has_buckets_is_read_in_them() -> None:
    daily = replace(METER, bucket_size=WindowSize.DAY)
    assert usage_cuts(history(HUNDRED, with_allowance("50")), daily, FEBRUARY) == ()


def line(period: Period = FEBRUARY, price: Price | None = None) -> DueLine:
    return usage_due(price or talk(), period)


def test_terms_that_grant_nothing_have_a_limit_of_0_while_they_are_in_force() -> None:
    drawn = (AllowanceDraw("meter_talk", FEBRUARY, Fraction(30)),)
    lines = (line(EARLY), line(LATE), line(price=package()))
    granted = Allowance("meter_talk", FEBRUARY, Fraction(100), Fraction(30))
    assert allowances_over(history(HUNDRED, BARE), lines, iter(drawn)) == (
        replace(granted, in_force=EARLY),
        Allowance("meter_talk", LATE, Fraction(0)),
    )
    assert allowances_over(history(HUNDRED, with_allowance("20")), lines, iter(drawn)) == (
        replace(granted, in_force=EARLY),
        replace(granted, limit=Fraction(20), in_force=LATE),
    )
    assert allowances_over(history(BARE, BARE), lines) == ()
    # without a change there is no part of a period to speak of
    assert allowances_over((TermsInForce(HUNDRED, FEBRUARY),), lines, drawn) == (granted,)


def test_a_change_cuts_what_was_agreed_last_and_at_its_own_start_replaces_it() -> None:
    first, second = span("2025-02-01", "2025-04-01"), span("2025-02-15", "2025-04-01")
    before = (
        TermsInForce(BARE, span("2025-01-01", "2025-01-15")),
        TermsInForce(WEEKS, span("2025-01-15", "2025-02-01")),
    )
    told = (*before, TermsInForce(HUNDRED, first))
    assert changed(told, WEEKS, second) == (*before, TermsInForce(HUNDRED, EARLY), TermsInForce(WEEKS, second))
    assert changed(told, WEEKS, first) == (*before, TermsInForce(WEEKS, first))


@pytest.mark.parametrize(
    ("at", "agreed"),
    [("2025-02-01", HUNDRED), ("2025-02-10", HUNDRED), ("2025-02-15", HUNDRED), ("2025-02-16", WEEKS)],
)
def test_what_was_agreed_until_an_instant(at: str, agreed: Terms) -> None:
    assert terms_before(history(HUNDRED, WEEKS), utc(at)) == agreed


def test_each_meter_and_period_is_read_once() -> None:
    lines = (line(), fixed_due(seat()), line(price=package()), line(), line(EARLY))
    assert metered(lines) == (("meter_talk", FEBRUARY), ("meter_premium", FEBRUARY), ("meter_talk", EARLY))
