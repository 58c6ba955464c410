"""Events that count nowhere: by which reason, as the rules in memory say, and nothing that counts among them."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

from activities.adapters.clickhouse import ClickHouseConnection
from activities.ingestion.events import Event, Placed
from activities.ingestion.sink import Sink
from billing.meters import AggregationType, Filter, Meter
from models.clickhouse.rejected_events import NO_MATCH, NO_METER, VALUE, read_rejected
from models.clickhouse.times import milliseconds
from models.scope import Scope

START = datetime(2025, 5, 1, tzinfo=UTC)
END = datetime(2025, 6, 1, tzinfo=UTC)
LARGE = (Filter("model", ("large",)),)
METERS = [
    Meter("sum", "s", "call", AggregationType.SUM, "n", LARGE),
    Meter("unique", "u", "call", AggregationType.COUNT_UNIQUE, "user", (Filter("model", ("small",)),)),
    Meter("level", "l", "storage", AggregationType.WEIGHTED_SUM, "gb"),
    Meter("count", "c", "ping", AggregationType.COUNT),
]
CASES = [
    ("call", '{"model":"large","n":"3"}', None),
    ("call", '{"model":"large","n":-1}', VALUE),
    ("call", '{"model":"large"}', VALUE),
    ("call", '{"model":"large","n":"many"}', VALUE),
    ("call", '{"model":"small","user":"u-1"}', None),
    ("call", '{"model":"small","n":"3"}', VALUE),
    ("call", '{"model":"medium","n":"3"}', NO_MATCH),
    ("call", "{}", NO_MATCH),
    ("storage", '{"gb":"-4.5"}', None),
    ("storage", '{"gb":[1]}', VALUE),
    ("ping", "{}", None),
    ("Ping", "{}", NO_METER),
    ("calls", '{"n":"3"}', NO_METER),
]


async def test_why_events_count_nowhere(usage_store: ClickHouseConnection, scope: Scope) -> None:
    chance = random.Random(1)
    expected: Counter[tuple[str, str]] = Counter()
    block = []
    for number in range(1000):
        name, properties, reason = chance.choice(CASES)
        at = milliseconds(START + timedelta(minutes=number))
        customer = f"c-{number % 7}"
        event = Event(scope.tenant_id, scope.environment_id, customer, name, at, f"e-{number}", "", properties, at)
        block.append(Placed(event, 0, 1))
        if reason is not None:
            expected[name, reason] += 1
    await Sink(usage_store).store(block, milliseconds(END))

    found = await read_rejected(usage_store, scope, METERS, START, END)

    assert {(each.event_name, each.reason): each.count for each in found} == expected
    assert [each.count for each in found] == sorted(expected.values(), reverse=True)
    assert all(each.customers == 7 and START <= each.first_at <= each.last_at < END for each in found)
    oldest = next(placed.event.event_id for placed in block if placed.event.event_name == "Ping")
    assert [each.example_event_id for each in found if each.event_name == "Ping"] == [oldest]
    nothing = await read_rejected(usage_store, scope, [], START, END)
    assert {each.reason for each in nothing} == {NO_METER}
    assert sum(each.count for each in nothing) == 1000
    assert await read_rejected(usage_store, scope, METERS, END, END + timedelta(days=30)) == []
