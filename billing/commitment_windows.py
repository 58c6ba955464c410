"""Windowed commitments: what each window of a line used of what was promised for it, by the time of day.

Owns matching windows to promises; the lines that follow are billing.commitment_lines'. Rules: billing-rules.md section
2. A window belongs to the time of day in which it starts; outside of all of them the commitment itself is promised, and
where that is 0 usage is plain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.commitments import Commitment, DueCommitment, TimeBucket, worth_of
from billing.errors import InvariantBroken
from billing.invoice_lines import InvoiceLine, RatedPart
from billing.periods import Period
from billing.prices import Price
from billing.windows import window_at, windows_of


@dataclass(slots=True)
class PromiseSum:
    """What the windows of one promise come to, in money before any rounding; `quantity` is what is `beyond` it.

    `bucket` is the time of day, None outside of them.
    """

    bucket: TimeBucket | None
    factor: Decimal
    true_up: bool
    promised: Fraction = Fraction(0)
    within: Fraction = Fraction(0)
    beyond: Fraction = Fraction(0)
    missing: Fraction = Fraction(0)
    quantity: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class PromiseWindow:
    """One window: what was `promised` for it and `used`, in money; `place` is its time of day, 0 outside of them."""

    period: Period
    place: int
    promised: Fraction
    used: Fraction
    quantity: Fraction

    @property
    def within(self) -> Fraction:
        """What counts of the usage: all of it where nothing is promised at all."""
        plain = self.place == 0 and not self.promised
        return self.used if plain else min(self.used, self.promised)


def sums_by_promise(due: DueCommitment, line: InvoiceLine) -> tuple[PromiseSum, ...]:
    """Every window of the line's period, with or without usage, added up by its promise."""
    commitment = due.commitment
    sums = [PromiseSum(None, commitment.overage_factor, commitment.true_up)]
    sums += [PromiseSum(bucket, bucket.overage_factor, bucket.true_up) for bucket in commitment.time_buckets]
    for window in promise_windows(due, line):
        _count(sums[window.place], window)
    return tuple(sums)


def promise_windows(due: DueCommitment, line: InvoiceLine) -> Iterator[PromiseWindow]:
    """Every window of the line's period, with or without usage; one that the period cuts is promised its share."""
    assert due.buckets is not None
    commitment, buckets = due.commitment, due.buckets
    worths = [_worth(commitment, bucket, due.price) for bucket in (None, *commitment.time_buckets)]
    used = _used(line.derivation.parts)
    for window in windows_of(due.period, buckets.size, buckets.zone, buckets.anchor):
        place = commitment.bucket_at(window.start)
        place = 0 if place is None else place + 1
        whole = window_at(buckets.size, buckets.zone, buckets.anchor, window.start)
        money, quantity = used.pop(window.start, (Fraction(0), Fraction(0)))
        yield PromiseWindow(window, place, worths[place] * _share(window, whole), money, quantity)
    if used:
        raise InvariantBroken(f"line {line.line_item_id} was not read in the windows of its commitment")


def _worth(commitment: Commitment, bucket: TimeBucket | None, price: Price | None) -> Fraction:
    """What is promised for a whole window, in money."""
    if bucket is None:
        return worth_of(commitment.type, commitment.value, price)
    return worth_of(bucket.type, bucket.value, bucket.price or price)


def _used(parts: Sequence[RatedPart]) -> dict[datetime, tuple[Fraction, Fraction]]:
    """Money and billable quantity of each window, all groups together."""
    found: dict[datetime, tuple[Fraction, Fraction]] = {}
    for part in parts:
        money, quantity = found.get(part.period.start, (Fraction(0), Fraction(0)))
        found[part.period.start] = (money + (part.amount or 0), quantity + part.quantity - part.free)
    return found


def _count(one: PromiseSum, window: PromiseWindow) -> None:
    beyond = window.used - window.within
    one.promised += window.promised
    one.within += window.within
    one.missing += max(window.promised - window.used, Fraction(0))
    if beyond:
        one.beyond += beyond
        one.quantity += window.quantity * beyond / window.used


def _share(window: Period, whole: Period) -> Fraction:
    return Fraction(window.microseconds, whole.microseconds)
