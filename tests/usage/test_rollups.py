"""Sealed usage has the digits of the events, whatever arrives after a seal, and whoever dies or competes."""

import asyncio
import os
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from activities.adapters.clickhouse import ClickHouseConnection
from activities.ingestion.events import Event
from activities.usage_reader import UsageReader
from activities.usage_rollups import UsageRollups
from activities.usage_sealing import Environment, UsageSealer
from billing.meters import AggregationType, Filter, Meter, ResetUsage, UsageQuantity
from billing.periods import Period
from models.clickhouse.client import ClickHouseUnavailable
from models.clickhouse.event_rows import find_event_rows, insert_revision
from models.clickhouse.usage_periods import OpenPeriod
from models.clickhouse.usage_seals import DAYS, HOURS, read_seals
from models.clickhouse.usage_series import has_series
from models.scope import Scope
from tests.usage.test_usage_exact import VALUES, event, stored

NOW = datetime(2025, 3, 9, 10, 41, tzinfo=UTC)
SOME = (Filter("model", ("a", "1")),)
VALUED = [kind for kind in AggregationType if kind is not AggregationType.COUNT]
METERS = [
    Meter("count", "m", "call", AggregationType.COUNT),
    Meter("least", "m", "call", AggregationType.MIN, "size", SOME),
    Meter("most", "m", "transfer", AggregationType.MAX, "size"),
    Meter("other", "m", "transfer", AggregationType.SUM, "value", SOME),
    *(
        Meter(
            f"{kind}{len(filters)}", "m", "call", kind, "value", filters,
            multiplier=Decimal("0.003") if kind is AggregationType.SUM_WITH_MULTIPLIER else None,
        )
        for kind in VALUED
        for filters in ((), SOME)
    ),
]  # fmt: skip
EVER = [
    replace(meter, id=f"ever_{meter.id}", reset_usage=ResetUsage.NEVER)
    for meter in METERS
    if meter.aggregation is not AggregationType.WEIGHTED_SUM
]
OPEN = (
    OpenPeriod(datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC)),
    OpenPeriod(datetime(2025, 1, 15, 5, tzinfo=UTC), datetime(2025, 2, 15, 5, tzinfo=UTC)),
)
CUSTOMERS = ("small", "large", "none")


def calls(scope: Scope, count: int, seed: int, first: int = 0) -> list[Event]:
    """Events of three months, many of them at the edges of days, hours and months, some after NOW."""
    chance = random.Random(seed)
    made = []
    for number in range(first, first + count):
        at = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=chance.randrange(70 * 24))
        at += chance.choice([timedelta(0), timedelta(milliseconds=-1), timedelta(seconds=chance.randrange(3600))])
        properties = {
            "value": chance.choice(VALUES),
            "model": chance.choice(["a", "b", 1]),
            "size": chance.randrange(5, 99),
        }
        name = chance.choice(["call", "call", "transfer", "ignored"])
        customer = chance.choice(["small", "large", "large", "large"])
        made.append(event(scope, number, properties, at, event_name=name, external_customer_id=customer))
    return made


def periods(seed: int) -> list[Period]:
    """Months from whole days, hours, any instant; a short one, one to come, a year."""
    chance = random.Random(seed)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    anywhere = start + timedelta(milliseconds=chance.randrange(30 * 86_400_000))
    return [
        Period(start, datetime(2025, 2, 1, tzinfo=UTC)),
        Period(start + timedelta(days=14, hours=5), datetime(2025, 2, 15, 5, tzinfo=UTC)),
        Period(anywhere, anywhere + timedelta(days=31)),
        Period(anywhere, anywhere + timedelta(minutes=30)),
        Period(datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC)),
        Period(datetime(2024, 6, 1, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=UTC)),
    ]


class World:
    """One tenant's usage, its sealer, and both ways to read it."""

    def __init__(self, clickhouse: ClickHouseConnection, scope: Scope) -> None:
        self.clickhouse, self.scope = clickhouse, scope
        self.sealer = UsageSealer(clickhouse, 37, large_events=300, many_events=0, dense_events=0)
        self.rollups = UsageRollups(clickhouse, 37, lambda: NOW)
        self.raw = UsageReader(clickhouse)
        self.revision = 0

    async def seal(self, now: datetime = NOW, meters: Sequence[Meter] = (*METERS, *EVER)) -> int:
        """A whole pass."""
        self.rollups.forget()
        return await self.sealer.seal(Environment(self.scope, tuple(meters), OPEN), now)

    async def correct(self, chance: random.Random, events: Sequence[Event], count: int) -> None:
        """Voids some events, amends others in value, name or time."""
        for one in chance.sample(events, count):
            found = await find_event_rows(self.clickhouse, self.scope, one.event_id, one.external_customer_id)
            if not found:
                continue
            self.revision += 1
            moved = replace(found[0], timestamp=found[0].timestamp + chance.randrange(-40, 40) * 3_600_000)
            changed = chance.choice(
                [None, moved, replace(found[0], properties='{"value": "12.5", "model": "a"}'),
                 replace(found[0], event_name=chance.choice(["call", "transfer"]), properties='{"value": 3}')]
            )  # fmt: skip
            await insert_revision(self.clickhouse, found[0], changed, self.revision, found[0].accepted_at)

    async def compare(self, seed: int, starts: Sequence[datetime] = ()) -> int:
        """Both ways agree for every customer, alone and together, every period and meter; how much came from cells."""
        used = 0
        chance = random.Random(seed)
        some = [period for period in periods(seed) if period.start in starts] or chance.sample(periods(seed), 2)
        for period in some:
            meters = chance.choice((METERS, EVER))
            alone = {each: await self.raw.read(self.scope, each, meters, period) for each in CUSTOMERS}
            for asked in (*((each,) for each in CUSTOMERS), CUSTOMERS):
                rolled = await self.rollups.read(self.scope, asked, meters, period)
                if rolled is None:
                    continue
                used += 1
                for customer in set(asked) - set(rolled.left):
                    expected = {key: each for key, each in alone[customer].items()}
                    found = expected_of(meters, rolled.found.get(customer, {}))
                    assert found == expected, (customer, period)
        return used


def expected_of(meters: Sequence[Meter], found: dict[str, UsageQuantity]) -> dict[str, UsageQuantity]:
    """What a meter that is not mentioned measured: nothing."""
    nothing = UsageQuantity(Decimal(0), 0, 0, f"{0:032x}")
    return {meter.id: found.get(meter.id, nothing) for meter in meters}


@pytest.fixture
def world(usage_store: ClickHouseConnection, scope: Scope) -> World:
    """A world without events."""
    return World(usage_store, scope)


@pytest.mark.parametrize("seed", range(12 if os.environ.get("FAULTS_LONG") else 2))
async def test_cells_and_events_have_the_same_digits(world: World, seed: int) -> None:
    chance = random.Random(seed)
    events = calls(world.scope, 1500, seed)
    await stored(world.clickhouse, events, block=97)
    assert await world.compare(seed) == 0, "nothing is sealed yet"
    assert await world.seal() > 1000
    assert await world.compare(seed) > 2
    # After the seal: late events, events of now, repeated rows as after a crash, corrections.
    late = calls(world.scope, 60, seed + 100, first=10_000)
    await stored(world.clickhouse, [*late, *events[:50]], block=13)
    await world.correct(chance, [*events, *late], 25)
    assert await world.compare(seed + 1) > 2
    assert await world.seal(NOW + timedelta(hours=20)) > 50
    assert await world.compare(seed + 2) > 2
    # A day later, with nothing new: the periods to date move on.
    await world.seal(NOW + timedelta(hours=44))
    assert await world.compare(seed, [OPEN[0].start, OPEN[1].start]) > 2


@pytest.mark.parametrize(("events", "share"), [(10**9, 0), (0, 10**6)])
async def test_of_few_events_only_a_large_customer_has_cells(world: World, events: int, share: int) -> None:
    """Too few events in all, or too few for each customer: others are read from the events, with the same digits."""
    world.sealer = UsageSealer(world.clickhouse, 37, large_events=150, many_events=events, dense_events=share)
    happened = calls(world.scope, 1500, 5)
    await stored(world.clickhouse, happened, block=97)
    await world.seal()
    seals = await read_seals(world.clickhouse, world.scope)
    assert {seal.layer.external_customer_id for seal in seals} == {"large"}
    assert {seal.layer.level for seal in seals} == {HOURS, DAYS}
    assert await world.compare(5) > 0
    await world.correct(random.Random(5), happened, 25)
    await world.seal(NOW + timedelta(hours=20))
    assert await world.compare(6) > 0


async def test_an_event_counts_from_the_instant_at_which_it_is_stored(world: World) -> None:
    """Whatever a sealer, and another one beside it, are doing meanwhile."""
    month = Period(datetime(2025, 2, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC))
    sums, stop = METERS[:2], asyncio.Event()

    async def keep_sealing(number: int) -> None:
        while not stop.is_set():
            await world.seal(NOW + timedelta(hours=number), sums)

    async def send() -> None:
        for number in range(25):
            at = datetime(2025, 2, 1 + number, number % 24, tzinfo=UTC)
            await stored(world.clickhouse, [event(world.scope, number, {}, at, external_customer_id="small")])
            found = await world.rollups.read(world.scope, ("small",), sums, month)
            if found is not None:
                assert found.found["small"]["count"].event_count == number + 1
        stop.set()

    async with asyncio.TaskGroup() as both:
        for number in range(2):
            both.create_task(keep_sealing(number))
        both.create_task(send())
    await world.seal(NOW + timedelta(hours=2), sums)
    found = await world.rollups.read(world.scope, ("small",), sums, month)
    assert found is not None
    assert found.found["small"]["count"].quantity == 25


async def test_a_sealer_that_is_killed_leaves_nothing_wrong(world: World, clickhouse_dsn: str) -> None:
    events = calls(world.scope, 800, 7)
    await stored(world.clickhouse, events)
    for after in (1, 3):  # cells of the first share; of several
        late = calls(world.scope, 40, 70 + after, first=10_000 * after)
        await stored(world.clickhouse, late)
        before = await cells(world)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.usage.sealing_process", clickhouse_dsn, world.scope.tenant_id
        )
        async with asyncio.timeout(60):
            while process.returncode is None and await cells(world) < before + after:  # noqa: ASYNC110 (ClickHouse tells nobody)
                await asyncio.sleep(0.005)
        assert process.returncode is None, "it was to be killed in the middle"
        process.kill()
        await process.wait()
        world.rollups.forget()
        await world.compare(after)
    await world.seal()
    assert await world.compare(3) > 2


class Dies:
    """ClickHouse for a sealer that dies when it is about to say for the n-th time that cells are complete."""

    def __init__(self, clickhouse: Any, says: int) -> None:
        self._clickhouse, self._left = clickhouse, says

    async def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Runs it, or not."""
        if sql.startswith("INSERT INTO usage_seals"):
            if not self._left:
                raise ClickHouseUnavailable("dead")
            self._left -= 1
        await self._clickhouse.command(sql, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clickhouse, name)


@pytest.mark.parametrize("says", [0, 3, 4, 5])
async def test_cells_that_nobody_vouches_for_change_nothing(world: World, says: int) -> None:
    """The sealer of the next day dies after it has written days, hours or a period to date."""
    some = (*METERS[:1], *METERS[-4:])
    await stored(world.clickhouse, calls(world.scope, 600, 5))
    await world.seal(meters=some)
    await stored(world.clickhouse, calls(world.scope, 60, 6, first=10_000))
    dying = UsageSealer(Dies(world.clickhouse, says), 37, large_events=100, many_events=0, dense_events=0)
    with pytest.raises(ClickHouseUnavailable):
        await dying.seal(Environment(world.scope, some, OPEN), NOW + timedelta(hours=20))
    world.rollups.forget()
    for period in (periods(1)[4], periods(1)[1]):
        for asked in (("large",), CUSTOMERS):
            rolled = await world.rollups.read(world.scope, asked, some, period)
            assert rolled is not None
            for customer in set(asked) - set(rolled.left):
                expected = await world.raw.read(world.scope, customer, some, period)
                assert expected_of(some, rolled.found.get(customer, {})) == expected


async def cells(world: World) -> int:
    """Cells written so far, in all their versions."""
    bound = {"tenant_id": world.scope.tenant_id}
    rows = await world.clickhouse.query("SELECT count() FROM usage_cells WHERE tenant_id = {tenant_id:String}", bound)
    return int(rows[0][0])


def test_what_cannot_be_rolled_up_has_no_series() -> None:
    level = Meter("level", "m", "call", AggregationType.WEIGHTED_SUM, "value", reset_usage=ResetUsage.NEVER)
    assert not has_series(level)
    assert all(has_series(meter) for meter in (*METERS, *EVER))
