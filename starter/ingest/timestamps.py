"""The times of a whole request at once: one client writes all of them alike.

Knows only the usual way of writing them; whatever else is an instant is read by `wire.parse_timestamp`, one by one.
"""

from collections.abc import Sequence
from typing import Final

import numpy
from numpy.typing import NDArray

_TO_SECOND: Final = len("2025-12-02T10:00:00")
_SEPARATORS: Final = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":"}
_ZONES: Final = ("Z", "+00:00")
_FIELDS: Final = ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))
_MONTH_DAYS: Final = numpy.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], numpy.int64)

Numbers = NDArray[numpy.int64]


def all_milliseconds(texts: Sequence[str]) -> list[int] | None:
    """Unix milliseconds of instants in UTC; None where one is not written like the first, or is none.

    Digits of a second beyond the third are cut, as `wire.parse_timestamp` and `milliseconds` cut them.
    """
    length = len(texts[0])
    zone = next((zone for zone in _ZONES if texts[0].endswith(zone)), None)
    joined = "".join(texts)
    if zone is None or set(map(len, texts)) != {length} or not joined.isascii():
        return None
    fraction = length - _TO_SECOND - len(zone)
    if fraction < 0 or fraction == 1:
        return None
    characters = numpy.frombuffer(joined.encode(), numpy.uint8).reshape(-1, length).T
    expected = {**_SEPARATORS, **({_TO_SECOND: "."} if fraction else {})}
    expected |= {length - len(zone) + at: character for at, character in enumerate(zone)}
    if any((characters[at] != ord(character)).any() for at, character in expected.items()):
        return None
    digits = characters[[at for at in range(length) if at not in expected]] - numpy.uint8(ord("0"))
    if (digits > 9).any():  # what is below "0" has wrapped around
        return None
    year, month, day, hour, minute, second = (_number(characters[start:end]) for start, end in _FIELDS)
    if not _exist(year, month, day, hour, minute, second):
        return None
    seconds = ((_days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
    thousandths = _number(characters[_TO_SECOND + 1 : _TO_SECOND + min(fraction, 4)]) if fraction else 0
    found: list[int] = (seconds * 1000 + thousandths * 10 ** max(4 - fraction, 0)).tolist()
    return found


def _number(characters: NDArray[numpy.uint8]) -> Numbers:
    """Rows of digits, the highest first, as one number each."""
    found = numpy.zeros(characters.shape[1], numpy.int64)
    for row in characters:
        found = found * 10 + (row - numpy.uint8(ord("0")))
    return found


def _exist(year: Numbers, month: Numbers, day: Numbers, hour: Numbers, minute: Numbers, second: Numbers) -> bool:
    if (year < 1).any() or (month < 1).any() or (month > 12).any() or (day < 1).any():
        return False
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    last = _MONTH_DAYS[month] + (leap & (month == 2))
    return not ((day > last).any() or (hour > 23).any() or (minute > 59).any() or (second > 59).any())


def _days(year: Numbers, month: Numbers, day: Numbers) -> Numbers:
    """Days since 1970 in the Gregorian calendar. Years are taken to begin in March, so that a leap day is the last."""
    year = year - (month <= 2)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + of_year - 719_468
