"""Meters: which events count and how they fold into a quantity; and the frozen facts of a read.

Owns definitions and their checks. Reading events is the business of models/clickhouse and activities/usage_reader, and
of billing.usage_aggregation for events in memory.
Rules: billing-rules.md sections 1 and 2, usage.md section 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from msgspec import Struct

from billing.errors import Invalid
from billing.expressions.parsing import parse_expression
from billing.money import shown_decimal
from billing.periods import Period, check_utc
from billing.windows import WindowSize


class AggregationType(StrEnum):
    """How the values of a period's events fold into one quantity."""

    COUNT = "COUNT"
    SUM = "SUM"
    MAX = "MAX"
    LATEST = "LATEST"
    COUNT_UNIQUE = "COUNT_UNIQUE"
    AVG = "AVG"
    MIN = "MIN"
    SUM_WITH_MULTIPLIER = "SUM_WITH_MULTIPLIER"
    WEIGHTED_SUM = "WEIGHTED_SUM"


EXPRESSION_AGGREGATIONS: Final = (
    AggregationType.SUM,
    AggregationType.AVG,
    AggregationType.MAX,
    AggregationType.LATEST,
)
"""What can fold the values of an expression."""
FILTER_VALUES_MOST: Final = 1000
"""Of one meter: each is compared with every event, and a statement carries those of twenty meters."""


class ResetUsage(StrEnum):
    """When a meter starts again from 0."""

    BILLING_PERIOD = "BILLING_PERIOD"
    NEVER = "NEVER"


@dataclass(frozen=True, slots=True)
class Filter:
    """Property `key`, as text, must be one of `values`. Filters of a meter must all hold."""

    key: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.key:
            raise Invalid("filters.key must not be empty", field="filters.key")
        if not self.values:
            raise Invalid(f"filters.values must name at least one value for {self.key!r}", field="filters.values")


@dataclass(frozen=True, slots=True)
class Meter:
    """A named rule from events to a quantity. `field` is the property that is read; COUNT has none.

    An `expression` over the properties may stand in place of the field (SUM, AVG, MAX, LATEST). `multiplier` belongs to
    SUM_WITH_MULTIPLIER and to expressions, whose value it multiplies before that is rounded. With `bucket_size` (SUM
    and MAX) each bucket is measured and priced by itself; with `group_by` (MAX) each value of that property within it
    as well.
    """

    id: str
    name: str
    event_name: str
    aggregation: AggregationType
    field: str | None = None
    filters: tuple[Filter, ...] = ()
    reset_usage: ResetUsage = ResetUsage.BILLING_PERIOD
    multiplier: Decimal | None = None
    bucket_size: WindowSize | None = None
    group_by: str | None = None
    expression: str | None = None

    def __post_init__(self) -> None:
        if not self.event_name or self.event_name != self.event_name.strip():
            raise Invalid("event_name must be a name without spaces around it", field="event_name")
        if self.aggregation is AggregationType.COUNT and self.field:
            raise Invalid("aggregation.field must be absent for COUNT", field="aggregation.field")
        if self.expression is not None:
            _check_expression(self, self.expression)
        elif self.aggregation is not AggregationType.COUNT and not self.field:
            raise Invalid(f"aggregation.field is required for {self.aggregation}", field="aggregation.field")
        _check_multiplier(self)
        _check_buckets(self)

    @property
    def is_cumulative(self) -> bool:
        """Whether its quantity belongs to a period as a whole and cannot be told day by day: a level carried on."""
        return self.reset_usage is ResetUsage.NEVER or self.aggregation is AggregationType.WEIGHTED_SUM


@dataclass(frozen=True, slots=True)
class UsageQuantity:
    """What a meter measured: `quantity` with at most 12 digits after the point, from `event_count` events.

    `rejected_values` counts events whose value was absent, not a number or negative (they count 0).
    `checksum` identifies exactly which events, in which revisions, were counted. `exact` is the quantity where 12
    digits do not hold it (averages, weighted sums); amounts follow from it.
    """

    quantity: Decimal
    event_count: int
    rejected_values: int = 0
    checksum: str = ""
    exact: Fraction | None = None

    def __post_init__(self) -> None:
        if self.quantity < 0 or self.event_count < 0 or self.rejected_values < 0:
            found = f"quantity {self.quantity} of {self.event_count} events, {self.rejected_values} of them rejected"
            raise Invalid(f"usage must not be negative; got {found}", field="quantity")
        if self.exact is not None and shown_decimal(self.exact) != self.quantity:
            raise Invalid(f"quantity must be {self.exact} at 12 digits; got {self.quantity}", field="quantity")

    @property
    def value(self) -> Fraction:
        """The quantity, exactly."""
        return Fraction(self.quantity) if self.exact is None else self.exact


class UsagePart(Struct, frozen=True):
    """Usage of one window of a period: a bucket (of one `group`, where the meter groups) or an allowance's window."""

    period: Period
    quantity: Fraction
    group: str | None = None


@dataclass(frozen=True, slots=True)
class UsageSnapshot:
    """Usage of one meter over one period as it was read once, with the facts that prove it.

    `cutoff` is the wall-clock instant: events accepted before it were counted. `query` is the statement that was run.
    `parts`, in time order, are the windows in which it was read, where it was read in windows; `bucketed` says that
    they are buckets, each priced by itself.
    """

    id: str
    meter_id: str
    period: Period
    cutoff: datetime
    usage: UsageQuantity
    query: str = ""
    parts: tuple[UsagePart, ...] = ()
    bucketed: bool = False

    def __post_init__(self) -> None:
        check_utc(self.cutoff, "cutoff")


def share_so_far(passed_usage: UsageQuantity, passed: Period, period: Period) -> UsageQuantity:
    """What a level, weighted over the `passed` beginning of `period`, is worth of the whole; anything else as it is."""
    if passed == period:
        return passed_usage
    exact = passed_usage.value * Fraction(passed.microseconds, period.microseconds)
    shown = shown_decimal(exact)
    return replace(passed_usage, quantity=shown, exact=None if Fraction(shown) == exact else exact)


def parse_aggregation(text: str) -> AggregationType:
    """The aggregation named `text` on the API's wire. Raises Invalid naming the possible ones."""
    if text in set(AggregationType):
        return AggregationType(text)
    known = ", ".join(AggregationType)
    raise Invalid(f"aggregation.type must be one of {known}; got {text!r}", field="aggregation.type")


def parse_bucket_size(text: str) -> WindowSize:
    """The size of buckets named `text` on the API's wire. Raises Invalid naming the possible ones."""
    if text in set(WindowSize):
        return WindowSize(text)
    known = ", ".join(WindowSize)
    raise Invalid(f"aggregation.bucket_size must be one of {known}; got {text!r}", field="aggregation.bucket_size")


def parse_reset_usage(text: str) -> ResetUsage:
    """The reset named `text` on the API's wire. Raises Invalid naming the possible ones."""
    if text in set(ResetUsage):
        return ResetUsage(text)
    known = ", ".join(ResetUsage)
    raise Invalid(f"reset_usage must be one of {known}; got {text!r}", field="reset_usage")


def check_filters(filters: Sequence[Filter]) -> None:
    """Raises Invalid for more than FILTER_VALUES_MOST values in all: asked of a new meter, not of one in use."""
    values = sum(len(each.values) for each in filters)
    if values > FILTER_VALUES_MOST:
        raise Invalid(f"filters must have {FILTER_VALUES_MOST} values at most; got {values}", field="filters")


def _check_expression(meter: Meter, expression: str) -> None:
    if meter.aggregation not in EXPRESSION_AGGREGATIONS:
        known = ", ".join(EXPRESSION_AGGREGATIONS)
        raise Invalid(f"aggregation.expression is for {known} only", field="aggregation.expression")
    if meter.field:
        raise Invalid("aggregation.expression must be absent beside aggregation.field", field="aggregation.expression")
    parse_expression(expression)


def _check_multiplier(meter: Meter) -> None:
    wanted = meter.aggregation is AggregationType.SUM_WITH_MULTIPLIER
    misplaced = meter.multiplier is not None and not wanted and meter.expression is None
    if misplaced or (wanted and meter.multiplier is None) or (meter.multiplier is not None and meter.multiplier <= 0):
        raise Invalid(
            "aggregation.multiplier must be above 0 for SUM_WITH_MULTIPLIER and expressions, and absent for others",
            field="aggregation.multiplier",
        )


def _check_buckets(meter: Meter) -> None:
    bucketed = meter.bucket_size is not None
    if bucketed and meter.aggregation not in (AggregationType.SUM, AggregationType.MAX):
        raise Invalid("aggregation.bucket_size is for SUM and MAX only", field="aggregation.bucket_size")
    if bucketed and meter.reset_usage is ResetUsage.NEVER:
        raise Invalid("reset_usage must be BILLING_PERIOD for a meter with buckets", field="reset_usage")
    if meter.group_by is not None and not (bucketed and meter.aggregation is AggregationType.MAX and meter.group_by):
        raise Invalid("aggregation.group_by is for MAX with a bucket_size only", field="aggregation.group_by")
