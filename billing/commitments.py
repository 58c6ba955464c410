"""Commitments: what a customer promised to use, of one line or of the whole subscription. Values only.

Owns the shapes and their checks. How they split and add lines is billing.commitment_lines'. Rules: billing-rules.md
section 2.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from billing.errors import Invalid
from billing.money import ZERO
from billing.periods import BillingPeriod, Cadence, Period
from billing.prices import Price, rate
from billing.windows import WindowSize, window_at

_DAY: Final = 24 * 60
_LONG_WINDOWS: Final = (WindowSize.DAY, WindowSize.WEEK, WindowSize.MONTH)


class CommitmentType(StrEnum):
    """amount: `value` is money. quantity: `value` is units of the line, worth what its price charges for them."""

    amount = "amount"
    quantity = "quantity"


@dataclass(frozen=True, slots=True)
class TimeBucket:
    """A promise for the windows that start in a time of day, in place of the line's, at its own `price` if it has one.

    [start, end) in minutes after midnight UTC, over midnight where `end` is not after `start`.
    """

    start: int
    end: int
    type: CommitmentType
    value: Decimal
    price: Price | None = None
    overage_factor: Decimal = Decimal(1)
    true_up: bool = False

    def __post_init__(self) -> None:
        for name, minutes in (("start", self.start), ("end", self.end)):
            if not 0 <= minutes < _DAY:
                raise Invalid(f"{name} must be a time from 00:00 to 23:59", field=name)
        if self.start == self.end:
            raise Invalid(f"end must not be the start, {clock_text(self.end)}: nothing lies between", field="end")
        if self.value <= 0:
            raise Invalid(f"commitment_value must be above 0; got {self.value}", field="commitment_value")
        if self.overage_factor < 1:
            raise Invalid(f"overage_factor must be 1 or more; got {self.overage_factor}", field="overage_factor")

    @property
    def hours(self) -> str:
        """For people: "22:00 to 06:00 UTC"."""
        return f"{clock_text(self.start)} to {clock_text(self.end)} UTC"

    def contains(self, minutes: int) -> bool:
        """Whether a clock time lies in it."""
        if self.start < self.end:
            return self.start <= minutes < self.end
        return minutes >= self.start or minutes < self.end


@dataclass(frozen=True, slots=True)
class Commitment:
    """A promise: usage up to it at its price, beyond it times `overage_factor`; `true_up` bills what is missing.

    `line_item_id` None: of all usage lines of the subscription together. Without `duration` it is for each billing
    period; with one it is for each of these from the subscription's start. `windowed`: for each bucket of a bucketed
    meter; `time_buckets` promise something else at some times of the day, and then `value` may be 0. Money is major
    units of the subscription's currency.
    """

    type: CommitmentType
    value: Decimal
    line_item_id: str | None = None
    overage_factor: Decimal = Decimal(1)
    true_up: bool = False
    duration: BillingPeriod | None = None
    windowed: bool = False
    time_buckets: tuple[TimeBucket, ...] = ()

    def __post_init__(self) -> None:
        if self.value < 0 or (self.value == 0 and not self.time_buckets):
            raise Invalid(f"a commitment must be above 0; got {self.value}", field=f"commitment_{self.type}")
        if self.overage_factor < 1:
            raise Invalid(f"overage_factor must be 1 or more; got {self.overage_factor}", field="overage_factor")
        if self.type is CommitmentType.quantity and self.line_item_id is None:
            raise Invalid("a subscription's commitment must be an amount", field="commitment_quantity")
        if self.duration is BillingPeriod.ONETIME:
            raise Invalid("commitment_duration must recur; ONETIME is for prices", field="commitment_duration")
        if self.windowed and (self.line_item_id is None or self.duration is not None):
            raise Invalid(
                "is_window_commitment is for lines, without a commitment_duration", field="is_window_commitment"
            )
        _check_time_buckets(self)

    def bucket_at(self, instant: datetime) -> int | None:
        """The place of the time bucket that contains `instant`; None outside of all."""
        minutes = instant.hour * 60 + instant.minute
        return next((place for place, one in enumerate(self.time_buckets) if one.contains(minutes)), None)


def check_duration(duration: BillingPeriod | None, cadences: Iterable[Cadence]) -> None:
    """A commitment that lasts must not end inside a period that is billed as a whole. Raises Invalid.

    `cadences` are the subscription's and that of the line which is committed to.
    """
    if duration is None:
        return
    for cadence in cadences:
        if not Cadence(duration).covers(cadence):
            raise Invalid(
                f"commitment_duration must not be shorter than what is billed at once, {cadence.count} x"
                f" {cadence.period}; got {duration}",
                field="commitment_duration",
            )


@dataclass(frozen=True, slots=True)
class CommitmentBuckets:
    """How a windowed commitment's windows are cut."""

    size: WindowSize
    zone: str
    anchor: datetime


@dataclass(frozen=True, slots=True)
class DueCommitment:
    """A commitment as one invoice meets it: `period` of it, of which `share` is kept when it is cut short.

    `counted` is what earlier invoices counted towards this period, `ends` whether the period ends with this invoice.
    `price` is the line's; `buckets` are there for a windowed one, whose `period` is the line's.
    """

    commitment: Commitment
    period: Period
    share: Fraction = Fraction(1)
    counted: Decimal = ZERO
    ends: bool = True
    price: Price | None = None
    buckets: CommitmentBuckets | None = None


@dataclass(frozen=True, slots=True)
class CommitmentPart:
    """How a commitment cut a line: `whole` was the line, `within` of it counts, beyond it `factor` applies.

    On a true-up line `whole` is the commitment and `within` what counted. Both are of the times of day `hours` only,
    where they are named.
    `committed` is the commitment of the period in money, `counted` what was counted before this line; both None for a
    windowed one, where each window has its own.
    """

    line_item_id: str | None
    period: Period
    whole: Fraction
    within: Fraction
    factor: Decimal
    committed: Decimal | None = None
    counted: Decimal | None = None
    hours: str | None = None


@dataclass(frozen=True, slots=True)
class CommitmentCount:
    """What lines of earlier invoices counted towards a period of a commitment."""

    line_item_id: str | None
    period: Period
    amount: Decimal


def worth_of(kind: CommitmentType, value: Decimal, price: Price | None) -> Fraction:
    """What a promise is worth in money: units are worth what their price charges for them."""
    if kind is CommitmentType.quantity and price is not None:
        return rate(price, value).amount
    return Fraction(value)


def check_aligned(bucket: TimeBucket, size: WindowSize, zone: str, anchor: datetime) -> None:
    """Raises Invalid unless windows of `size` start where the bucket starts and ends, on the day of `anchor`."""
    if size in _LONG_WINDOWS:
        raise Invalid(f"start must be of a meter with windows shorter than a day; they are {size}", field="start")
    midnight = anchor.replace(hour=0, minute=0, second=0, microsecond=0)
    for name, minutes in (("start", bucket.start), ("end", bucket.end)):
        instant = midnight + timedelta(minutes=minutes)
        if window_at(size, zone, anchor, instant).start != instant:
            raise Invalid(
                f"{name} must be where a window of {size} starts in {zone}; {clock_text(minutes)} UTC is inside one",
                field=name,
            )


def clock_text(minutes: int) -> str:
    """Minutes after midnight as 06:30."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _check_time_buckets(commitment: Commitment) -> None:
    field = "commitment_time_buckets"
    if commitment.time_buckets and not commitment.windowed:
        raise Invalid(f"{field} are for window commitments: set is_window_commitment", field=field)
    taken: set[int] = set()
    for place, bucket in enumerate(commitment.time_buckets):
        own = {minutes for minutes in range(_DAY) if bucket.contains(minutes)}
        if own & taken:
            path = f"{field}[{place}]"
            raise Invalid(f"{path} must not overlap one before: both contain {clock_text(min(own & taken))}", path)
        taken |= own
