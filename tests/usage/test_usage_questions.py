"""What the usage routes ask: by event name, in billing months, and lists of events."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from activities.adapters.clickhouse import ClickHouseConnection
from activities.ingestion.events import Event, Placed
from activities.ingestion.sink import Sink
from activities.usage_reader import UsageReader, meter_of
from billing.errors import Invalid
from billing.meters import AggregationType
from billing.periods import Period
from billing.windows import WindowSize
from models.clickhouse.event_query import EventQuery
from models.clickhouse.times import milliseconds
from models.clickhouse.windows import Window
from models.scope import Scope

START = datetime(2025, 1, 1, tzinfo=UTC)
END = datetime(2026, 1, 1, tzinfo=UTC)


async def store(clickhouse: ClickHouseConnection, scope: Scope, number: int, at: datetime, **changes: Any) -> None:
    stamps = milliseconds(at), milliseconds(at) + 1
    properties = changes.pop("properties", f'{{"n":{number},"even":{"true" if number % 2 == 0 else "false"}}}')
    made = Event(
        scope.tenant_id, scope.environment_id, "c-1", "call", stamps[0], f"e-{number:03}", "api", properties, stamps[1]
    )
    await Sink(clickhouse).store([Placed(msgspec.structs.replace(made, **changes), 0, 1)], stamps[1])


def query(scope: Scope, **changes: Any) -> EventQuery:
    return EventQuery(scope.tenant_id, scope.environment_id, START, END, **changes)


async def test_pages_of_events_newest_first(usage_store: ClickHouseConnection, scope: Scope) -> None:
    for number in range(7):
        # Three events share each instant, so that the key must tell them apart.
        await store(usage_store, scope, number, START + timedelta(hours=number // 3))
    reader = UsageReader(usage_store)
    seen: list[str] = []
    key = None
    for _ in range(3):
        page = await reader.events(query(scope, page_size=3, after=key))
        seen.extend(event.event_id for event in page.events)
        assert page.total == 7
        key = page.next_key
    assert seen == [f"e-{number:03}" for number in reversed(range(7))]
    assert key is None
    skipped = await reader.events(query(scope, page_size=3, offset=5))
    assert [event.event_id for event in skipped.events] == ["e-001", "e-000"]


async def test_pages_in_both_directions_and_orders(usage_store: ClickHouseConnection, scope: Scope) -> None:
    """Also where customers share an id and an instant: no event is skipped, none is told twice."""
    for number in range(4):
        for customer in ("c-1", "c-2"):
            name = ("call", "transfer")[number % 2]
            await store(usage_store, scope, number, START, external_customer_id=customer, event_name=name)
    reader = UsageReader(usage_store)
    for changes in ({}, {"ascending": True}, {"by_name": True}, {"by_name": True, "ascending": True}):
        whole = (await reader.events(query(scope, **changes))).events
        assert len(whole) == 8
        first = await reader.events(query(scope, page_size=3, **changes))
        second = await reader.events(query(scope, page_size=3, after=first.last_key, **changes))
        third = await reader.events(query(scope, page_size=3, after=second.last_key, **changes))
        assert (*first.events, *second.events, *third.events) == whole
        assert (first.more, second.more, third.more) == (True, True, False)
        back = await reader.events(query(scope, page_size=3, before=third.first_key, **changes))
        assert (back.events, back.more) == (second.events, True)
        front = await reader.events(query(scope, page_size=3, before=second.first_key, **changes))
        assert (front.events, front.more) == (first.events, False)
    names = [event.event_name for event in (await reader.events(query(scope, by_name=True, ascending=True))).events]
    assert names == ["call"] * 4 + ["transfer"] * 4


async def test_each_condition_narrows_the_list(usage_store: ClickHouseConnection, scope: Scope) -> None:
    await store(usage_store, scope, 0, START)
    await store(usage_store, scope, 1, START + timedelta(days=1), external_customer_id="c-2")
    await store(usage_store, scope, 2, START + timedelta(days=2), event_name="transfer")
    await store(usage_store, scope, 3, START + timedelta(days=3), source="batch")
    await store(usage_store, scope, 4, END)
    for changes, expected in (
        ({}, [3, 2, 1, 0]),
        ({"external_customer_id": "c-1"}, [3, 2, 0]),
        ({"event_name": "call"}, [3, 1, 0]),
        ({"source": "api"}, [2, 1, 0]),
        ({"event_id": "e-002"}, [2]),
        ({"properties": {"even": ("true",)}}, [2, 0]),
        ({"properties": {"even": ("true", "false"), "n": ("3",)}}, [3]),
        ({"properties": {"absent": ("",)}}, []),
    ):
        page = await UsageReader(usage_store).events(query(scope, **changes))
        assert [event.event_id for event in page.events] == [f"e-{number:03}" for number in expected], changes


async def test_an_event_comes_back_as_it_was_sent(usage_store: ClickHouseConnection, scope: Scope) -> None:
    at = datetime(2025, 5, 1, 12, 30, 0, 123000, UTC)
    await store(usage_store, scope, 1, at, properties='{"a":"x","b":1.50,"c":null,"d":{"e":[1,2]}}')
    event = (await UsageReader(usage_store).events(query(scope))).events[0]
    assert (event.timestamp, event.accepted_at) == (at, at + timedelta(milliseconds=1))
    assert event.properties == {"a": "x", "b": Decimal("1.50"), "c": None, "d": {"e": [1, 2]}}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"page_size": 51}, "page_size"),
        ({"page_size": 0}, "page_size"),
        ({"offset": -1}, "offset"),
        ({"after": "x"}, "iter_last_key"),
        ({"before": "e30="}, "iter_first_key"),
        ({"before": "x", "after": "x"}, "iter_first_key"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(scope: Scope, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        query(scope, **changes).to_sql()
    assert refused.value.field == field


async def test_usage_by_event_name_of_one_and_of_all_customers(usage_store: ClickHouseConnection, scope: Scope) -> None:
    for number in range(4):
        await store(usage_store, scope, number, START, external_customer_id=f"c-{number % 2}")
    total = UsageReader(usage_store).total
    year = Period(START, END)
    by_name = meter_of("call", AggregationType.SUM, "n", {})
    assert (await total(scope, "c-1", by_name, year)).quantity == 4  # 1 + 3
    assert (await total(scope, None, by_name, year)).quantity == 6  # 0 + 1 + 2 + 3
    assert (await total(scope, None, meter_of("call", AggregationType.SUM, None, {}), year)).quantity == 4
    filtered = meter_of(" call ", AggregationType.MAX, "n", {"even": ["true"]})
    assert (await total(scope, None, filtered, year)).quantity == 2
    assert (await total(scope, "nobody", filtered, year)).quantity == 0


async def test_months_of_an_anchor_on_the_31st(usage_store: ClickHouseConnection, scope: Scope) -> None:
    # 31 Jan, 28 Feb, 31 Mar, 30 Apr at 00:00 in Kolkata are 18:30 UTC of the day before.
    anchor = datetime(2025, 1, 30, 18, 30, tzinfo=UTC)
    boundaries = [datetime(2025, month, day, 18, 30, tzinfo=UTC) for month, day in ((1, 30), (2, 27), (3, 30), (4, 29))]
    period = Period(boundaries[0], boundaries[3])
    for number, boundary in enumerate(boundaries):
        await store(usage_store, scope, number, boundary)
        await store(usage_store, scope, number + 10, boundary - timedelta(milliseconds=1))
    window = Window(WindowSize.MONTH, "Asia/Kolkata", anchor)
    meter = meter_of("call", AggregationType.COUNT, None, {})
    found = await UsageReader(usage_store).windows(scope, "c-1", meter, period, window)
    assert [(start, usage.quantity) for start, usage in found] == [
        (boundary, Decimal(2)) for boundary in boundaries[:3]
    ]
