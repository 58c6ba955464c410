"""Windows of usage: minutes to months, cut in the customer's time zone.

Owns where a window begins and ends. Rules: billing-rules.md section 2. Weeks start on Monday; months are the billing
months of the anchor, clamped. Up to an hour a window is counted back by the minutes that the local clock shows; windows
of 3, 6 and 12 hours are cut from local midnight, so that a change of the clocks makes one longer or shorter. The same
rules as models/clickhouse/windows.py. Windows never overlap: where a clock is moved by half an hour, one is shorter.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from billing.errors import Invalid
from billing.periods import BillingPeriod, Cadence, Period, from_local, nominal_period, to_local


class WindowSize(StrEnum):
    """How long a window is, as the wire names it."""

    MINUTE = "MINUTE"
    FIFTEEN_MINUTES = "15MIN"
    THIRTY_MINUTES = "30MIN"
    HOUR = "HOUR"
    THREE_HOURS = "3HOUR"
    SIX_HOURS = "6HOUR"
    TWELVE_HOURS = "12HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


_MINUTES: Final = {
    WindowSize.MINUTE: 1,
    WindowSize.FIFTEEN_MINUTES: 15,
    WindowSize.THIRTY_MINUTES: 30,
    WindowSize.HOUR: 60,
}
_HOURS: Final = {WindowSize.THREE_HOURS: 3, WindowSize.SIX_HOURS: 6, WindowSize.TWELVE_HOURS: 12}
_SHORTEST_DAYS: Final = {WindowSize.DAY: 1, WindowSize.WEEK: 7, WindowSize.MONTH: 28}
_MONTHLY: Final = Cadence(BillingPeriod.MONTHLY)


WINDOWS_MOST: Final = 50_000
"""Of one period: a month has 44,640 minutes."""


def check_window_count(size: WindowSize, cadence: Cadence) -> None:
    """Raises Invalid where a period of `cadence` may have more than WINDOWS_MOST windows: each is priced by itself."""
    hours = _HOURS.get(size, 24 * _SHORTEST_DAYS.get(size, 1))
    minutes = _MINUTES.get(size, 60 * hours)
    days = cadence.days or cadence.months * 31
    if days * 24 * 60 > WINDOWS_MOST * minutes:
        raise Invalid(
            f"billing_period must be shorter for a meter with buckets of {size}: each is priced by itself, and a period"
            f" may have {WINDOWS_MOST} at most; got {cadence.count} x {cadence.period}",
            field="billing_period",
        )


def window_at(size: WindowSize, zone: str, anchor: datetime, at: datetime) -> Period:
    """The window that contains `at`. `anchor` is the subscription's billing anchor; only MONTH reads it."""
    if size is WindowSize.MONTH:
        return nominal_period(anchor, zone, _MONTHLY, at)
    local = to_local(at, zone)
    if size in _MINUTES:
        start, length = at - _shown(local, size), timedelta(minutes=_MINUTES[size])
        before = _shown(to_local(start, zone), size)
        # Not 0 where a change of the clocks by less than an hour lies between: the window begins at the change.
        return Period(start + length - before if before else start, start + length)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if size in _HOURS:
        hours = _HOURS[size]
        start = midnight + timedelta(hours=local.hour // hours * hours)
        return Period(from_local(start, zone), from_local(start + timedelta(hours=hours), zone))
    days = 7 if size is WindowSize.WEEK else 1
    start = midnight - timedelta(days=local.weekday() if days == 7 else 0)
    return Period(from_local(start, zone), from_local(start + timedelta(days=days), zone))


def _shown(local: datetime, size: WindowSize) -> timedelta:
    """How far into a window of up to an hour the local clock is."""
    return timedelta(minutes=local.minute % _MINUTES[size], seconds=local.second, microseconds=local.microsecond)


def windows_of(period: Period, size: WindowSize, zone: str, anchor: datetime) -> tuple[Period, ...]:
    """`period` cut into windows, in time order, the first and the last cut to it."""
    found: list[Period] = []
    at = period.start
    while at < period.end:
        end = min(window_at(size, zone, anchor, at).end, period.end)
        found.append(Period(at, end))
        at = end
    return tuple(found)
