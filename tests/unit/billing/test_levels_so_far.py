"""Meters that belong to a period as a whole: which they are, and what a level is worth before its period is over."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from billing.errors import Invalid
from billing.meters import AggregationType, Meter, ResetUsage, UsagePart, UsageQuantity, share_so_far
from billing.periods import Period
from billing.usage_aggregation import UsageEvent, measure_buckets, measure_parts, measure_until
from billing.windows import WindowSize, window_at

from .builders import utc

APRIL = Period(datetime(2025, 4, 1, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC))
TEN_DAYS = Period(APRIL.start, datetime(2025, 4, 11, tzinfo=UTC))


def test_a_level_and_what_never_resets_cannot_be_told_day_by_day() -> None:
    calls = Meter("m", "calls", "call", AggregationType.SUM, "n")
    seats = Meter("m", "seats", "seat", AggregationType.WEIGHTED_SUM, "n")
    stored = Meter("m", "stored", "file", AggregationType.SUM, "n", reset_usage=ResetUsage.NEVER)
    assert [meter.is_cumulative for meter in (calls, seats, stored)] == [False, True, True]


def test_a_level_counts_for_the_time_that_has_passed() -> None:
    # 10 seats for 10 of 30 days are worth 10/3 of the whole month, exactly
    so_far = share_so_far(UsageQuantity(Decimal(10), 1), TEN_DAYS, APRIL)
    assert (so_far.value, so_far.quantity) == (Fraction(10, 3), Decimal("3.333333333333"))
    # 9 seats are worth 3, which needs no fraction beside it
    assert share_so_far(UsageQuantity(Decimal(9), 1), TEN_DAYS, APRIL).exact is None
    assert share_so_far(UsageQuantity(Decimal(10), 1), APRIL, APRIL).quantity == 10


@pytest.mark.parametrize("counts", [(-1, 0), (0, -1)])
def test_counts_of_events_are_never_below_0(counts: tuple[int, int]) -> None:
    with pytest.raises(Invalid, match=f"got quantity 1 of {counts[0]} events, {counts[1]} of them rejected"):
        UsageQuantity(Decimal(1), *counts)


def seats(*changes: tuple[str, str]) -> list[UsageEvent]:
    return [UsageEvent(f"e{place}", "seat", utc(at), {"n": n}) for place, (at, n) in enumerate(changes)]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2025-03-31", UsageQuantity(Decimal(0), 0)),
        ("2025-04-01", UsageQuantity(Decimal(0), 0)),  # nothing of the month has passed
        # 6 seats for 10 of 30 days, and 3 more for 5 of them: 2 + 0.5
        ("2025-04-11", UsageQuantity(Decimal("2.5"), 2)),
        # 6 and 3 x 25 / 30, and 30 in the last day
        ("2025-05-01", UsageQuantity(Decimal("9.5"), 3)),
        ("2025-06-01", UsageQuantity(Decimal("9.5"), 3)),
    ],
)
def test_what_a_level_is_worth_until_an_instant(at: str, expected: UsageQuantity) -> None:
    meter = Meter("m", "seats", "seat", AggregationType.WEIGHTED_SUM, "n")
    events = seats(("2025-04-01", "6"), ("2025-04-06", "3"), ("2025-04-30", "30"))
    instant = utc(at)
    assert measure_until(meter, events, APRIL, instant) == expected
    (part,) = measure_parts(meter, events, [APRIL], instant)
    assert (part.period, part.quantity) == (APRIL, expected.value)


def test_buckets_of_a_month_are_those_of_the_anchor() -> None:
    """Billing months from the 16th: what comes on the 15th and on the 16th is priced apart."""
    meter = Meter("m", "seats", "seat", AggregationType.MAX, "n", bucket_size=WindowSize.MONTH)
    anchor = datetime(2025, 1, 16, tzinfo=UTC)
    whole, parts = measure_buckets(meter, seats(("2025-04-15", "6"), ("2025-04-16", "3")), APRIL, "UTC", anchor)
    middle = datetime(2025, 4, 16, tzinfo=UTC)
    assert parts == (
        UsagePart(Period(APRIL.start, middle), Fraction(6), None),
        UsagePart(Period(middle, APRIL.end), Fraction(3), None),
    )
    assert whole == UsageQuantity(Decimal(9), 2)


def test_instants_count_in_whole_milliseconds() -> None:
    at = datetime(2025, 4, 1, microsecond=1_000, tzinfo=UTC)
    event = UsageEvent("e", "seat", at, {}, at.replace(microsecond=999_999))
    assert (event.at.microsecond, event.accepted_at.microsecond) == (1_000, 999_000)


@pytest.mark.parametrize("size", WindowSize)
def test_a_window_starts_on_a_whole_minute(size: WindowSize) -> None:
    at = datetime(2025, 4, 1, 13, 37, 42, 999_999, UTC)
    window = window_at(size, "Asia/Kolkata", datetime(2025, 1, 16, tzinfo=UTC), at)
    assert (window.start.second, window.start.microsecond) == (0, 0)
    assert window.contains(at)
