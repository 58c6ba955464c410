"""accepted + replayed = stored + duplicates + dead letters, at every point where something may die."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse, migrate_clickhouse
from activities.adapters.kafka_producer import KafkaEventLog
from activities.adapters.kafka_replay import replay_dead_letters, rewind
from activities.adapters.kafka_settings import ensure_topics
from activities.event_reconciliation import ReconcileUsage, ReconciliationActivities, reconcile, settled_until
from activities.ingestion.counts import AcceptanceCounts, RecordPlace, rows_of_record
from activities.ingestion.direct_progress import StoredBeforeAnswered
from activities.ingestion.direct_writer import DirectWriter
from activities.ingestion.events import Event, Placed, encode_envelope, owner_of
from activities.ingestion.lease import PostgresWriterLease
from activities.ingestion.ports import IngestUnavailable
from activities.ingestion.sink import Sink
from models.clickhouse.client import ClickHouse, ClickHouseUnavailable
from models.clickhouse.event_counts import MinuteCounts, read_minutes, totals
from models.clickhouse.times import milliseconds
from models.database import Database
from models.migrate import migrate_postgres
from models.scope import Scope
from tests.usage.kafka_records import put
from tests.usage.processes import TENANT
from tests.usage.test_kafka_faults import consuming, event, settings_for, settles

ALWAYS = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
MINUTE = (datetime.now(UTC) - timedelta(hours=1)).replace(second=0, microsecond=0)
AT = milliseconds(MINUTE)
OTHER = Scope("tenant_other", "env_other")


@pytest.fixture
async def clickhouse(new_clickhouse_dsn: str) -> AsyncIterator[ClickHouseConnection]:
    await migrate_clickhouse(new_clickhouse_dsn)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    yield connection
    await connection.close()


async def counted(clickhouse: ClickHouse, scope: Scope = TENANT) -> dict[str, int]:
    """The sums of all minutes, without those that are 0."""
    return {name: number for name, number in totals(await read_minutes(clickhouse, scope, *ALWAYS)).items() if number}


def of(scope: Scope, number: int) -> Event:
    return Event(scope.tenant_id, scope.environment_id, "c-1", "call", AT, f"e-{number}", "", "{}", AT)


class Dies:
    """A ClickHouse that is gone before, or right after, the first write into `table`."""

    def __init__(self, real: ClickHouse, table: str, after: bool) -> None:
        self.query, self.read, self.command = real.query, real.read, real.command
        self._real, self._table, self._after = real, table, after

    async def insert(self, table: str, columns: Mapping[str, str], values: Sequence[Sequence[Any]]) -> None:
        if table != self._table:
            await self._real.insert(table, columns, values)
            return
        if self._after:
            await self._real.insert(table, columns, values)
        raise ClickHouseUnavailable("gone")


@pytest.mark.parametrize("table", ["events", "event_counts", "event_ids"])
@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_between_any_two_steps_counts_once(
    clickhouse: ClickHouseConnection, table: str, after: bool
) -> None:
    await Sink(clickhouse).store([Placed(of(TENANT, 0), 1, 1)], AT)
    records = [[of(TENANT, 0), of(TENANT, 1), of(OTHER, 1)], [of(TENANT, 2), of(TENANT, 1)]]  # 0 and 1 are repeated
    block = [Placed(each, 1, 7 + number) for number, events in enumerate(records) for each in events]
    rows = [
        row
        for number, events in enumerate(records)
        for row in rows_of_record(RecordPlace("events", 1, 7 + number, AT), events, [])
    ]
    with pytest.raises(ClickHouseUnavailable):
        await Sink(Dies(clickhouse, table, after)).store(block, AT, rows)
    await Sink(clickhouse).store(block, AT, rows)
    assert await counted(clickhouse) == {"events": 4, "stored": 2, "duplicates": 2, "surplus": 4}
    assert await counted(clickhouse, OTHER) == {"events": 1, "stored": 1, "surplus": 1}


async def test_through_kafka_everything_is_accounted_for(
    clickhouse: ClickHouseConnection, new_clickhouse_dsn: str, kafka_brokers: str
) -> None:
    settings = settings_for(kafka_brokers)
    await ensure_topics(settings)
    start = datetime.now(UTC)
    counts = AcceptanceCounts(clickhouse)
    log = KafkaEventLog(settings, counts=counts)
    await log.start()
    events = [event(number, f"customer-{number % 7}") for number in range(100)]
    await asyncio.gather(*(log.accept(events[at : at + 20]) for at in range(0, 100, 20)), log.accept(events[:30]))
    await log.close()
    spoiled = [event(200), event(201), event(202)]
    put(settings, encode_envelope(spoiled).replace(b"e-201", b"\xff-201"))
    counts.accepted(spoiled, int(datetime.now(UTC).timestamp() * 1000))
    await counts.flush()
    await counts.flush()  # what is written twice counts once
    for _ in range(2):  # the second time every record is read again
        async with consuming(new_clickhouse_dsn, settings):
            await settles(settings)
        assert await counted(clickhouse) == {
            "accepted": 133, "events": 132, "stored": 102, "duplicates": 30, "dead_lettered": 1
        }  # fmt: skip
        await asyncio.to_thread(rewind, settings, start - timedelta(minutes=1))

    # A dead letter that can be read by now comes back as a record of its own, which nobody accepted anew.
    headers = [("partition", b"1"), ("reason", b"")]
    put(settings, encode_envelope([event(201)])[1:], topic=settings.dead_letter_topic, partition=0, headers=headers)
    assert (await asyncio.to_thread(replay_dead_letters, settings)).events == 1
    async with consuming(new_clickhouse_dsn, settings):
        await settles(settings)
    assert await counted(clickhouse) == {
        "accepted": 133, "replayed": 1, "events": 133, "stored": 103, "duplicates": 30, "dead_lettered": 1
    }  # fmt: skip


async def test_the_direct_path(clickhouse: ClickHouseConnection, postgres_dsn: str) -> None:
    counts = AcceptanceCounts(clickhouse)
    writer = DirectWriter(Sink(clickhouse), PostgresWriterLease(postgres_dsn), counts=counts)
    writer.start()
    await asyncio.gather(
        writer.accept([of(TENANT, number) for number in range(10)]),
        writer.accept([of(OTHER, 1), of(OTHER, 2)]),
        writer.accept([of(TENANT, 1)]),
    )
    await writer.close()
    await counts.close()
    assert await counted(clickhouse) == {"accepted": 11, "events": 11, "stored": 10, "duplicates": 1}
    assert await counted(clickhouse, OTHER) == {"accepted": 2, "events": 2, "stored": 2}


async def test_a_block_in_doubt_is_unconfirmed_and_explains_itself(
    clickhouse: ClickHouseConnection, postgres_dsn: str
) -> None:
    counts = AcceptanceCounts(clickhouse)
    sink = Sink(Dies(clickhouse, "event_ids", after=True))
    writer = DirectWriter(sink, PostgresWriterLease(postgres_dsn), counts=counts)
    writer.start()
    with pytest.raises(IngestUnavailable):
        await writer.accept([of(TENANT, 1), of(TENANT, 2)])
    sink._clickhouse = clickhouse
    await writer.accept([of(TENANT, 1), of(TENANT, 2), of(TENANT, 3)])  # the client's retry
    await writer.close()
    await counts.close()
    # The first block was stored again, row for row, and the retry met its identities.
    assert await counted(clickhouse) == {
        "accepted": 3, "unconfirmed": 2, "events": 5, "stored": 1, "duplicates": 4
    }  # fmt: skip


async def test_counts_wait_for_clickhouse(clickhouse: ClickHouseConnection) -> None:
    counts = AcceptanceCounts(Dies(clickhouse, "event_counts", after=True))
    counts.accepted([of(TENANT, 1)], AT)
    await counts.flush()
    counts.accepted([of(TENANT, 2)], AT + 59_999)
    counts._clickhouse = clickhouse
    await counts.flush()
    (minute,) = await read_minutes(clickhouse, TENANT, *ALWAYS)
    assert (minute.minute, minute.accepted) == (MINUTE, 2)
    assert counts._sums == {}, "what is old and written is forgotten"


class Progress:
    """Everything before an instant is stored."""

    def __init__(self, until: datetime) -> None:
        self.until = until
        self.asked = 0

    async def settled(self, cutoff: datetime) -> bool:
        self.asked += 1
        return cutoff <= self.until


@pytest.mark.parametrize(
    ("minutes", "expected"), [(-5, 0), (0, 0), (0.5, 0), (1, 1), (37.9, 37), (599, 599), (900, 600)]
)
async def test_up_to_where_everything_is_stored(minutes: float, expected: int) -> None:
    start = datetime(2025, 12, 2, 10, tzinfo=UTC)
    progress = Progress(start + timedelta(minutes=minutes))
    found = await settled_until(progress, start, start + timedelta(minutes=600, seconds=20))
    assert found == start + timedelta(minutes=expected)
    assert progress.asked <= 11


async def test_what_does_not_add_up_is_found_once_it_has_settled(
    clickhouse: ClickHouseConnection, postgres_dsn: str
) -> None:
    now = datetime.now(UTC)
    at = int((now - timedelta(minutes=30)).timestamp() * 1000)
    counts = AcceptanceCounts(clickhouse)
    counts.accepted([of(TENANT, number) for number in range(5)], at)
    counts.wrote([Placed(of(TENANT, 0), 0, 1)] * 3, [Placed(of(TENANT, 0), 0, 1)] * 2, at)  # two became nothing
    counts.wrote([Placed(of(OTHER, 0), 0, 1)], [], at)  # from a process that was killed
    counts.unconfirmed([of(OTHER, 1)], at - 60_000)
    await counts.flush()
    await migrate_postgres(postgres_dsn)
    database = Database(postgres_dsn)

    def found_of(found: Sequence[MinuteCounts]) -> list[tuple[int, int]]:
        return [(each.missing, each.surplus) for each in found]

    start = now - timedelta(hours=1)
    behind = await reconcile(database, clickhouse, Progress(now - timedelta(minutes=40)), TENANT, start, now, now)
    assert (len(behind.minutes), behind.findings) == (1, ())
    done = StoredBeforeAnswered()
    assert found_of((await reconcile(database, clickhouse, done, TENANT, start, now, now)).findings) == [(2, 0)]
    assert found_of((await reconcile(database, clickhouse, done, OTHER, start, now, now)).findings) == [(0, 1)]
    found = await ReconciliationActivities(database, clickhouse, done).reconcile(ReconcileUsage(now))
    await database.close()
    assert (found.missing, found.surplus) == (2, 1)
    assert "accepted 5, replayed 0, stored 1, duplicates 2, dead letters 0: 2 missing" in found.minutes[0]
    assert REGISTRY.get_sample_value("durabill_events_unaccounted", {"kind": "missing"}) == 2


def test_whose_event_it_may_be_that_cannot_be_read() -> None:
    key = b"tenant_1\0env_1\0customer"
    readable = encode_envelope([event(1)])[1:]
    assert owner_of(readable, key) == (TENANT.tenant_id, TENANT.environment_id)
    assert owner_of(b"\xc1", key) == ("tenant_1", "env_1")
    assert owner_of(b"\x92\x01\x02", key) == ("tenant_1", "env_1")
    assert owner_of(b"\xc1", b"\xff") == ("", "")
