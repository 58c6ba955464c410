"""Windows of usage in a statement: how a timestamp finds the window that it belongs to.

Owns the SQL only. Where a window begins is billing.windows' rule: longer windows are cut there and their starts passed
in, so that a chart and an invoice can never cut differently, whatever ClickHouse knows of a time zone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from billing.errors import Invalid
from billing.periods import BillingPeriod, Cadence, Period, calendar_anchor, zone_info
from billing.windows import WindowSize, window_at
from models.clickhouse.times import milliseconds

WINDOWS_MAX: Final = 50_000
"""Windows of one read: more than the minutes of a month."""

_MINUTES: Final = {
    WindowSize.MINUTE: 1,
    WindowSize.FIFTEEN_MINUTES: 15,
    WindowSize.THIRTY_MINUTES: 30,
    WindowSize.HOUR: 60,
}
"""What is counted back from the instant, by the minutes that the local clock shows; zones at +05:45 fit, too."""


@dataclass(frozen=True, slots=True)
class Window:
    """Windows of one size in `zone`. Months are the billing months of `anchor`; without one, those of the calendar."""

    size: WindowSize
    zone: str = "UTC"
    anchor: datetime | None = None

    def __post_init__(self) -> None:
        zone_info(self.zone)

    def start_sql(self) -> str:
        """The start of the window that holds `timestamp`, in Unix milliseconds; takes what `parameters` binds."""
        if self.size not in _MINUTES:
            return "roundDown(toUnixTimestamp64Milli(timestamp), {boundaries:Array(Int64)})"
        length = _MINUTES[self.size]
        start = f"toUnixTimestamp(timestamp) - ({_shown_sql('timestamp', length)})"
        # Not 0 where a change of the clocks by less than an hour lies between: the window begins at the change.
        before = _shown_sql(f"toDateTime({start}, 'UTC')", length)
        return f"toInt64({start} + if({before} = 0, 0, {length * 60} - ({before}))) * 1000"

    def parameters(self, period: Period) -> dict[str, Any]:
        """What `start_sql` needs to be bound for timestamps of `period`."""
        if self.size in _MINUTES:
            return {"zone": self.zone}
        return {"boundaries": [milliseconds(start) for start in _starts(self, period)]}

    def check(self, period: Period) -> None:
        """Raises Invalid where it would cut `period` into too many windows."""
        if period.end - period.start > timedelta(minutes=_MINUTES.get(self.size, 60)) * WINDOWS_MAX:
            raise Invalid(
                f"window_size {self.size} allows at most {WINDOWS_MAX} windows at once: ask for a shorter time",
                field="window_size",
            )

    def at(self, instant: datetime) -> Period:
        """The window that holds `instant`."""
        anchor = self.anchor
        if anchor is None:
            by_month = self.size is WindowSize.MONTH
            anchor = calendar_anchor(instant, self.zone, Cadence(BillingPeriod.MONTHLY)) if by_month else instant
        return window_at(self.size, self.zone, anchor, instant)


def _shown_sql(at: str, minutes: int) -> str:
    """Seconds that the local clock is into a window of so many minutes."""
    return f"(toMinute({at}, {{zone:String}}) % {minutes}) * 60 + toSecond({at}, {{zone:String}})"


@lru_cache(maxsize=256)
def _starts(window: Window, period: Period) -> tuple[datetime, ...]:
    """Of the windows that cover `period`, in time order."""
    found: list[datetime] = []
    at = period.start
    while at < period.end or not found:
        own = window.at(at)
        found.append(own.start)
        at = own.end
    return tuple(found)


def parse_window_size(text: str, field: str = "window_size") -> WindowSize:
    """The size named `text` on the wire. Raises Invalid naming the possible ones."""
    try:
        return WindowSize(text)
    except ValueError:
        known: Sequence[str] = list(WindowSize)
        raise Invalid(f"{field} must be one of {', '.join(known)}; got {text!r}", field=field) from None
