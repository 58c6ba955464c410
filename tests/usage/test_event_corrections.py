"""Voids and amendments: what counts afterwards, what history says, and that nothing is half done for long."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from activities.adapters.clickhouse import ClickHouseConnection
from activities.event_corrections import Amendment, Correction, EventCorrections, apply_every_pending, apply_pending
from activities.ingestion.events import Event, Placed
from activities.ingestion.sink import Sink
from activities.usage_reader import UsageReader
from billing.errors import Conflict, Invalid, NotFound
from billing.meters import AggregationType, Meter, UsageQuantity
from billing.periods import Period
from models.clickhouse.client import ClickHouse, ClickHouseUnavailable
from models.clickhouse.times import milliseconds
from models.database import Database
from models.migrate import migrate_postgres
from models.queries.event_corrections import list_corrections
from models.queries.paging import Page
from models.scope import Scope

MAY = datetime(2025, 5, 1, tzinfo=UTC)
JUNE = datetime(2025, 6, 1, tzinfo=UTC)
SUM = Meter("sum", "m", "call", AggregationType.SUM, "n")
LATEST = Meter("latest", "m", "call", AggregationType.LATEST, "n")


@dataclass
class Store:
    """A tenant's events: c-1 called three times in May, for 1, 2 and 4."""

    database: Database
    clickhouse: ClickHouseConnection
    scope: Scope

    @property
    def corrections(self) -> EventCorrections:
        return EventCorrections(self.database, self.clickhouse)

    def ask(self, event_id: str, customer: str | None = None, reason: str = "sent by mistake") -> Correction:
        return Correction(self.scope, event_id, customer, reason, "key_1")

    async def send(self, event_id: str, n: int, day: int, customer: str = "c-1") -> None:
        at = milliseconds(MAY + timedelta(days=day - 1))
        event = Event(*_fields(self.scope), customer, "call", at, event_id, "api", f'{{"n":"{n}"}}', at)
        await Sink(self.clickhouse).store([Placed(event, 3, 100 + day)], at + 5)

    async def usage(self, start: datetime = MAY, end: datetime = JUNE) -> dict[str, UsageQuantity]:
        return await UsageReader(self.clickhouse).read(self.scope, "c-1", [SUM, LATEST], Period(start, end))

    async def sum(self, start: datetime = MAY, end: datetime = JUNE) -> int:
        quantity = (await self.usage(start, end))["sum"].quantity
        assert quantity == int(quantity)
        return int(quantity)

    async def history(self) -> list[tuple[str, str, int, bool]]:
        async with self.database.transaction(self.scope) as session:
            rows, _ = await list_corrections(session, self.scope, Page())
        return [(row.event_id, row.action, row.revision, row.applied_at is not None) for row in reversed(rows)]


def _fields(scope: Scope) -> tuple[str, str]:
    return scope.tenant_id, scope.environment_id


@pytest.fixture
async def store(usage_store: ClickHouseConnection, scope: Scope, postgres_dsn: str) -> AsyncIterator[Store]:
    await migrate_postgres(postgres_dsn)
    database = Database(postgres_dsn)
    made = Store(database, usage_store, scope)
    for number, n in enumerate((1, 2, 4)):
        await made.send(f"e-{number}", n, 10 + number)
    yield made
    await database.close()


async def test_a_void_event_does_not_count_and_never_comes_back(store: Store) -> None:
    before = await store.usage()
    row = await store.corrections.void(store.ask("e-1"))
    after = await store.usage()
    assert after["sum"].quantity == 5  # 1 + 4
    assert after["sum"].event_count == 2
    assert after["sum"].checksum != before["sum"].checksum
    assert (row.action, row.revision, row.reason, row.created_by) == ("void", 1, "sent by mistake", "key_1")
    assert (row.before["properties"], row.after) == ('{"n":"2"}', {})
    await store.send("e-1", 2, 11)  # a client that repeats what it has sent
    assert await store.sum() == 5
    again = await store.corrections.void(store.ask("e-1", reason="another reason"))
    assert (again.id, again.reason) == (row.id, "sent by mistake")
    assert await store.history() == [("e-1", "void", 1, True)]
    with pytest.raises(Conflict, match="void and cannot be amended"):
        await store.corrections.amend(store.ask("e-1"), Amendment(properties="{}"))
    with pytest.raises(NotFound):
        await store.corrections.find(store.scope, "e-1", None)


async def test_an_amended_event_counts_as_amended_at_its_place(store: Store) -> None:
    first = await store.corrections.amend(store.ask("e-2"), Amendment(properties='{"n":"40"}'))
    assert await store.sum() == 43  # 1 + 2 + 40
    second = await store.corrections.amend(store.ask("e-2"), Amendment(properties='{"n":"8"}', source="mended"))
    assert await store.sum() == 11  # 1 + 2 + 8
    repeated = await store.corrections.amend(store.ask("e-2"), Amendment(properties='{"n":"8"}'))
    assert (first.revision, second.revision, repeated.id) == (1, 2, second.id)
    assert (second.before["properties"], second.after["properties"]) == ('{"n":"40"}', '{"n":"8"}')
    event = await store.corrections.find(store.scope, "e-2", None)
    assert (event.source, event.kafka_partition, event.kafka_offset, event.revision) == ("mended", 3, 112, 2)
    with pytest.raises(Invalid, match="says so already"):
        await store.corrections.amend(store.ask("e-0"), Amendment(source="api"))


async def test_another_time_moves_the_event_to_another_period_and_back(store: Store) -> None:
    july = Period(JUNE + timedelta(days=30), JUNE + timedelta(days=61))
    moved = Amendment(timestamp=milliseconds(july.start))
    home = (await store.corrections.find(store.scope, "e-0", None)).timestamp
    await store.corrections.amend(store.ask("e-0"), moved)
    assert (await store.sum(), await store.sum(july.start, july.end)) == (6, 1)  # 2 + 4 in May, 1 in July
    await store.corrections.amend(store.ask("e-0"), Amendment(timestamp=home, event_name="call"))
    assert (await store.sum(), await store.sum(july.start, july.end)) == (7, 0)
    await store.corrections.amend(store.ask("e-0"), Amendment(event_name="other"))
    assert await store.sum() == 6
    await store.corrections.void(store.ask("e-0"))
    assert (await store.sum(), await store.sum(july.start, july.end)) == (6, 0)
    assert [revision for _, _, revision, _ in await store.history()] == [1, 2, 3, 4]


async def test_an_id_of_several_customers_needs_the_customer(store: Store) -> None:
    await store.send("e-0", 100, 12, customer="c-2")
    with pytest.raises(Invalid) as refused:
        await store.corrections.void(store.ask("e-0"))
    assert refused.value.field == "external_customer_id"
    await store.corrections.void(store.ask("e-0", "c-2"))
    assert await store.sum() == 7
    await store.corrections.void(store.ask("e-0"))  # one is left
    assert await store.sum() == 6


async def test_what_is_not_there_or_another_tenants_is_not_found(store: Store) -> None:
    stranger = replace(store, scope=replace(store.scope, tenant_id="tenant_stranger"))
    other_world = replace(store, scope=replace(store.scope, environment_id="env_other"))
    for asker, event_id, customer in ((store, "e-9", None), (store, "e-0", "c-9"), (stranger, "e-0", None),
                                      (other_world, "e-0", "c-1")):  # fmt: skip
        with pytest.raises(NotFound):
            await asker.corrections.void(asker.ask(event_id, customer))
        with pytest.raises(NotFound):
            await asker.corrections.amend(asker.ask(event_id, customer), Amendment(source="x"))
    assert await store.sum() == 7


async def test_many_corrections_at_once_are_made_one_after_the_other(store: Store) -> None:
    amendments = [Amendment(properties=f'{{"n":"{n}"}}') for n in range(10, 20)]
    await asyncio.gather(*(store.corrections.amend(store.ask("e-0"), each) for each in amendments))
    history = await store.history()
    assert sorted(revision for _, _, revision, _ in history) == list(range(1, 11))
    last = await store.corrections.find(store.scope, "e-0", None)
    assert last.revision == 10
    assert await store.sum() == 6 + int(msgspec.json.decode(last.properties)["n"])


class Broken:
    """A ClickHouse that dies when it is to write."""

    def __init__(self, real: ClickHouse) -> None:
        self.query, self.read, self.command = real.query, real.read, real.command

    async def insert(self, table: str, columns: Mapping[str, str], values: Sequence[Sequence[Any]]) -> None:
        raise ClickHouseUnavailable("gone")


@pytest.mark.parametrize("by", ["the same request", "the close", "the next pass over all tenants"])
async def test_a_correction_that_was_written_down_counts_whatever_died(store: Store, by: str) -> None:
    with pytest.raises(ClickHouseUnavailable):
        await EventCorrections(store.database, Broken(store.clickhouse)).void(store.ask("e-0"))
    assert (await store.sum(), await store.history()) == (7, [("e-0", "void", 1, False)])
    if by == "the same request":
        await store.corrections.void(store.ask("e-0"))
    elif by == "the close":
        assert await apply_pending(store.database, store.clickhouse, store.scope, external_customer_id="c-2") == 0
        assert await apply_pending(store.database, store.clickhouse, store.scope, external_customer_id="c-1") == 1
    else:
        assert await apply_every_pending(store.database, store.clickhouse) >= 1
    assert (await store.sum(), await store.history()) == (6, [("e-0", "void", 1, True)])
