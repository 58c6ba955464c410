"""Boundaries: month ends, leap years, daylight saving both ways, every zone, calendar anchors."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.errors import Invalid
from billing.periods import (
    BillingPeriod,
    Cadence,
    Period,
    boundary,
    calendar_anchor,
    check_utc,
    known_zones,
    next_boundary,
    nominal_period,
    previous_boundary,
    to_local,
    zone_info,
)

from .builders import MONTHLY, span, utc

ANNUAL = Cadence(BillingPeriod.ANNUAL)
DAILY = Cadence(BillingPeriod.DAILY)
RECURRING = [period for period in BillingPeriod if period is not BillingPeriod.ONETIME]
ZONES = [
    "UTC",
    "Asia/Kolkata",
    "America/New_York",
    "Europe/Paris",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Asia/Kathmandu",
]
INSTANTS = st.integers(788_918_400, 2_366_841_600).map(lambda second: datetime.fromtimestamp(second, UTC))  # 1995-2045


def days(anchor: str, cadence: Cadence, count: int, zone: str = "UTC") -> list[str]:
    return [to_local(boundary(utc(anchor), zone, cadence, k), zone).date().isoformat() for k in range(count)]


def test_month_ends_are_clamped_and_do_not_stick() -> None:
    assert days("2025-01-31", MONTHLY, 6) == [
        "2025-01-31", "2025-02-28", "2025-03-31", "2025-04-30", "2025-05-31", "2025-06-30",
    ]  # fmt: skip
    assert days("2024-01-30", MONTHLY, 3) == ["2024-01-30", "2024-02-29", "2024-03-30"]


def test_leap_day_anchor() -> None:
    assert days("2024-02-29", ANNUAL, 5) == ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]


@pytest.mark.parametrize(
    ("cadence", "expected"),
    [
        (Cadence(BillingPeriod.DAILY, 10), "2025-02-10"),
        (Cadence(BillingPeriod.WEEKLY, 2), "2025-02-14"),
        (Cadence(BillingPeriod.MONTHLY, 2), "2025-03-31"),
        (Cadence(BillingPeriod.QUARTERLY), "2025-04-30"),
        (Cadence(BillingPeriod.HALF_YEARLY), "2025-07-31"),
        (Cadence(BillingPeriod.ANNUAL), "2026-01-31"),
    ],
)
def test_every_cadence(cadence: Cadence, expected: str) -> None:
    assert next_boundary(utc("2025-01-31"), "UTC", cadence, utc("2025-01-31")) == utc(expected)


def test_local_midnight_in_kolkata() -> None:
    anchor = utc("2025-01-30T18:30")  # 31 January 00:00 in Kolkata (+05:30)
    got = [boundary(anchor, "Asia/Kolkata", MONTHLY, k) for k in range(1, 4)]
    assert got == [utc("2025-02-27T18:30"), utc("2025-03-30T18:30"), utc("2025-04-29T18:30")]


def test_daylight_saving_moves_the_instant_not_the_clock() -> None:
    anchor = utc("2025-01-01T05:00")  # 1 January 00:00 in New York (-05:00)
    period = nominal_period(anchor, "America/New_York", MONTHLY, utc("2025-03-15"))
    assert period == Period(utc("2025-03-01T05:00"), utc("2025-04-01T04:00"))  # April is -04:00
    assert period.end - period.start == timedelta(days=31) - timedelta(hours=1)
    autumn = nominal_period(anchor, "America/New_York", MONTHLY, utc("2025-11-15"))
    assert autumn == Period(utc("2025-11-01T04:00"), utc("2025-12-01T05:00"))


def test_skipped_and_repeated_clock_times() -> None:
    # New York skips 02:00 to 03:00 on 9 March 2025: 02:30 becomes 03:30 (-04:00); the next day is back at 02:30.
    spring = utc("2025-03-08T07:30")
    assert boundary(spring, "America/New_York", DAILY, 1) == utc("2025-03-09T07:30")
    assert boundary(spring, "America/New_York", DAILY, 2) == utc("2025-03-10T06:30")
    # and has 01:30 twice on 2 November 2025: the first is meant (-04:00).
    autumn = utc("2025-11-01T05:30")
    assert boundary(autumn, "America/New_York", DAILY, 1) == utc("2025-11-02T05:30")
    assert boundary(autumn, "America/New_York", DAILY, 2) == utc("2025-11-03T06:30")


def test_a_day_that_a_zone_skipped_gives_no_empty_period() -> None:
    # Samoa had no 30 December 2011: it went from the 29th to the 31st.
    anchor = utc("2011-12-28T20:00")  # 28 December 10:00 in Apia (-10:00)
    at, ends = anchor, []
    for _ in range(3):
        at = next_boundary(anchor, "Pacific/Apia", DAILY, at)
        ends.append(to_local(at, "Pacific/Apia").isoformat())
    assert ends == ["2011-12-29T10:00:00", "2011-12-31T10:00:00", "2012-01-01T10:00:00"]


@pytest.mark.parametrize(
    ("start", "period", "zone", "expected"),
    [
        ("2025-01-15T10:00", BillingPeriod.DAILY, "UTC", "2025-01-16"),
        ("2025-01-15T10:00", BillingPeriod.WEEKLY, "UTC", "2025-01-20"),  # a Wednesday; the Monday after
        ("2025-01-20", BillingPeriod.WEEKLY, "UTC", "2025-01-27"),  # on a Monday: the next one
        ("2025-01-15T10:00", BillingPeriod.MONTHLY, "UTC", "2025-02-01"),
        ("2025-01-01", BillingPeriod.MONTHLY, "UTC", "2025-02-01"),
        ("2025-05-15", BillingPeriod.QUARTERLY, "UTC", "2025-07-01"),
        ("2025-05-15", BillingPeriod.HALF_YEARLY, "UTC", "2025-07-01"),
        ("2025-11-15", BillingPeriod.QUARTERLY, "UTC", "2026-01-01"),
        ("2025-05-15", BillingPeriod.ANNUAL, "UTC", "2026-01-01"),
        ("2025-01-31T20:00", BillingPeriod.MONTHLY, "Asia/Kolkata", "2025-02-28T18:30"),  # already 1 February there
    ],
)
def test_calendar_anchor(start: str, period: BillingPeriod, zone: str, expected: str) -> None:
    assert calendar_anchor(utc(start), zone, Cadence(period)) == utc(expected)


def test_calendar_anchor_keeps_midnight_where_the_zone_skips_it() -> None:
    # Cairo skipped midnight of 25 April 2025. The anchor is a day earlier, so that later days still start at 00:00.
    anchor = calendar_anchor(utc("2025-04-24T12:00"), "Africa/Cairo", DAILY)
    assert to_local(anchor, "Africa/Cairo").isoformat() == "2025-04-24T00:00:00"
    first = next_boundary(anchor, "Africa/Cairo", DAILY, utc("2025-04-24T12:00"))
    second = next_boundary(anchor, "Africa/Cairo", DAILY, first)
    assert to_local(first, "Africa/Cairo").isoformat() == "2025-04-25T01:00:00"
    assert to_local(second, "Africa/Cairo").isoformat() == "2025-04-26T00:00:00"


@pytest.mark.parametrize("period", RECURRING)
def test_every_zone_has_unbroken_periods(period: BillingPeriod) -> None:
    anchor, cadence = utc("2011-12-20T12:30"), Cadence(period)
    for zone in sorted(known_zones()):
        edges = [boundary(anchor, zone, cadence, k) for k in range(-3, 22)]
        assert all(left <= right for left, right in pairwise(edges)), zone
        wall_clocks = {to_local(edge, zone).time() for edge in edges}
        assert len(wall_clocks) == 1, zone  # 12:30 is nowhere skipped by daylight saving in these years


@given(INSTANTS, INSTANTS, st.sampled_from(RECURRING), st.integers(1, 5), st.sampled_from(ZONES))
@settings(max_examples=300)
def test_boundary_laws(anchor: datetime, at: datetime, period: BillingPeriod, count: int, zone: str) -> None:
    cadence = Cadence(period, count)
    whole = nominal_period(anchor, zone, cadence, at)
    assert whole.contains(at)
    assert next_boundary(anchor, zone, cadence, whole.start) == whole.end  # no period missed, none twice
    assert previous_boundary(anchor, zone, cadence, whole.end) == whole.end
    assert nominal_period(anchor, zone, cadence, whole.end).start == whole.end


@given(INSTANTS, st.sampled_from(RECURRING), st.integers(1, 4), st.sampled_from(ZONES))
def test_calendar_anchor_is_a_local_midnight_boundary(
    start: datetime, period: BillingPeriod, count: int, zone: str
) -> None:
    cadence = Cadence(period, count)
    anchor = calendar_anchor(start, zone, cadence)
    assert to_local(anchor, zone).time().isoformat() == "00:00:00"
    first = next_boundary(anchor, zone, cadence, start)
    unit_end = next_boundary(calendar_anchor(start, zone, Cadence(period)), zone, Cadence(period), start)
    assert first == unit_end  # the first period ends with the calendar unit, whatever the count


def test_period_is_half_open() -> None:
    period = span("2025-01-01", "2025-02-01")
    assert period.contains(utc("2025-01-01"))
    assert period.contains(utc("2025-01-31T23:59:59.999999"))
    assert not period.contains(utc("2025-02-01"))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "utc", "Asia"])
def test_unknown_zone(zone: str) -> None:
    with pytest.raises(Invalid) as caught:
        zone_info(zone)
    assert (caught.value.code, caught.value.field) == ("unknown_zone", "timezone")


def test_refusals() -> None:
    with pytest.raises(Invalid, match="must not end before"):
        span("2025-02-01", "2025-01-01")
    with pytest.raises(Invalid, match="instant in UTC"):
        Period(datetime(2025, 1, 1), utc("2025-02-01"))  # noqa: DTZ001 - the naive value is the point
    with pytest.raises(Invalid, match="instant in UTC"):
        Period(utc("2025-01-01").astimezone(zone_info("Asia/Kolkata")), utc("2025-02-01"))
    with pytest.raises(Invalid, match="no period boundaries"):
        next_boundary(utc("2025-01-01"), "UTC", Cadence(BillingPeriod.ONETIME), utc("2025-01-01"))
    with pytest.raises(Invalid, match="between 1 and 1000"):
        Cadence(BillingPeriod.MONTHLY, 0)
    with pytest.raises(Invalid, match="beyond the year"):
        next_boundary(utc("9980-01-01"), "UTC", Cadence(BillingPeriod.ANNUAL, 20), utc("9985-01-01"))


@pytest.mark.parametrize("year", [1969, 9991])
def test_instants_lie_in_sensible_years(year: int) -> None:
    with pytest.raises(Invalid, match="start_date must lie between the years 1970 and 9990") as refusal:
        check_utc(datetime(year, 6, 1, tzinfo=UTC), "start_date")
    assert refusal.value.field == "start_date"


@pytest.mark.parametrize(
    "instant",
    [datetime(2025, 1, 1), datetime(2025, 1, 1, tzinfo=ZoneInfo("Asia/Kolkata"))],  # noqa: DTZ001
)
def test_instants_are_aware_and_in_utc(instant: datetime) -> None:
    with pytest.raises(Invalid, match="must be an instant in UTC"):
        check_utc(instant, "start_date")


def test_a_zone_that_is_as_utc_is_good_enough() -> None:
    instant = datetime(2025, 1, 1, tzinfo=ZoneInfo("Etc/UTC"))
    assert check_utc(instant, "start_date") is instant


@pytest.mark.parametrize(("period", "count"), [(BillingPeriod.MONTHLY, 0), (BillingPeriod.MONTHLY, 1001),
                                               (BillingPeriod.ONETIME, 2)])  # fmt: skip
def test_a_cadence_counts_from_1_to_1000_and_a_one_time_charge_comes_once(period: BillingPeriod, count: int) -> None:
    with pytest.raises(Invalid) as refusal:
        Cadence(period, count)
    assert refusal.value.field == "billing_period_count"
    assert Cadence(BillingPeriod.MONTHLY, 1000).months == 1000


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (BillingPeriod.MONTHLY, "2017-09-01T04:00"),
        (BillingPeriod.QUARTERLY, "2017-07-01T04:00"),
        (BillingPeriod.HALF_YEARLY, "2018-01-01T03:00"),
    ],
)
def test_where_the_first_midnight_of_a_month_is_skipped_the_anchor_is_one_cadence_earlier(
    period: BillingPeriod, expected: str
) -> None:
    """Paraguay went from -04:00 to -03:00 at midnight of 1 October 2017: months and quarters start there at 01:00."""
    start = utc("2017-09-15T10:20").replace(second=30, microsecond=40)
    anchor = calendar_anchor(start, "America/Asuncion", Cadence(period))
    assert anchor == utc(expected)
    if period is not BillingPeriod.HALF_YEARLY:
        assert next_boundary(anchor, "America/Asuncion", Cadence(period), start) == utc("2017-10-01T04:00")
