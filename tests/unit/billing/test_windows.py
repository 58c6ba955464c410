"""Windows never overlap and leave nothing out, also where a clock is moved by half an hour."""

from datetime import datetime, timedelta

import pytest

from billing.windows import WindowSize, window_at

from .builders import utc

LORD_HOWE = "Australia/Lord_Howe"


@pytest.mark.parametrize(
    ("day", "windows"),
    [
        # The clock shows 02:30 after 01:59:59: the hour from 2 lasts half an hour.
        ("2025-10-04", [("14:30", "15:30"), ("15:30", "16:00"), ("16:00", "17:00")]),
        # The clock shows 01:30 again after 01:59:59: the second half hour from 1:30 is a window of its own.
        ("2025-04-05", [("14:00", "15:00"), ("15:00", "15:30"), ("15:30", "16:30")]),
    ],
)
def test_the_hour_in_which_the_clock_is_moved_by_half_of_one(day: str, windows: list[tuple[str, str]]) -> None:
    for start, end in windows:
        for at in (utc(f"{day}T{start}"), utc(f"{day}T{end}") - timedelta(milliseconds=1)):
            window = window_at(WindowSize.HOUR, LORD_HOWE, at, at)
            assert (window.start, window.end) == (utc(f"{day}T{start}"), utc(f"{day}T{end}"))


@pytest.mark.parametrize("zone", [LORD_HOWE, "America/New_York", "Asia/Kathmandu", "Africa/Cairo"])
@pytest.mark.parametrize("size", [size for size in WindowSize if size is not WindowSize.MONTH])
@pytest.mark.parametrize("around", ["2025-04-05", "2025-10-04", "2025-03-09", "2025-11-02", "2025-04-24"])
def test_each_instant_lies_in_one_window(zone: str, size: WindowSize, around: str) -> None:
    at, end = utc(around), utc(around) + timedelta(days=2)
    while at < end:
        window = window_at(size, zone, at, at)
        assert window.contains(at)
        assert window_at(size, zone, window.start, window.start) == window
        at = later(at, window.end)


def later(at: datetime, end: datetime) -> datetime:
    """The next quarter of an hour, or the window's end before it."""
    return min(at + timedelta(minutes=15), end)
