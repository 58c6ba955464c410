"""Quantities of the real engine equal those of a plain Python reader, to the last digit, and identity counts once."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from activities.adapters.clickhouse import ClickHouseConnection
from activities.ingestion.events import Event, Placed
from activities.ingestion.sink import Sink
from activities.usage_reader import UsageReader
from billing.meters import AggregationType, Filter, Meter, UsageQuantity
from billing.periods import Period
from billing.windows import WindowSize
from models.clickhouse.times import milliseconds
from models.clickhouse.windows import Window
from models.scope import Scope
from tests.usage.reference import first_of_each, usage_of

START = datetime(2025, 1, 1, tzinfo=UTC)
YEAR = Period(START, datetime(2026, 1, 1, tzinfo=UTC))
CUSTOMER = "customer-1"
STORED_AT = milliseconds(datetime(2026, 6, 1, tzinfo=UTC))

VALUES: list[Any] = [
    "73.25", "0", "-4", "1e3", "2.5E-3", "+7", ".5", "8.", "007", " 5", "5 ", "1,000", "1.2.3", "NaN", "inf", "0x10",
    "", "0.0000000000005", "0.0000000000004999", "99999999999999999999999999.9999999999994",
    "100000000000000000000000000",
    "123456789012345678.123456789012", "1" * 61, "0." + "3" * 80, "1e-400", "9e26", "1e50", "½", "١٢",
    73, 0, -1, 2.5, 1.0, 1e21, 1e-7, 0.1, 2**53 + 1, 2**63, 2**64 - 1, True, False, None, {"x": 1}, [1], "true", "1",
    "1.0", "{", "[1]", '{"x": 1}', {}, [],
]  # fmt: skip


def sum_of(field: str, *filters: Filter, aggregation: AggregationType = AggregationType.SUM) -> Meter:
    return Meter(f"meter_{aggregation}", "m", "call", aggregation, field, filters)


OF_A_FIELD = (AggregationType.SUM, AggregationType.MAX, AggregationType.LATEST, AggregationType.COUNT_UNIQUE)
METERS = [
    Meter("count", "m", "call", AggregationType.COUNT),
    Meter("other", "m", "transfer", AggregationType.SUM, "value"),
    Meter(
        "filtered", "m", "call", AggregationType.SUM, "value", (Filter("model", ("a", "1")), Filter("up", ("true",)))
    ),
    *(sum_of("value", aggregation=kind) for kind in OF_A_FIELD),
    Meter("models", "m", "call", AggregationType.COUNT_UNIQUE, "model", (Filter("value", ("1", "73.25", "")),)),
    Meter("nothing", "m", "never", AggregationType.LATEST, "value"),
]


def event(scope: Scope, number: int, properties: dict[str, Any], at: datetime, **changes: Any) -> Event:
    made = Event(
        scope.tenant_id,
        scope.environment_id,
        CUSTOMER,
        "call",
        milliseconds(at),
        f"e-{number}",
        "test",
        msgspec.json.encode(properties).decode(),
        milliseconds(at) + number,
    )
    return msgspec.structs.replace(made, **changes)


def random_events(scope: Scope, count: int, seed: int) -> list[Event]:
    chance = random.Random(seed)
    made = []
    for number in range(count):
        properties = {
            "value": chance.choice(VALUES),
            "model": chance.choice(["a", "b", 1, 1.0, True, None, "", "[a", {"b": "{"}]),
            "up": chance.choice([True, "true", "false", 1]),
            "nested": {"value": 5, "model": "a"},
        }
        if chance.random() < 0.1:
            del properties["value"]
        # Few distinct instants, so that LATEST meets ties.
        at = START + timedelta(days=chance.randrange(40), hours=chance.choice([0, 23]))
        name = chance.choice(["call", "call", "call", "transfer", "ignored"])
        made.append(event(scope, number, properties, at, event_name=name))
    return made


async def stored(clickhouse: ClickHouseConnection, events: Sequence[Event], block: int = 700) -> int:
    sink = Sink(clickhouse)
    total = 0
    for start in range(0, len(events), block):
        placed = [Placed(one, 0, start) for one in events[start : start + block]]
        total += (await sink.store(placed, STORED_AT + start)).stored
    return total


def without_checksum(found: dict[str, UsageQuantity]) -> dict[str, UsageQuantity]:
    return {meter: replace(usage, checksum="") for meter, usage in found.items()}


@pytest.mark.parametrize("seed", range(5))
async def test_every_aggregation_equals_plain_python(
    usage_store: ClickHouseConnection, scope: Scope, seed: int
) -> None:
    events = random_events(scope, 2000, seed)
    await stored(usage_store, events)
    reader = UsageReader(usage_store)
    january = Period(START, datetime(2025, 2, 1, tzinfo=UTC))
    for period in (YEAR, january, Period(january.end, YEAR.end)):
        start, end = milliseconds(period.start), milliseconds(period.end)
        expected = {meter.id: usage_of(meter, events, start, end) for meter in METERS}
        found = await reader.read(scope, CUSTOMER, METERS, period)
        assert without_checksum(found) == expected
    rejected = expected[f"meter_{AggregationType.SUM}"].rejected_values
    assert rejected > 100  # the set of values does meet the rule


async def test_every_listed_value_alone(usage_store: ClickHouseConnection, scope: Scope) -> None:
    events = [
        event(scope, number, {"value": value}, START + timedelta(days=number)) for number, value in enumerate(VALUES)
    ]
    await stored(usage_store, events)
    meter = sum_of("value")
    days = await UsageReader(usage_store).windows(scope, CUSTOMER, meter, YEAR, Window(WindowSize.DAY))
    assert len(days) == len(VALUES)
    for value, one, (start, usage) in zip(VALUES, events, days, strict=True):
        expected = usage_of(meter, [one], milliseconds(start), milliseconds(start + timedelta(days=1)))
        assert replace(usage, checksum="") == expected, value


async def test_one_identity_counts_once_whatever_else_differs(usage_store: ClickHouseConnection, scope: Scope) -> None:
    chance = random.Random(7)
    original = [event(scope, number, {"value": str(number)}, START + timedelta(hours=number)) for number in range(300)]
    repeats = [
        msgspec.structs.replace(
            one,
            timestamp=one.timestamp + chance.choice([0, 1, 86_400_000, 45 * 86_400_000]),
            event_name=chance.choice(["call", "transfer"]),
            properties=chance.choice(['{"value":"999"}', one.properties]),
            accepted_at=one.accepted_at + 1000,
        )
        for one in original * 3
    ]
    chance.shuffle(repeats)
    # The same id of another customer, environment and tenant, and ids that only differ in where the fields end.
    others = [
        msgspec.structs.replace(original[0], external_customer_id="customer-2"),
        msgspec.structs.replace(original[0], environment_id="env_other"),
        msgspec.structs.replace(original[0], external_customer_id="customer-1e", event_id="-0"),
    ]
    everything = [*original[:150], *repeats, *original[150:], *others]
    first = first_of_each(everything)
    count = await stored(usage_store, everything, block=111)
    assert count == len(first) == 303
    assert await stored(usage_store, everything) == 0
    own = [one for one in first if one.external_customer_id == CUSTOMER and one.environment_id == scope.environment_id]
    expected = {meter.id: usage_of(meter, own, milliseconds(YEAR.start), milliseconds(YEAR.end)) for meter in METERS}
    assert without_checksum(await UsageReader(usage_store).read(scope, CUSTOMER, METERS, YEAR)) == expected
    print(f"{len(everything)} sent, {count} stored, {len(everything) - count} duplicates")


class Killed(Exception):
    """Stands where the process ends."""


class DiesAfterEvents:
    """A connection whose process ends between the two inserts."""

    def __init__(self, clickhouse: ClickHouseConnection) -> None:
        self.query = clickhouse.query
        self.command = clickhouse.command
        self.read = clickhouse.read
        self._insert = clickhouse.insert

    async def insert(self, table: str, columns: Mapping[str, str], values: Sequence[Sequence[Any]]) -> None:
        if table == "event_ids":
            raise Killed
        await self._insert(table, columns, values)


async def test_a_crash_between_the_steps_repeats_rows_that_collapse(
    usage_store: ClickHouseConnection, scope: Scope
) -> None:
    events = [event(scope, number, {"value": "1.5"}, START + timedelta(days=number % 60)) for number in range(100)]
    placed = [Placed(one, 0, 1) for one in events]
    for _ in range(3):
        with pytest.raises(Killed):
            await Sink(DiesAfterEvents(usage_store)).store(placed, STORED_AT)
    read = UsageReader(usage_store).read
    assert (await read(scope, CUSTOMER, METERS, YEAR))["count"].quantity == 100
    await Sink(usage_store).repair(everything=True)
    # After the repair a retry with another time is a duplicate, although its writer never answered.
    moved = [msgspec.structs.replace(one, timestamp=one.timestamp + 1) for one in events]
    assert await stored(usage_store, moved) == 0
    assert (await read(scope, CUSTOMER, METERS, YEAR))["count"].quantity == 100


async def test_checksum_knows_the_events_and_not_their_order(usage_store: ClickHouseConnection, scope: Scope) -> None:
    events = random_events(scope, 300, 3)
    other = Scope(scope.tenant_id, "env_shuffled")
    shuffled = [msgspec.structs.replace(one, environment_id=other.environment_id) for one in events]
    random.Random(1).shuffle(shuffled)
    await stored(usage_store, events)
    await stored(usage_store, shuffled, block=50)
    read = UsageReader(usage_store).read
    here = await read(scope, CUSTOMER, METERS, YEAR)
    there = await read(other, CUSTOMER, METERS, YEAR)
    assert {key: usage.checksum for key, usage in here.items()} == {key: usage.checksum for key, usage in there.items()}
    await stored(usage_store, [event(other, 10_000, {"value": "0"}, START)])
    later = await read(other, CUSTOMER, METERS, YEAR)
    assert later["count"].checksum != here["count"].checksum
    assert later["other"].checksum == here["other"].checksum


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("size", list(WindowSize))
async def test_windows_are_cut_by_the_local_clock(
    usage_store: ClickHouseConnection, scope: Scope, zone: str, size: WindowSize
) -> None:
    place = ZoneInfo(zone)
    instants = [START + timedelta(minutes=97 * number) for number in range(0, 5000, 9)]
    await stored(usage_store, [event(scope, number, {"value": 1}, at) for number, at in enumerate(instants)])
    expected: dict[datetime, int] = {}
    for at in instants:
        start = window_start(at.astimezone(place), size)
        expected[start] = expected.get(start, 0) + 1
    found = await UsageReader(usage_store).windows(scope, CUSTOMER, sum_of("value"), YEAR, Window(size, zone))
    assert [(start, usage.quantity) for start, usage in found] == [
        (at, Decimal(n)) for at, n in sorted(expected.items())
    ]


def window_start(local: datetime, size: WindowSize) -> datetime:
    """The start, in UTC, of the window that holds `local`."""
    minutes = {WindowSize.MINUTE: 1, WindowSize.FIFTEEN_MINUTES: 15, WindowSize.THIRTY_MINUTES: 30, WindowSize.HOUR: 60}
    if size in minutes:
        past = timedelta(minutes=local.minute % minutes[size])
        return local.astimezone(UTC).replace(second=0, microsecond=0) - past
    hours = {WindowSize.THREE_HOURS: 3, WindowSize.SIX_HOURS: 6, WindowSize.TWELVE_HOURS: 12}
    if size in hours:
        start = local.replace(hour=local.hour // hours[size] * hours[size], minute=0, fold=0)
        return start.astimezone(UTC)
    start = local.replace(hour=0, minute=0, fold=0)
    if size is WindowSize.WEEK:
        start -= timedelta(days=start.weekday())
    if size is WindowSize.MONTH:
        start = start.replace(day=1)
    return start.astimezone(UTC)


async def test_billing_months_replace_the_calendar(usage_store: ClickHouseConnection, scope: Scope) -> None:
    boundaries = tuple(datetime(2025, month, day, 18, 30, tzinfo=UTC) for month, day in ((1, 30), (2, 27), (3, 30)))
    instants = [at for boundary in boundaries for at in (boundary, boundary + timedelta(days=27))]
    await stored(usage_store, [event(scope, number, {"value": 1}, at) for number, at in enumerate(instants)])
    window = Window(WindowSize.MONTH, "Asia/Kolkata", boundaries[0])
    found = await UsageReader(usage_store).windows(
        scope, CUSTOMER, sum_of("value"), Period(boundaries[0], YEAR.end), window
    )
    assert [(start, usage.quantity) for start, usage in found] == [(boundary, Decimal(2)) for boundary in boundaries]


async def test_what_is_stored_is_what_was_sent(usage_store: ClickHouseConnection, scope: Scope) -> None:
    properties = {"deep": {"list": [1, {"x": "ü"}]}, "zero": "\0", "quote": 'a"b\\', "empty": ""}
    await stored(usage_store, [event(scope, 1, properties, START, event_id="id'\\\0\"")])
    rows = await usage_store.query(
        "SELECT event_id, properties FROM events FINAL WHERE tenant_id = {t:String}", {"t": scope.tenant_id}
    )
    assert rows[0][0] == "id'\\\0\""
    assert json.loads(rows[0][1]) == properties
