"""What usage means, in plain Python: the judge of the ClickHouse queries. Reads events, never SQL."""

import re
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import msgspec

from activities.ingestion.events import Event
from billing.meters import AggregationType, Meter, UsageQuantity

_WIDE = Context(prec=2000)
_PLAIN = re.compile(r"[+-]?([0-9]{1,60}(\.[0-9]*)?|\.[0-9]+)")
_EXPONENT = re.compile(r"[+-]?([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})[eE](\+?[0-4]?[0-9]|-[0-9]{1,3})")


def text_of(properties: dict[str, Any], key: str) -> str | None:
    """A scalar property as text: numbers without a trailing `.0`, booleans as JSON writes them."""
    value = properties.get(key)
    if value is None or isinstance(value, dict | list):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else str(value)


def number_of(text: str | None) -> Decimal | None:
    """The value that counts, rounded to 12 places; None where it is rejected."""
    if text is None or not (_PLAIN.fullmatch(text) or _EXPONENT.fullmatch(text)):
        return None
    value = Decimal(text).quantize(Decimal("1e-12"), ROUND_HALF_UP, _WIDE)
    return value if 0 <= value < Decimal(10) ** 26 else None


def first_of_each(events: Iterable[Event]) -> list[Event]:
    """The events that count: the first accepted of each identity."""
    first: dict[tuple[str, str, str, str], Event] = {}
    for event in events:
        key = (event.tenant_id, event.environment_id, event.external_customer_id, event.event_id)
        first.setdefault(key, event)
    return list(first.values())


def usage_of(meter: Meter, events: Iterable[Event], start: int, end: int) -> UsageQuantity:
    """What `meter` measured in [start, end), in milliseconds, over one customer's events in order of receipt."""
    counted = []
    for event in events:
        properties = msgspec.json.decode(event.properties)
        tests = [text_of(properties, filter_.key) in filter_.values for filter_ in meter.filters]
        if event.event_name == meter.event_name and start <= event.timestamp < end and all(tests):
            counted.append((event, text_of(properties, meter.field or "")))
    if meter.aggregation is AggregationType.COUNT:
        return UsageQuantity(Decimal(len(counted)), len(counted))
    if meter.aggregation is AggregationType.COUNT_UNIQUE:
        texts = [text for _, text in counted if text is not None]
        return UsageQuantity(Decimal(len(set(texts))), len(counted), len(counted) - len(texts))
    values = [(event, number_of(text)) for event, text in counted]
    rejected = sum(value is None for _, value in values)
    exact = [(event, value or Decimal(0)) for event, value in values]
    if meter.aggregation is AggregationType.SUM:
        quantity = Decimal(0)
        for _, value in exact:
            quantity = _WIDE.add(quantity, value)
    elif meter.aggregation is AggregationType.MAX:
        quantity = max((value for _, value in exact), default=Decimal(0))
    else:
        last = max(exact, key=lambda pair: (pair[0].timestamp, pair[0].accepted_at, pair[0].event_id), default=None)
        quantity = last[1] if last else Decimal(0)
    return UsageQuantity(quantity, len(counted), rejected)
