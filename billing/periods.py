"""Time: half-open periods, cadences, and the boundaries that an anchor gives in a customer's zone.

Owns every computation of a date. Does not know the clock: instants come in as arguments, aware and in UTC.
Rules: billing-rules.md section 3. Boundaries are counted from the anchor, never from the previous boundary, so that an
anchor on the 31st gives 28 Feb and then 31 Mar. A local time that the zone skips moves forward by the gap; of a local
time that happens twice the first is meant. The time zone data is the package `tzdata`, so that every machine agrees.
"""

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

from billing.errors import Invalid

_NO_OFFSET: Final = timedelta(0)
_MICROSECOND: Final = timedelta(microseconds=1)
YEAR_MIN: Final = 1970
YEAR_MAX: Final = 9990


class BillingPeriod(StrEnum):
    """Unit of a cadence, as the wire names it."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    ANNUAL = "ANNUAL"
    ONETIME = "ONETIME"


class BillingCycle(StrEnum):
    """Where the boundaries come from: the start (or a given anchor), or the calendar."""

    anniversary = "anniversary"
    calendar = "calendar"


_DAYS: Final = {BillingPeriod.DAILY: 1, BillingPeriod.WEEKLY: 7}
_MONTHS: Final = {
    BillingPeriod.MONTHLY: 1,
    BillingPeriod.QUARTERLY: 3,
    BillingPeriod.HALF_YEARLY: 6,
    BillingPeriod.ANNUAL: 12,
}


def to_milliseconds(at: datetime) -> datetime:
    """The instant as it is kept: cut to whole milliseconds, as events are."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def check_utc(value: datetime, field: str) -> datetime:
    """`value` if it is an aware UTC instant of a sensible year, else Invalid."""
    if value.tzinfo is not UTC and (value.tzinfo is None or value.utcoffset() != _NO_OFFSET):
        raise Invalid(f"{field} must be an instant in UTC; got {value.isoformat()}", field=field)
    if not YEAR_MIN <= value.year <= YEAR_MAX:
        raise Invalid(f"{field} must lie between the years {YEAR_MIN} and {YEAR_MAX}; got {value.year}", field=field)
    return value


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open span [start, end) of UTC instants. `start == end` is a moment (one-time charges)."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        check_utc(self.start, "start")
        check_utc(self.end, "end")
        if self.end < self.start:
            raise Invalid(f"a period must not end before it starts: {self.start} to {self.end}", field="end")

    def contains(self, instant: datetime) -> bool:
        """Whether `instant` lies in [start, end)."""
        return self.start <= instant < self.end

    @property
    def microseconds(self) -> int:
        """Exact length."""
        return (self.end - self.start) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Cadence:
    """Every `count` units of `period`."""

    period: BillingPeriod
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 1000:
            raise Invalid(f"billing_period_count must be between 1 and 1000; got {self.count}", "billing_period_count")
        if self.period is BillingPeriod.ONETIME and self.count != 1:
            raise Invalid("billing_period_count must be 1 for ONETIME", field="billing_period_count")

    @property
    def days(self) -> int:
        """Length in days; 0 for cadences that are counted in months."""
        return _DAYS.get(self.period, 0) * self.count

    @property
    def months(self) -> int:
        """Length in months; 0 for cadences that are counted in days."""
        return _MONTHS.get(self.period, 0) * self.count

    def covers(self, other: "Cadence") -> bool:
        """Whether none of its periods can be shorter than one of `other`: a month has 28 days at least, 31 at most."""
        if self.months and other.months:
            return self.months >= other.months
        shortest = self.days or self.months * 30 - 2
        return shortest >= (other.days or other.months * 31)

    def same_length(self, other: "Cadence") -> bool:
        """Whether both have the same boundaries on the same anchor: 3 x MONTHLY is QUARTERLY."""
        return (self.days, self.months) == (other.days, other.months)


@lru_cache(maxsize=1)
def known_zones() -> frozenset[str]:
    """Names of all IANA time zones."""
    return frozenset((files("tzdata") / "zones").read_text(encoding="ascii").split())


@lru_cache(maxsize=1024)
def zone_info(name: str) -> ZoneInfo:
    """The IANA time zone `name`. Raises Invalid with code "unknown_zone"."""
    if name not in known_zones():
        raise Invalid(
            f"timezone {name!r} is not an IANA time zone; write it like 'Asia/Kolkata' or 'UTC'",
            field="timezone",
            code="unknown_zone",
        )
    with (files("tzdata") / "zoneinfo").joinpath(*name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def to_local(instant: datetime, zone: str) -> datetime:
    """A UTC instant on the wall clock of `zone` (naive)."""
    return instant.astimezone(zone_info(zone)).replace(tzinfo=None, fold=0)


def from_local(wall_clock: datetime, zone: str) -> datetime:
    """The UTC instant at which `zone` shows the naive `wall_clock`: skipped times move forward, of two the first."""
    return wall_clock.replace(tzinfo=zone_info(zone), fold=0).astimezone(UTC)


def add_local_days(instant: datetime, zone: str, days: int) -> datetime:
    """The same clock time `days` calendar days later in `zone`."""
    return instant if days == 0 else from_local(to_local(instant, zone) + timedelta(days=days), zone)


def local_days(period: Period, zone: str) -> int:
    """How many midnights of `zone` lie in the span: the days of its dates, the first one counted, the last not."""
    return (to_local(period.end, zone).date() - to_local(period.start, zone).date()).days


@lru_cache(maxsize=4096)
def boundary(anchor: datetime, zone: str, cadence: Cadence, k: int) -> datetime:
    """Boundary number `k`, any whole number: anchor + k x cadence, clamped to the month, at the anchor's clock."""
    if k == 0:
        return anchor
    local = to_local(anchor, zone)
    if cadence.days:
        return from_local(local + timedelta(days=cadence.days * k), zone)
    return from_local(_add_months(local, _months_of(cadence) * k), zone)


def next_boundary(anchor: datetime, zone: str, cadence: Cadence, after: datetime) -> datetime:
    """The first boundary after `after` (never `after` itself)."""
    return boundary(anchor, zone, cadence, _last_until(anchor, zone, cadence, after) + 1)


def previous_boundary(anchor: datetime, zone: str, cadence: Cadence, at: datetime) -> datetime:
    """The last boundary at or before `at`."""
    return boundary(anchor, zone, cadence, _last_until(anchor, zone, cadence, at))


@lru_cache(maxsize=4096)
def nominal_period(anchor: datetime, zone: str, cadence: Cadence, at: datetime) -> Period:
    """The whole period between two boundaries that contains `at`: the denominator of every proration.

    The lines of an invoice ask for the same few again and again: they are remembered.
    """
    k = _last_until(anchor, zone, cadence, at)
    return Period(boundary(anchor, zone, cadence, k), boundary(anchor, zone, cadence, k + 1))


def calendar_anchor(start: datetime, zone: str, cadence: Cadence) -> datetime:
    """Anchor of calendar billing: the start of the next day, Monday, month, quarter, half-year or year after `start`.

    Where the zone skips that midnight, the anchor is one cadence earlier: it has the same boundaries, and its clock is
    midnight. Raises Invalid for ONETIME.
    """
    midnight = to_local(start, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    candidate = _next_unit(midnight, cadence.period)
    while to_local(from_local(candidate, zone), zone) != candidate:
        step = cadence.days
        candidate = candidate - timedelta(days=step) if step else _add_months(candidate, -_months_of(cadence))
    return from_local(candidate, zone)


def _next_unit(midnight: datetime, period: BillingPeriod) -> datetime:
    if period is BillingPeriod.DAILY:
        return midnight + timedelta(days=1)
    if period is BillingPeriod.WEEKLY:
        return midnight + timedelta(days=7 - midnight.weekday())
    months = _months_of(Cadence(period))
    return _add_months(midnight.replace(day=1), months - (midnight.month - 1) % months)


def _months_of(cadence: Cadence) -> int:
    if not cadence.months:
        raise Invalid(f"billing_period {cadence.period} has no period boundaries", field="billing_period")
    return cadence.months


def _add_months(local: datetime, months: int) -> datetime:
    index = local.year * 12 + local.month - 1 + months
    year, month = index // 12, index % 12 + 1
    if not YEAR_MIN - 1000 <= year <= YEAR_MAX:
        raise Invalid(f"billing dates must not lie beyond the year {YEAR_MAX}", field="billing_period_count")
    return local.replace(year=year, month=month, day=min(local.day, calendar.monthrange(year, month)[1]))


def _last_until(anchor: datetime, zone: str, cadence: Cadence, at: datetime) -> int:
    """The number of the last boundary at or before `at`."""
    k = _near(anchor, zone, cadence, at)
    while boundary(anchor, zone, cadence, k) <= at:
        k += 1
    while boundary(anchor, zone, cadence, k) > at:
        k -= 1
    return k


def _near(anchor: datetime, zone: str, cadence: Cadence, at: datetime) -> int:
    """A boundary number within a step or two of `at`."""
    if cadence.days:
        return (at - anchor) // timedelta(days=cadence.days)
    local_anchor, local_at = to_local(anchor, zone), to_local(at, zone)
    months = (local_at.year - local_anchor.year) * 12 + local_at.month - local_anchor.month
    return months // _months_of(cadence)
