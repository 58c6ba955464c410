"""Many closes at once: few statements, each answer that of a read by itself, one tenant's failure only its own."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from activities.adapters.clickhouse import ClickHouseConnection
from activities.grouped_usage import GroupedUsage
from activities.ingestion.events import Event
from activities.usage_reader import UsageReader
from billing.meters import AggregationType, Filter, Meter
from billing.periods import Period
from billing.windows import WindowSize
from models.clickhouse.client import ClickHouseRefused
from models.scope import Scope
from tests.usage.test_usage_exact import event, stored

START, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC)
MONTH = Period(START, END)
METERS = (
    Meter("m_sum", "sum", "call", AggregationType.SUM, "n"),
    Meter("m_max", "max", "call", AggregationType.MAX, "n"),
    Meter("m_unique", "unique", "call", AggregationType.COUNT_UNIQUE, "who", (Filter("region", ("eu",)),)),
    Meter("m_average", "average", "call", AggregationType.AVG, "n"),
)

BUCKETED = (
    Meter("b_sum", "sum", "call", AggregationType.SUM, "n", bucket_size=WindowSize.DAY),
    Meter("b_max", "max", "call", AggregationType.MAX, "n", bucket_size=WindowSize.DAY, group_by="who"),
    Meter("b_month", "month", "call", AggregationType.SUM, expression="n / 3", bucket_size=WindowSize.MONTH),
)


def call(scope: Scope, customer: str, number: int, properties: dict[str, Any], at: datetime) -> Event:
    """A call of a customer."""
    return msgspec.structs.replace(event(scope, number, properties, at), external_customer_id=customer)


class Counting:
    """ClickHouse, counting statements; those that name `poison` are refused."""

    def __init__(self, clickhouse: ClickHouseConnection, poison: str = "-") -> None:
        self._clickhouse, self._poison, self.queries = clickhouse, poison, 0

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """The rows."""
        self.queries += 1
        if self._poison in (parameters or {}).values():
            raise ClickHouseRefused("this meter cannot be read")
        return await self._clickhouse.query(sql, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clickhouse, name)


@pytest.fixture
async def events(usage_store: ClickHouseConnection, scope: Scope) -> ClickHouseConnection:
    """A month of 30 customers' calls; the tenth customer has none."""
    chance = random.Random(7)
    rows = []
    for number in range(600):
        customer = number % 30
        if customer == 9:
            continue
        at = START + timedelta(seconds=chance.randrange(31 * 86_400))
        properties = {"n": str(chance.randrange(1000) / 8), "who": str(chance.randrange(9)), "region": "eu"}
        rows.append(call(scope, f"c-{customer}", number, properties, at))
    await stored(usage_store, rows)
    return usage_store


async def test_every_answer_is_that_of_a_read_by_itself(events: ClickHouseConnection, scope: Scope) -> None:
    alone, counting = UsageReader(events), Counting(events)
    grouped = GroupedUsage(counting)
    customers = [f"c-{number}" for number in range(31)] * 2
    found = await asyncio.gather(*(grouped.read(scope, each, METERS, MONTH) for each in customers))
    assert counting.queries == 1
    days = await asyncio.gather(*(grouped.daily(scope, each, METERS, MONTH, "Asia/Kolkata") for each in customers))
    assert counting.queries == 2
    for customer, totals, chart in zip(customers, found, days, strict=True):
        assert totals == await alone.read(scope, customer, METERS, MONTH), customer
        assert chart == await alone.daily(scope, customer, METERS, MONTH, "Asia/Kolkata"), customer


async def test_buckets_share_statements_too(events: ClickHouseConnection, scope: Scope) -> None:
    """One for each kind of buckets; what is cut by months, for each anchor as well."""
    alone, counting = UsageReader(events), Counting(events)
    grouped, asked = GroupedUsage(counting), (BUCKETED, MONTH, "Asia/Kolkata")
    customers = [f"c-{number}" for number in range(31)]
    anchors = [START, START + timedelta(days=14)]
    found = await asyncio.gather(
        *(grouped.buckets(scope, each, *asked, anchors[place % 2]) for place, each in enumerate(customers))
    )
    assert counting.queries == 4
    for place, (customer, buckets) in enumerate(zip(customers, found, strict=True)):
        assert buckets == await alone.buckets(scope, customer, *asked, anchors[place % 2]), customer
    assert [len(found[9][meter.id].parts) for meter in BUCKETED] == [0, 0, 0]
    assert len({part.period.start for part in found[1]["b_month"].parts}) == 2


async def test_ten_thousand_closes_take_few_statements(events: ClickHouseConnection, scope: Scope) -> None:
    counting = Counting(events)
    grouped = GroupedUsage(counting)
    other = replace(scope, environment_id="env_other")
    many = [replace(meter, id=f"{meter.id}_{number}") for number in range(6) for meter in METERS]

    async def close(number: int) -> None:
        own = other if number % 5 == 0 else scope
        await grouped.measure(own, f"c-{number}", [*many, *BUCKETED], MONTH, "UTC", START)
        await grouped.daily(own, f"c-{number}", many, MONTH, "UTC")

    await asyncio.gather(*(close(number) for number in range(10_000)))
    print(f"10,000 closes of two tenants: {counting.queries} statements")
    assert counting.queries <= 200


async def test_a_group_is_cut_in_the_order_of_customers(
    events: ClickHouseConnection, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement touches the customers that it answers, and not a few of everybody's."""
    monkeypatch.setattr("activities.grouped_usage.CUSTOMERS_A_GROUP", 7)
    asked: list[list[str]] = []

    class Noting(Counting):
        async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
            asked.append((parameters or {})["each_of"])
            return await super().query(sql, parameters)

    monkeypatch.setattr("activities.grouped_usage.DAYS_A_QUERY", 5 * 31)
    alone, grouped = UsageReader(events), GroupedUsage(Noting(events))
    customers = [f"c-{number}" for number in (8, 3, 1, 7, 5, 2, 4, 6, 10)]
    found = await asyncio.gather(*(grouped.read(scope, each, METERS, MONTH) for each in customers))
    assert asked == [sorted(customers[:7]), sorted(customers[7:])]
    asked.clear()
    await asyncio.gather(*(grouped.daily(scope, each, METERS, MONTH, "UTC") for each in customers[:7]))
    assert sorted(asked) == [sorted(customers[:7])[:5], sorted(customers[:7])[5:]]
    for customer, totals in zip(customers, found, strict=True):
        assert totals == await alone.read(scope, customer, METERS, MONTH), customer


async def test_a_meter_that_cannot_be_read_fails_only_who_needs_it(events: ClickHouseConnection, scope: Scope) -> None:
    grouped = GroupedUsage(Counting(events, poison="poison"))
    bad = (replace(METERS[0], event_name="poison"),)
    other = replace(scope, environment_id="env_other")
    answers = await asyncio.gather(
        *(grouped.read(other, f"c-{number}", bad, MONTH) for number in range(5)),
        *(grouped.read(scope, f"c-{number}", METERS, MONTH) for number in range(5)),
        return_exceptions=True,
    )
    assert all(isinstance(answer, ClickHouseRefused) for answer in answers[:5])
    assert [answer["m_sum"].event_count for answer in answers[5:] if isinstance(answer, dict)] == [20] * 5


async def test_what_is_stored_before_a_question_is_in_its_answer(events: ClickHouseConnection, scope: Scope) -> None:
    grouped = GroupedUsage(events)
    for number in range(5):
        await stored(events, [call(scope, "c-9", 1000 + number, {"n": "1"}, START)])
        counted, _ = await asyncio.gather(
            grouped.read(scope, "c-9", METERS, MONTH), grouped.read(scope, "c-1", METERS, MONTH)
        )
        assert counted["m_sum"].quantity == number + 1


async def test_who_gives_up_does_not_disturb_the_others(events: ClickHouseConnection, scope: Scope) -> None:
    grouped = GroupedUsage(events)
    first = asyncio.ensure_future(grouped.read(scope, "c-1", METERS, MONTH))
    second = asyncio.ensure_future(grouped.read(scope, "c-2", METERS, MONTH))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second)["m_sum"].event_count == 20
