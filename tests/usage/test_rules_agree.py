"""ClickHouse and billing/ agree digit by digit: each aggregation, window, group and expression on 1,000 event sets.

A set is a customer; all sets are stored at once and read by one grouped statement for each shape of meter. The seed is
new each time and named in every failure: DURABILL_SEED=... plays it again.
"""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import uuid4

import pytest

from activities.adapters.clickhouse import ClickHouseConnection
from activities.ingestion.events import Placed
from activities.ingestion.sink import Sink
from billing.meters import AggregationType, Filter, Meter, ResetUsage, UsageQuantity
from billing.periods import Period
from billing.usage_aggregation import UsageEvent, measure, measure_buckets
from billing.windows import WindowSize, window_at
from models.clickhouse.client import ClickHouse
from models.clickhouse.meter_query import MeterQuery
from models.clickhouse.times import milliseconds
from models.clickhouse.usage import (
    BucketedUsage,
    in_batches,
    rows_by_customer,
    usage_by_bucket,
    usage_by_customer,
    windows_of,
)
from models.clickhouse.windows import Window
from models.scope import Scope
from tests.usage.event_sets import HOSTILE, YEAR, ZONES, EventSet, event_sets
from tests.usage.expression_texts import WRITTEN, random_expression

SEED = int(os.environ.get("DURABILL_SEED") or random.randrange(10**9))
SETS, SIZE = 1000, 6
NOTHING = UsageQuantity(Decimal(0), 0)
FILTERS = (Filter("model", ("a", "1", "2.5", "", HOSTILE)), Filter("up", ("true", "1")))
EVER = [kind for kind in AggregationType if kind is not AggregationType.SUM_WITH_MULTIPLIER]
WINDOWED = [kind for kind in AggregationType if kind is not AggregationType.WEIGHTED_SUM]
OF_EXPRESSIONS = (AggregationType.SUM, AggregationType.AVG, AggregationType.MAX, AggregationType.LATEST)
ANCHOR = datetime(2024, 10, 30, 18, 30, tzinfo=UTC)
"""The 31st in Kathmandu, the 30th elsewhere."""


def meter_of(kind: AggregationType, name: str, **changes: Any) -> Meter:
    counts = kind is AggregationType.COUNT
    multiplier = Decimal("0.000000000000007") if kind is AggregationType.SUM_WITH_MULTIPLIER else None
    made = Meter(f"{name}_{kind}", "m", "call", kind, None if counts else "value", multiplier=multiplier)
    return replace(made, **changes)


def expression_meter(number: int, text: str) -> Meter:
    multiplier = (None, None, Decimal("0.001"), Decimal(3))[number % 4]
    kind = OF_EXPRESSIONS[number % 4 if number % 2 else 0]
    return Meter(f"e{number}", "m", "call", kind, expression=text, multiplier=multiplier)


TOTALS = [
    *(meter_of(kind, "all") for kind in AggregationType),
    *(meter_of(kind, "some", filters=FILTERS) for kind in AggregationType),
    *(meter_of(kind, "ever", reset_usage=ResetUsage.NEVER) for kind in EVER),
    replace(meter_of(AggregationType.COUNT_UNIQUE, "models"), field="model"),
    replace(meter_of(AggregationType.COUNT_UNIQUE, "within"), field="usage.model"),
    replace(
        meter_of(AggregationType.SUM, "within", filters=(Filter("usage.model", ("a", "1")),)), field="usage.tokens"
    ),
    meter_of(AggregationType.COUNT, "numbers", filters=(Filter("value", ("1.5", "0.0000001", "1" + "0" * 21)),)),
]
EXPRESSIONS = [expression_meter(number, text) for number, text in enumerate(WRITTEN)]
IN_WINDOWS = [
    *(meter_of(kind, "all") for kind in WINDOWED),
    meter_of(AggregationType.SUM, "some", filters=FILTERS),
    *(replace(EXPRESSIONS[1], id=f"x{kind}", aggregation=kind) for kind in OF_EXPRESSIONS[1::2]),
]


@dataclass(frozen=True)
class Loaded:
    """The sets of this run in ClickHouse."""

    clickhouse: ClickHouse
    scope: Scope
    sets: Sequence[EventSet]


Measured = list[tuple[datetime, dict[str, UsageQuantity]]]


@cache
def sets_of_this_run() -> tuple[Scope, list[EventSet]]:
    scope = Scope(f"tenant_{uuid4().hex}", "env_test")
    return scope, event_sets(scope, SEED, SETS, SIZE)


_stored: set[str] = set()


@pytest.fixture
async def loaded(usage_store: ClickHouseConnection) -> Loaded:
    scope, sets = sets_of_this_run()
    if scope.tenant_id not in _stored:
        block = [Placed(event, 0, 0) for one in sets for event in one.stored]
        for start in range(0, len(block), 5000):
            await Sink(usage_store).store(block[start : start + 5000], milliseconds(YEAR.end))
        _stored.add(scope.tenant_id)
    return Loaded(usage_store, scope, sets)


def test_seed() -> None:
    print(f"DURABILL_SEED={SEED}")


async def test_totals(loaded: Loaded) -> None:
    for period in (
        YEAR,
        Period(datetime(2025, 3, 9, 4, 59, 59, 999_000, tzinfo=UTC), datetime(2025, 4, 6, tzinfo=UTC)),
    ):
        await agree_in_total(loaded, TOTALS, period)


async def test_expressions(loaded: Loaded) -> None:
    await agree_in_total(loaded, EXPRESSIONS, YEAR)


async def test_random_expressions(loaded: Loaded) -> None:
    chance = random.Random(SEED)
    texts = [random_expression(chance, 1 + number % 5) for number in range(16)]
    await agree_in_total(loaded, [expression_meter(number, text) for number, text in enumerate(texts)], YEAR)


@pytest.mark.parametrize("size", list(WindowSize))
async def test_windows(loaded: Loaded, size: WindowSize) -> None:
    zone = ZONES[(list(WindowSize).index(size) + SEED) % len(ZONES)]
    window = Window(size, zone, ANCHOR)
    for batch in in_batches(IN_WINDOWS):
        query = query_of(loaded, batch, YEAR, window)
        read = await rows_by_customer(loaded.clickhouse, query)
        for one in loaded.sets:
            expected = by_window(one, batch, window)
            found = [(start, plain(measured)) for start, measured in windows_of(query, read.get(one.customer, []))]
            assert found == expected, f"{one.customer} {zone} DURABILL_SEED={SEED}"


def by_window(
    one: EventSet, meters: Sequence[Meter], window: Window
) -> list[tuple[datetime, dict[str, UsageQuantity]]]:
    """What the rules in memory say of each window that has events of the meters' name."""
    split: dict[Period, list[UsageEvent]] = {}
    for event in one.events:
        if event.event_name == "call" and YEAR.contains(event.at):
            split.setdefault(window_at(window.size, window.zone, ANCHOR, event.at), []).append(event)
    return [
        (whole.start, {meter.id: measure(meter, own, whole) for meter in meters})
        for whole, own in sorted(split.items(), key=lambda item: item[0].start)
    ]


@pytest.mark.parametrize("size", list(WindowSize))
async def test_buckets_and_groups(loaded: Loaded, size: WindowSize) -> None:
    zone = ZONES[(list(WindowSize).index(size) + SEED + 3) % len(ZONES)]
    sums = [
        meter_of(AggregationType.SUM, "b", bucket_size=size),
        meter_of(AggregationType.MAX, "b", bucket_size=size, filters=FILTERS),
        replace(EXPRESSIONS[2], id="bx", bucket_size=size),
    ]
    grouped = [
        meter_of(AggregationType.MAX, "g", bucket_size=size, group_by="model"),
        replace(EXPRESSIONS[0], id="gx", aggregation=AggregationType.MAX, bucket_size=size, group_by="model"),
    ]
    within = [meter_of(AggregationType.MAX, "w", bucket_size=size, group_by="usage.model")]
    for meters in (sums, grouped, within):
        query = query_of(loaded, meters, YEAR, Window(size, zone, ANCHOR))
        read = await usage_by_bucket(loaded.clickhouse, query)
        for one in loaded.sets:
            found = read.get((one.customer,), {})
            for meter in meters:
                usage, parts = measure_buckets(meter, one.events, YEAR, zone, ANCHOR)
                told = found.get(meter.id, BucketedUsage(NOTHING))
                assert (replace(told.usage, checksum=""), told.parts) == (usage, parts), (
                    f"{one.customer} {meter} {zone} DURABILL_SEED={SEED}"
                )


def query_of(loaded: Loaded, meters: Sequence[Meter], period: Period, window: Window | None = None) -> MeterQuery:
    scope, customers = loaded.scope, tuple(one.customer for one in loaded.sets)
    group = meters[0].group_by
    return MeterQuery(
        scope.tenant_id,
        scope.environment_id,
        None,
        tuple(meters),
        period.start,
        period.end,
        window,
        each_of=customers,
        group_by=(f"properties.{group}",) if group else (),
    )


def plain(measured: dict[str, UsageQuantity]) -> dict[str, UsageQuantity]:
    return {meter: replace(usage, checksum="") for meter, usage in measured.items()}


async def agree_in_total(loaded: Loaded, meters: Sequence[Meter], period: Period) -> None:
    for batch in in_batches(meters):
        read = await usage_by_customer(loaded.clickhouse, query_of(loaded, batch, period))
        for one in loaded.sets:
            found = plain(read.get(one.customer, {}))
            for meter in batch:
                expected = measure(meter, one.events, period)
                assert found.get(meter.id, NOTHING) == expected, f"{one.customer} {meter} DURABILL_SEED={SEED}"
