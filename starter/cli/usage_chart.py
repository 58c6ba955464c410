"""Usage as columns of a chart in the terminal. Owns drawing only; quantities come from the API."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

ROWS: Final = 5
WIDEST: Final = 6
"""Characters of a day, with the gap to the next one."""

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"


def with_gaps(days: Sequence[tuple[date, Decimal]]) -> list[tuple[date, Decimal]]:
    """Every day from the first to the last; days without events count 0."""
    if not days:
        return []
    known = dict(days)
    first, last = min(known), max(known)
    every = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [(day, known.get(day, Decimal(0))) for day in every]


def columns(values: Sequence[Decimal], rows: int = ROWS, largest: Decimal | None = None) -> list[str]:
    """The lines of a chart, top first, one character a value; the largest fills it, any above 0 shows."""
    most = max(values, default=Decimal(0)) if largest is None else largest
    heights = [_height(value, most, rows) for value in values]
    lines = []
    for row in reversed(range(rows)):
        parts = [min(max(height - row * 8, 0), 8) for height in heights]
        lines.append("".join(_EIGHTHS[part] for part in parts))
    return lines


def _height(value: Decimal, largest: Decimal, rows: int) -> int:
    """In eighths of a line."""
    if value <= 0:
        return 0
    return max(int(value * rows * 8 / largest), 1)


def drawn(title: str, days: Sequence[tuple[date, Decimal]], width: int = 76) -> str:
    """A titled chart of days, in lines of at most `width`; what does not fit goes on below, by the same scale."""
    every = with_gaps(days)
    if not every:
        return f"{title}\n  no events"
    busiest, most = max(every, key=lambda one: one[1])
    scale = [f"{most:,f}", *[""] * (ROWS - 1)]
    indent = max(len(scale[0]), 1) + 2
    room = max(width - indent - 2, 1)
    a_day = min(max(room // len(every), 1), WIDEST)
    lines = [title]
    for start in range(0, len(every), room // a_day):
        some = every[start : start + room // a_day]
        bars = columns([value for _, value in some], largest=most)
        lines += [f"{label:>{indent}} │{_widened(bar, a_day)}".rstrip() for label, bar in zip(scale, bars, strict=True)]
        lines.append(f"{'0':>{indent}} └{'─' * (len(some) * a_day)}")
        lines.append(f"{'':>{indent}}  {_axis(some[0][0], some[-1][0], len(some) * a_day)}".rstrip())
    return "\n".join([*lines, f"  most: {most:,f} on {busiest.isoformat()}"])


def _widened(bar: str, a_day: int) -> str:
    """A line of the chart with so many characters a day, of which the last is the gap to the next one."""
    if a_day == 1:
        return bar
    return "".join(f"{part * (a_day - 1)} " for part in bar)


def _axis(first: date, last: date, length: int) -> str:
    if first == last:
        return first.isoformat()
    return f"{first.isoformat()}{' ' * max(length - 20, 1)}{last.isoformat()}"
