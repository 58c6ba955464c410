"""Windows of usage: how a timestamp finds the window that it belongs to.

Windows are cut in a time zone; weeks start on Monday. Months with an anchor are the billing months: their boundaries
are computed by `billing.periods` and passed in, so that a chart and an invoice can never cut differently.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from zoneinfo import available_timezones

from billing.errors import Invalid
from models.clickhouse.times import milliseconds


class WindowSize(StrEnum):
    """The sizes of the reference's `window_size`."""

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


_MINUTES = {WindowSize.MINUTE: 1, WindowSize.FIFTEEN_MINUTES: 15, WindowSize.THIRTY_MINUTES: 30, WindowSize.HOUR: 60}
_HOURS = {WindowSize.THREE_HOURS: 3, WindowSize.SIX_HOURS: 6, WindowSize.TWELVE_HOURS: 12}


@dataclass(frozen=True, slots=True)
class Window:
    """Windows of one size in the time zone `zone`; `boundaries` (UTC, ascending) replace the calendar's where given."""

    size: WindowSize
    zone: str = "UTC"
    boundaries: tuple[datetime, ...] = ()

    def __post_init__(self) -> None:
        if self.zone not in available_timezones():
            raise Invalid(f"timezone must be a name such as Europe/Paris; got {self.zone!r}", field="timezone")

    def start_sql(self) -> str:
        """The start of the window that holds `timestamp`, in Unix milliseconds; takes the parameter `zone`."""
        if self.boundaries:
            starts = ", ".join(f"toInt64({milliseconds(boundary)})" for boundary in self.boundaries)
            return f"roundDown(toUnixTimestamp64Milli(timestamp), [{starts}])"
        return f"toInt64({self._calendar_sql()}) * 1000"

    def _calendar_sql(self) -> str:
        """The same in Unix seconds, by the local calendar and clock."""
        zone = "{zone:String}"
        if self.size in _MINUTES:
            # Counted back from the instant by the minutes that the local clock shows, so that zones at +05:45 fit.
            minutes = f"toMinute(timestamp, {zone}) % {_MINUTES[self.size]}"
            return f"toUnixTimestamp(timestamp) - (({minutes}) * 60 + toSecond(timestamp, {zone}))"
        if self.size in _HOURS:
            # Cut from local midnight: across a change of the clocks one window is an hour shorter or longer.
            hours = _HOURS[self.size]
            day = f"formatDateTime(timestamp, '%Y-%m-%d ', {zone})"
            hour = f"leftPad(toString(intDiv(toHour(timestamp, {zone}), {hours}) * {hours}), 2, '0')"
            return f"toUnixTimestamp(parseDateTimeBestEffort(concat({day}, {hour}, ':00:00'), {zone}))"
        start = {
            WindowSize.DAY: f"toStartOfDay(timestamp, {zone})",
            WindowSize.WEEK: f"toDateTime(toStartOfWeek(timestamp, 1, {zone}), {zone})",
            WindowSize.MONTH: f"toDateTime(toStartOfMonth(timestamp, {zone}), {zone})",
        }[self.size]
        return f"toUnixTimestamp({start})"

    def parameters(self) -> dict[str, Any]:
        """What `start_sql` needs to be bound."""
        return {} if self.boundaries else {"zone": self.zone}


def parse_window_size(text: str) -> WindowSize:
    """The size named `text` on the wire. Raises Invalid naming the possible ones."""
    try:
        return WindowSize(text)
    except ValueError:
        raise Invalid(
            f"window_size must be one of {', '.join(WindowSize)}; got {text!r}", field="window_size"
        ) from None
