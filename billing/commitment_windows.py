"""Windowed commitments: what each window of a line used of what was promised for it, by the time of day.

Owns matching windows to promises; the lines that follow are billing.commitment_lines'. Rules: billing-rules.md section
2. A window belongs to the time of day in which it starts; outside of all of them the commitment itself is promised, and
where that is 0 usage is plain.
"""

from collections.abc import Sequence
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


def sums_by_promise(due: DueCommitment, line: InvoiceLine) -> tuple[PromiseSum, ...]:
    """Every window of the line's period, with or without usage; one that the period cuts is promised its share."""
    assert due.buckets is not None
    commitment, buckets = due.commitment, due.buckets
    sums = [PromiseSum(None, commitment.overage_factor, commitment.true_up)]
    sums += [PromiseSum(bucket, bucket.overage_factor, bucket.true_up) for bucket in commitment.time_buckets]
    worths = [_worth(commitment, one.bucket, due.price) for one in sums]
    used = _used(line.derivation.parts)
    for window in windows_of(due.period, buckets.size, buckets.zone, buckets.anchor):
        place = commitment.bucket_at(window.start)
        place = 0 if place is None else place + 1
        whole = window_at(buckets.size, buckets.zone, buckets.anchor, window.start)
        _count(sums[place], worths[place] * _share(window, whole), *used.pop(window.start, (Fraction(0), Fraction(0))))
    if used:
        raise InvariantBroken(f"line {line.line_item_id} was not read in the windows of its commitment")
    return tuple(sums)


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


def _count(one: PromiseSum, promised: Fraction, money: Fraction, quantity: Fraction) -> None:
    """Adds a window. Where nothing is promised at all, what is used is within."""
    plain = one.bucket is None and not promised
    within = money if plain else min(money, promised)
    one.promised += promised
    one.within += within
    one.missing += max(promised - money, Fraction(0))
    if money > within:
        one.beyond += money - within
        one.quantity += quantity * (money - within) / money


def _share(window: Period, whole: Period) -> Fraction:
    return Fraction(window.microseconds, whole.microseconds)
