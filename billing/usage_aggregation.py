"""Meters applied to events in memory: what the simulator reads instead of ClickHouse, with the same digits.

Owns which events count and how their values fold; models/clickhouse/meter_query.py is its twin in SQL. Does not receive
or store events, nor read single values (billing.event_values, billing.expressions). Rules: billing-rules.md sections 1
and 2, usage.md section 4.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.errors import Invalid
from billing.event_values import event_value, property_text
from billing.expressions.evaluation import expression_value
from billing.meters import AggregationType, Meter, ResetUsage, UsagePart, UsageQuantity, share_so_far
from billing.money import shown_decimal
from billing.periods import Period, check_utc, to_milliseconds
from billing.windows import window_at


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One event of one customer. `properties` are JSON values whose numbers are int or Decimal.

    `received_at` is when it was accepted, absent: at its timestamp. As in the store, both count in whole milliseconds;
    of events that were accepted in the same one, `place` tells their order where it is known.
    """

    event_id: str
    event_name: str
    timestamp: datetime
    properties: Mapping[str, object] = field(default_factory=dict)
    received_at: datetime | None = None
    place: int = 0

    def __post_init__(self) -> None:
        check_utc(self.timestamp, "timestamp")
        if self.received_at is not None:
            check_utc(self.received_at, "received_at")

    @property
    def at(self) -> datetime:
        """When it happened, cut to milliseconds."""
        return to_milliseconds(self.timestamp)

    @property
    def accepted_at(self) -> datetime:
        """When it was accepted, cut to milliseconds."""
        return to_milliseconds(self.timestamp if self.received_at is None else self.received_at)


@dataclass(frozen=True, slots=True)
class _Value:
    """A matching event with the text and the number of its field; `number` is None where it is rejected."""

    event: UsageEvent
    text: str | None
    number: Decimal | None

    @property
    def counted(self) -> Fraction:
        """The number, 0 for a rejected one."""
        return Fraction(self.number or 0)


def first_accepted(events: Iterable[UsageEvent]) -> tuple[UsageEvent, ...]:
    """The events that count: of each id the first accepted, of two accepted together the earlier in `events`."""
    first: dict[str, UsageEvent] = {}
    for event in sorted(events, key=lambda event: event.accepted_at):
        first.setdefault(event.event_id, event)
    return tuple(first.values())


def measure(meter: Meter, events: Sequence[UsageEvent], period: Period) -> UsageQuantity:
    """What `meter` measured over `period`, of events that count once each, in order of acceptance.

    A meter that never resets measures everything before the period's end; one with buckets is `measure_buckets`'s.
    """
    if meter.bucket_size is not None:
        raise Invalid(f"meter {meter.id} has buckets: they are measured one by one", field="aggregation.bucket_size")
    return _quantity(meter, _values(meter, events, period), period)


def measure_chosen(meter: Meter, events: Sequence[UsageEvent], period: Period) -> UsageQuantity:
    """The same of events that all count for the meter, chosen by who read them."""
    return _quantity(meter, [_value(meter, event) for event in events], period)


def measure_until(meter: Meter, events: Sequence[UsageEvent], period: Period, at: datetime) -> UsageQuantity:
    """What `meter` measured of `period` before `at`: a level counts for the time that has passed, not for the rest."""
    if at >= period.end:
        return measure(meter, events, period)
    if at <= period.start:
        return UsageQuantity(Decimal(0), 0)
    passed = Period(period.start, at)
    found = measure(meter, events, passed)
    if meter.aggregation is not AggregationType.WEIGHTED_SUM:
        return found
    return share_so_far(found, passed, period)


def measure_parts(
    meter: Meter, events: Sequence[UsageEvent], windows: Sequence[Period], at: datetime | None = None
) -> tuple[UsagePart, ...]:
    """What `meter` measured in each of `windows` (allowance windows of a line), in their order; before `at`, or all."""
    return tuple(
        UsagePart(window, measure_until(meter, events, window, window.end if at is None else at).value)
        for window in windows
    )


def measure_buckets(
    meter: Meter, events: Sequence[UsageEvent], period: Period, zone: str, anchor: datetime
) -> tuple[UsageQuantity, tuple[UsagePart, ...]]:
    """The quantity of each bucket (and group) that has events, in time order, and their sum."""
    if meter.bucket_size is None:
        raise Invalid(f"meter {meter.id} has no buckets", field="aggregation.bucket_size")
    values = _values(meter, events, period)
    found: dict[tuple[datetime, str], tuple[Period, list[_Value]]] = {}
    for value in values:
        window = window_at(meter.bucket_size, zone, anchor, value.event.at)
        cut = Period(max(window.start, period.start), min(window.end, period.end))
        group = property_text(value.event.properties, meter.group_by) or "" if meter.group_by else ""
        found.setdefault((cut.start, group), (cut, []))[1].append(value)
    parts = tuple(
        UsagePart(cut, _folded(meter, own, cut), group if meter.group_by else None)
        for (_, group), (cut, own) in sorted(found.items(), key=lambda item: item[0])
    )
    return _usage(meter, sum((part.quantity for part in parts), Fraction(0)), values), parts


def rejected_events(meter: Meter, events: Iterable[UsageEvent], period: Period) -> tuple[UsageEvent, ...]:
    """The events whose value counts 0 because it is absent, not a number or negative."""
    return tuple(value.event for value in _values(meter, events, period) if _is_rejected(meter, value))


def matches(meter: Meter, event: UsageEvent) -> bool:
    """Whether the event counts for the meter: its name and every filter."""
    return event.event_name == meter.event_name and all(
        property_text(event.properties, one.key) in one.values for one in meter.filters
    )


def _values(meter: Meter, events: Iterable[UsageEvent], period: Period) -> list[_Value]:
    whole = meter.reset_usage is ResetUsage.NEVER
    found = []
    for event in events:
        inside = event.at < period.end and (whole or event.at >= period.start)
        if inside and matches(meter, event):
            found.append(_value(meter, event))
    return found


def _value(meter: Meter, event: UsageEvent) -> _Value:
    text = property_text(event.properties, meter.field) if meter.field else None
    return _Value(event, text, _number(meter, event, text, meter.aggregation is AggregationType.WEIGHTED_SUM))


def _number(meter: Meter, event: UsageEvent, text: str | None, negative: bool) -> Decimal | None:
    """What the event is worth: its expression times the multiplier, rounded once, or the number in its field."""
    if meter.expression is not None:
        return expression_value(meter.expression, event.properties, meter.multiplier)
    return event_value(text, negative)


def _quantity(meter: Meter, values: Sequence[_Value], period: Period) -> UsageQuantity:
    return _usage(meter, _folded(meter, values, period), values)


def _usage(meter: Meter, exact: Fraction, values: Sequence[_Value]) -> UsageQuantity:
    shown = shown_decimal(exact)
    rejected = sum(_is_rejected(meter, value) for value in values)
    return UsageQuantity(shown, len(values), rejected, exact=None if Fraction(shown) == exact else exact)


def _is_rejected(meter: Meter, value: _Value) -> bool:
    if meter.aggregation is AggregationType.COUNT:
        return False
    return (value.text if meter.aggregation is AggregationType.COUNT_UNIQUE else value.number) is None


def _folded(meter: Meter, values: Sequence[_Value], period: Period) -> Fraction:
    """One quantity of many values, exactly. No event: 0."""
    numbers = [value.counted for value in values]
    if meter.aggregation is AggregationType.COUNT:
        return Fraction(len(values))
    if meter.aggregation is AggregationType.COUNT_UNIQUE:
        return Fraction(len({value.text for value in values if value.text is not None}))
    if meter.aggregation is AggregationType.WEIGHTED_SUM:
        return _weighted_sum(values, period)
    if not numbers:
        return Fraction(0)
    if meter.aggregation is AggregationType.MAX:
        return max(numbers)
    if meter.aggregation is AggregationType.MIN:
        return min(numbers)
    if meter.aggregation is AggregationType.LATEST:
        # At one timestamp the event accepted last wins, then the larger id.
        return max(values, key=_received).counted
    whole = sum(numbers, Fraction(0))
    if meter.aggregation is AggregationType.AVG:
        return whole / len(numbers)
    if meter.aggregation is AggregationType.SUM_WITH_MULTIPLIER:
        return whole * Fraction(meter.multiplier or 1)
    return whole


def _received(value: _Value) -> tuple[datetime, datetime, int, str]:
    """By what the latest value is the latest."""
    event = value.event
    return event.at, event.accepted_at, event.place, event.event_id


def _weighted_sum(values: Sequence[_Value], period: Period) -> Fraction:
    """Changes of a level, each weighted by the share of the period that it lasts; never less than 0.

    Changes from before the period (of a meter that never resets) last for the whole of it.
    """
    level = Fraction(0)
    if not period.microseconds:
        return level
    for value in values:
        lasting = Period(max(value.event.at, period.start), period.end)
        level += value.counted * Fraction(lasting.microseconds, period.microseconds)
    return max(level, Fraction(0))
