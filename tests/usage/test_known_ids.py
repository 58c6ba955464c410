"""The filter of known identities: never calls a stored one new, forgets nothing while it loads, asks when in doubt."""

import asyncio
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse, migrate_clickhouse
from activities.ingestion.events import Event, Placed
from activities.ingestion.known_ids import BITS_AN_ID, BloomFilter, KnownIds, RecentIds, words_of
from activities.ingestion.sink import Sink, Stored

AT = 1_764_669_600_000


def digests(start: int, count: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % number).digest()[:16] for number in range(start, start + count)]


def block(start: int, count: int, timestamp: int = AT) -> list[Placed]:
    return [
        Placed(Event("tenant_1", "env_1", "customer-1", "call", timestamp, f"e-{number}", "", "{}", AT), 0, 1)
        for number in range(start, start + count)
    ]


class Watched:
    """A connection that counts look-ups, and may hold back what `read` answers."""

    def __init__(self, clickhouse: ClickHouseConnection) -> None:
        self.clickhouse = clickhouse
        self.command, self.insert = clickhouse.command, clickhouse.insert
        self.looked_up = 0
        self.reading = asyncio.Event()
        self.may_read = asyncio.Event()
        self.may_read.set()

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        self.looked_up += sql.count(",") - 1 if "WHERE hi IN" in sql and "INSERT" not in sql else 0
        return await self.clickhouse.query(sql, parameters)

    async def read(self, sql: str) -> bytes:
        answer = await self.clickhouse.read(sql)
        self.reading.set()
        await self.may_read.wait()
        return answer


def test_a_filter_never_denies_what_it_holds_and_seldom_claims_what_it_does_not() -> None:
    held = BloomFilter(0)
    count = 200_000
    held.add(words_of(digests(0, count)))
    assert held.may_hold(words_of(digests(0, count))).all()
    assert held.held == count <= held.capacity
    in_vain = int(held.may_hold(words_of(digests(count, count))).sum())
    assert in_vain <= count // 1000


def test_a_full_filter_still_tells_new_from_known() -> None:
    held = BloomFilter(0)
    for start in range(0, held.capacity, 200_000):
        held.add(words_of(digests(start, min(200_000, held.capacity - start))))
    assert held.may_hold(words_of(digests(0, 1000))).all()
    in_vain = int(held.may_hold(words_of(digests(held.capacity, 100_000))).sum())
    assert in_vain <= 200, f"{BITS_AN_ID} bits an identity promise 50"


async def test_only_doubtful_identities_are_looked_up(new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    watched = Watched(connection)
    first = KnownIds(watched)
    sink = Sink(watched, first)
    assert await sink.store(block(0, 1000), AT) == Stored(1000, 0)
    assert watched.looked_up >= 999, "before a filter is loaded everything is looked up"
    sink.another_wrote()
    await first.loaded()
    watched.looked_up = 0
    assert await sink.store(block(1000, 1000), AT) == Stored(1000, 0)
    assert watched.looked_up < 20
    # Also under another timestamp, half of them stored before the filter was loaded and half since.
    assert await sink.store(block(500, 2000, AT + 5), AT) == Stored(500, 1500)
    await sink.close()
    await connection.close()


async def test_nothing_is_forgotten_that_is_stored_while_the_filter_loads(new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    watched = Watched(connection)
    known = KnownIds(watched)
    sink = Sink(watched, known)
    await sink.store(block(0, 10), AT)
    watched.may_read.clear()
    sink.another_wrote()
    await watched.reading.wait()  # what follows is not in the answer that is on its way
    await sink.store(block(10, 10), AT)
    assert not known.ready
    watched.may_read.set()
    await known.loaded()
    assert known.ready
    assert await sink.store(block(0, 30, AT + 5), AT) == Stored(10, 20)
    await sink.close()
    await connection.close()


async def test_what_another_writer_stored_is_known_after_a_reload(new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    known = KnownIds(connection)
    mine, other = Sink(connection, known), Sink(connection)
    mine.another_wrote()
    await known.loaded()
    await other.store(block(0, 100), AT)
    mine.another_wrote()
    assert await mine.store(block(0, 50, AT + 5), AT) == Stored(0, 50), "while it loads"
    await known.loaded()
    assert await mine.store(block(0, 110, AT + 5), AT) == Stored(10, 100), "once it is loaded"
    await mine.close()
    await connection.close()


async def test_lost_identities_are_repaired(new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    sink = Sink(connection)
    await sink.store(block(0, 100), AT)
    await connection.command("TRUNCATE TABLE event_ids")
    assert await sink.repair_everything() == 100
    assert await sink.repair_everything() == 0
    assert await sink.store(block(0, 110, AT + 5), AT) == Stored(10, 100)
    await connection.close()


def test_what_is_remembered_of_late_is_surely_stored() -> None:
    recent = RecentIds(slots=8)
    recent.add(words_of(digests(0, 100)))
    held = recent.held(digests(0, 200))
    assert 0 < sum(held[:100]) <= 8
    assert not any(held[100:])


async def test_a_retry_is_known_without_asking(usage_store: ClickHouseConnection) -> None:
    watched = Watched(usage_store)
    sink = Sink(watched)
    tenant = f"tenant_{uuid.uuid4().hex}"
    sent = [
        Placed(Event(tenant, "env_1", "customer-1", "call", AT, f"e-{number}", "", "{}", AT), 0, 1)
        for number in range(10)
    ]
    assert await sink.store(sent, AT) == Stored(10, 0)
    asked = watched.looked_up
    assert asked
    assert await sink.store(sent, AT + 1) == Stored(0, 10)
    assert watched.looked_up == asked
    assert await Sink(watched).store(sent, AT + 2) == Stored(0, 10)
    assert watched.looked_up > asked, "another process has to ask"
