"""A customer with few events is measured in memory: the same digits, texts and checksums as the statement's."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from activities.adapters.clickhouse import ClickHouseConnection
from activities.usage_reader import UsageReader
from billing.meters import AggregationType, Meter, ResetUsage, UsageQuantity
from billing.periods import Period
from models.clickhouse.event_rows import find_event_rows, insert_revision
from models.clickhouse.few_events import FEW, usage_of_few
from models.clickhouse.meter_query import MeterQuery
from models.clickhouse.usage import in_batches, usage_by_meter
from models.scope import Scope
from tests.usage.test_grouped_usage import Counting
from tests.usage.test_rules_agree import SEED, TOTALS, Loaded, loaded, meter_of, query_of
from tests.usage.test_usage_exact import CUSTOMER, METERS, START, YEAR, event, random_events, stored

__all__ = ["loaded"]
KINDS = [meter_of(kind, "all") for kind in AggregationType]
SOME = 12
"""Sets of a run that are asked for one by one."""


def texts(found: Mapping[str, UsageQuantity] | None) -> dict[str, str]:
    """What is stored of each: the quantity as it is written, too."""
    return {meter: repr(usage) for meter, usage in (found or {}).items()}


async def same(clickhouse: ClickHouseConnection, query: MeterQuery) -> None:
    few = await usage_of_few(clickhouse, query)
    assert few is not None
    assert texts(few) == texts(await usage_by_meter(clickhouse, query))


def of_one(scope: Scope, meters: Sequence[Meter], period: Period, customer: str = CUSTOMER) -> MeterQuery:
    return UsageReader.query_of(UsageReader.__new__(UsageReader), scope, customer, meters, period)


@pytest.mark.parametrize("seed", range(3))
async def test_both_ways_say_the_same(usage_store: ClickHouseConnection, scope: Scope, seed: int) -> None:
    await stored(usage_store, random_events(scope, FEW, seed + 50), block=60)
    uneven = Period(START + timedelta(days=3, microseconds=1), START + timedelta(days=30, microseconds=999))
    for period in (YEAR, uneven, Period(START, START)):
        for batch in in_batches([*METERS, *KINDS]):
            await same(usage_store, of_one(scope, batch, period))
    ever = [replace(meter, reset_usage=ResetUsage.NEVER) for meter in METERS]
    await same(usage_store, of_one(scope, ever, uneven))


async def test_random_sets(loaded: Loaded) -> None:
    clickhouse: ClickHouseConnection = loaded.clickhouse  # type: ignore[assignment]  # it is one
    for one in random.Random(SEED).sample(list(loaded.sets), SOME):
        for batch in in_batches(TOTALS):
            query = replace(query_of(loaded, batch, Period(YEAR.start, YEAR.end)), each_of=())
            await same(clickhouse, replace(query, external_customer_id=one.customer))


async def test_of_events_received_together_the_later_one_is_the_latest(
    usage_store: ClickHouseConnection, scope: Scope
) -> None:
    at = datetime(2025, 1, 5, tzinfo=UTC)
    made = [event(scope, number, {"value": number}, at, accepted_at=int(at.timestamp() * 1000)) for number in (9, 5, 7)]
    for one in made:  # each in a record of its own
        await stored(usage_store, [one], block=1)
    await stored(usage_store, [msgspec.structs.replace(made[0], event_id="x", properties='{"value": 1}')])
    await same(usage_store, of_one(scope, KINDS, YEAR))


async def test_voided_and_amended_events(usage_store: ClickHouseConnection, scope: Scope) -> None:
    await stored(usage_store, random_events(scope, 20, 3))
    [first] = await find_event_rows(usage_store, scope, "e-1")
    [second] = await find_event_rows(usage_store, scope, "e-2")
    await insert_revision(usage_store, first, None, 1, 0)
    await insert_revision(usage_store, second, replace(second, properties='{"value": "3"}'), 1, 0)
    await same(usage_store, of_one(scope, [*METERS, *KINDS], YEAR))


async def test_many_events_are_the_statements(usage_store: ClickHouseConnection, scope: Scope) -> None:
    await stored(usage_store, random_events(scope, 2 * FEW, 11))
    counting = Counting(usage_store)
    reader = UsageReader(counting)
    expected = await usage_by_meter(usage_store, of_one(scope, METERS, YEAR))
    for queries in (2, 3):  # rows are not asked for a second time
        assert await reader.read(scope, CUSTOMER, METERS, YEAR) == expected
        assert counting.queries == queries
    other = Period(START, START + timedelta(days=2))
    assert (await reader.read(scope, CUSTOMER, METERS, other))["count"].event_count < FEW
