"""Random sets of events, one customer each: what senders really send, and what nobody should.

Times gather at changes of the clocks, ends of months and shared instants; values at the edges of what a number may be.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from activities.ingestion.events import Event
from billing.periods import Period
from billing.usage_aggregation import UsageEvent
from models.clickhouse.times import instant, milliseconds
from models.scope import Scope
from starter.ingest.wire import parse_properties

ZONES = ("UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Santiago")
YEAR = Period(datetime(2025, 1, 30, 18, 30, tzinfo=UTC), datetime(2026, 1, 31, 7, 45, 30, 250_000, tzinfo=UTC))
_DAYS = [
    datetime(2025, month, day, tzinfo=UTC)
    for month, day in (
        (1, 30), (1, 31), (2, 28), (3, 8), (3, 9), (3, 31), (4, 5), (4, 6), (4, 24), (4, 25), (4, 30), (6, 30), (9, 6),
        (9, 7), (10, 4), (10, 5), (10, 30), (10, 31), (11, 1), (11, 2), (12, 31),
    )
]  # fmt: skip
"""Changes of the clocks in 2025 and ends of months, each with the day before."""

_ODD = [
    '"1e3"', '"2.5E-3"', '"+7"', '".5"', '"8."', '"007"', '" 5"', '"1,000"', '"NaN"', '"inf"', '"0x10"', '""', '"½"',
    '"0.0000000000005"', '"0.0000000000004999"', '"99999999999999999999999999.9999999999994"', '"-0.0000000000004"',
    '"100000000000000000000000000"', '"123456789012345678.123456789012345678"', f'"{"1" * 61}"', f'"0.{"3" * 50}"',
    '"1e-400"', '"9e26"', '"1e50"', "1e21", "1e-7", "0.1", "1.0", "1.50", str(2**53 + 1), str(2**63), str(10**30),
    "0.1234567890123456789012", "true", "false", "null", '{"value": 5}', "[1]", '"true"', '"eu"', "-3", "-0.5", "0",
    "12345678901234567890.5", '"61"', "61",
]  # fmt: skip
HOSTILE = "a\\b\t\n{c:String}'\""
"""What an escape or a quote too few would turn into something else on its way."""

_TEXTS = [
    '"a"', '"b"', '"1"', "1", "1.0", "true", "null", '""', '"ü€😀"', '"a b"', '{"x": 1}', "2.50", json.dumps(HOSTILE),
    '"{x"', '"[1]"',
]  # fmt: skip


_decoder = msgspec.json.Decoder(dict[str, object], float_hook=Decimal)


@dataclass(frozen=True, slots=True)
class EventSet:
    """One customer's events, as they are stored and as the rules in memory read them; in order of acceptance."""

    customer: str
    stored: tuple[Event, ...]
    events: tuple[UsageEvent, ...]


def event_sets(scope: Scope, seed: int, count: int, size: int) -> list[EventSet]:
    """`count` sets of about `size` events within and around YEAR."""
    return [_event_set(scope, random.Random(f"{seed}-{number}"), f"c-{number:04}", size) for number in range(count)]


def _event_set(scope: Scope, chance: random.Random, customer: str, size: int) -> EventSet:
    instants = [_instant(chance) for _ in range(max(1, size // 3))]
    stored, events = [], []
    for number in range(chance.randrange(size // 2, size + 1)):
        raw = _properties(chance)
        at, accepted = chance.choice(instants), chance.randrange(3)
        name = chance.choice(("call", "call", "call", "other"))
        event_id = f"e-{number}"
        properties = parse_properties(b'{"properties": ' + raw.encode() + b"}") or "{}"
        received = milliseconds(at) + accepted
        own = (scope.tenant_id, scope.environment_id, customer)
        stored.append(Event(*own, name, milliseconds(at), event_id, "test", properties, received))
        read = _decoder.decode(raw)
        events.append(UsageEvent(event_id, name, at, read, instant(received)))
    return EventSet(customer, tuple(stored), tuple(events))


def _instant(chance: random.Random) -> datetime:
    day = chance.choice(_DAYS) if chance.random() < 0.7 else YEAR.start + timedelta(days=chance.randrange(-3, 370))
    time = timedelta(hours=chance.randrange(24), minutes=chance.choice((0, 0, 29, 30, 44, 59)))
    return day + time + chance.choice((timedelta(0), timedelta(milliseconds=1), timedelta(seconds=59.999)))


def _properties(chance: random.Random) -> str:
    """A JSON object as it is sent."""
    nested = f'{{"tokens": {_number(chance)}, "model": {chance.choice(_TEXTS)}}}'
    fields = {
        "value": _number(chance),
        "other": _number(chance),
        "model": chance.choice(_TEXTS),
        "up": chance.choice(("true", "false", '"true"', '"no"', "1")),
        "usage.model": chance.choice(("null", "null", chance.choice(_TEXTS))),
        "usage": chance.choice(("7", "null", nested, nested, nested)),
    }
    kept = {key: value for key, value in fields.items() if chance.random() > 0.1}
    return "{" + ", ".join(f'"{key}": {value}' for key, value in kept.items()) + "}"


def _number(chance: random.Random) -> str:
    kind = chance.randrange(10)
    if kind < 4:
        return str(chance.randrange(1000))
    if kind < 6:
        return f'"{chance.randrange(10 ** chance.randrange(1, 9))}.{chance.randrange(10**12):012}"'
    if kind < 7:
        return f"{chance.randrange(1000)}.{chance.randrange(100)}"
    return chance.choice(_ODD)


def placed_once(sets: Sequence[EventSet]) -> list[Event]:
    """All events that are to be stored."""
    return [event for one in sets for event in one.stored]
