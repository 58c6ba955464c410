"""Meters: which events count and how they fold into a quantity; and the frozen facts of a read.

Owns definitions and their checks. Reading events is the business of models/clickhouse and activities/usage_reader.
Rules: billing-rules.md sections 1 and 2, usage.md section 4.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from billing.errors import Invalid
from billing.periods import Period, check_utc


class AggregationType(StrEnum):
    """How the values of a period's events fold into one quantity."""

    COUNT = "COUNT"
    SUM = "SUM"
    MAX = "MAX"
    LATEST = "LATEST"
    COUNT_UNIQUE = "COUNT_UNIQUE"


class ResetUsage(StrEnum):
    """When a meter starts again from 0."""

    BILLING_PERIOD = "BILLING_PERIOD"


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
    """A named rule from events to a quantity. `field` is the property that is read; COUNT has none."""

    id: str
    name: str
    event_name: str
    aggregation: AggregationType
    field: str | None = None
    filters: tuple[Filter, ...] = ()
    reset_usage: ResetUsage = ResetUsage.BILLING_PERIOD

    def __post_init__(self) -> None:
        if not self.event_name or self.event_name != self.event_name.strip():
            raise Invalid("event_name must be a name without spaces around it", field="event_name")
        if self.aggregation is AggregationType.COUNT and self.field:
            raise Invalid("aggregation.field must be absent for COUNT", field="aggregation.field")
        if self.aggregation is not AggregationType.COUNT and not self.field:
            raise Invalid(f"aggregation.field is required for {self.aggregation}", field="aggregation.field")


@dataclass(frozen=True, slots=True)
class UsageQuantity:
    """What a meter measured: `quantity` with at most 12 digits after the point, from `event_count` events.

    `rejected_values` counts events whose value was absent, not a number or negative (they count 0).
    `checksum` identifies exactly which events, in which revisions, were counted.
    """

    quantity: Decimal
    event_count: int
    rejected_values: int = 0
    checksum: str = ""

    def __post_init__(self) -> None:
        if self.quantity < 0 or self.event_count < 0 or self.rejected_values < 0:
            raise Invalid(f"usage must not be negative: {self}", field="quantity")


@dataclass(frozen=True, slots=True)
class UsageSnapshot:
    """Usage of one meter over one period as it was read once, with the facts that prove it.

    `cutoff` is the wall-clock instant: events accepted before it were counted. `query` is the statement that was run.
    """

    id: str
    meter_id: str
    period: Period
    cutoff: datetime
    usage: UsageQuantity
    query: str = ""

    def __post_init__(self) -> None:
        check_utc(self.cutoff, "cutoff")


def parse_aggregation(text: str) -> AggregationType:
    """The aggregation named `text` on the wire. Raises Invalid naming the possible ones."""
    try:
        return AggregationType(text)
    except ValueError:
        known = ", ".join(AggregationType)
        raise Invalid(f"aggregation.type must be one of {known}; got {text!r}", field="aggregation.type") from None


def parse_reset_usage(text: str) -> ResetUsage:
    """The reset named `text` on the wire. Raises Invalid naming the possible ones."""
    try:
        return ResetUsage(text)
    except ValueError:
        known = ", ".join(ResetUsage)
        raise Invalid(f"reset_usage must be one of {known}; got {text!r}", field="reset_usage") from None
