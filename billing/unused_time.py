"""Which lines that were billed in advance still have time that can be credited.

Owns the choice only; the credit is billing.due_lines'. Rules: billing-rules.md section 5: a line is credited once. What
ended before has been credited then, or was not to be (`proration_behavior` none), and is never credited later.
"""

from collections.abc import Sequence
from datetime import datetime

from billing.money import ZERO
from billing.terms import BilledLine, Terms


def with_unused_time(terms: Terms, billed: Sequence[BilledLine], at: datetime) -> tuple[BilledLine, ...]:
    """Those of `billed` whose line item was in force until `at` and of which nothing was credited before."""
    ends = {line.id: line.end for line in terms.lines}
    return tuple(line for line in billed if line.credited == ZERO and _lasts_until(ends, line.line_item_id, at))


def _lasts_until(ends: dict[str, datetime | None], line_item_id: str, at: datetime) -> bool:
    end = ends.get(line_item_id)
    return end is None or end >= at
