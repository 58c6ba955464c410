"""Usage as columns of a chart in the terminal. Owns drawing only; quantities come from the API."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

ROWS: Final = 4
_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"


def with_gaps(days: Sequence[tuple[date, Decimal]]) -> list[tuple[date, Decimal]]:
    """Every day from the first to the last; days without events count 0."""
    if not days:
        return []
    known = dict(days)
    first, last = min(known), max(known)
    every = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [(day, known.get(day, Decimal(0))) for day in every]


def columns(values: Sequence[Decimal], rows: int = ROWS) -> list[str]:
    """The lines of a chart, top first, one character a value; the largest fills it, any above 0 shows."""
    largest = max(values, default=Decimal(0))
    heights = [_height(value, largest, rows) for value in values]
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


def drawn(title: str, days: Sequence[tuple[date, Decimal]]) -> str:
    """A titled chart of days with its first and last day below."""
    every = with_gaps(days)
    if not every:
        return f"{title}\n  no events"
    lines = [f"  {line}" for line in columns([value for _, value in every])]
    first, last = every[0][0].isoformat(), every[-1][0].isoformat()
    axis = first if first == last else f"{first}{' ' * max(len(every) - 20, 1)}{last}"
    busiest, most = max(every, key=lambda one: one[1])
    return "\n".join([title, *lines, f"  {axis}", f"  most: {most:f} on {busiest.isoformat()}"])
