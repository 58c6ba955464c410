"""The path with Kafka: a real broker, real consumers killed while events arrive, and what must be left out."""

import asyncio
import os
import random
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse, migrate_clickhouse
from activities.adapters.kafka_consumer import KafkaEventSource, KafkaUsageProgress
from activities.adapters.kafka_producer import KafkaEventLog
from activities.adapters.kafka_settings import KafkaSettings, ensure_topics
from activities.ingestion.consumption import Consumption, Totals
from activities.ingestion.events import Event, encode_envelope
from activities.ingestion.ports import IngestUnavailable
from activities.ingestion.sink import Sink
from models.clickhouse.event_counts import read_minutes, totals
from tests.parts import Parts
from tests.usage.kafka_records import letters_of, put
from tests.usage.load import Load, assert_accounted, assert_exact, stored
from tests.usage.processes import TENANT, Child, answers, api_child

KILLS = 8 if os.environ.get("FAULTS_LONG") else 4


def settings_for(brokers: str) -> KafkaSettings:
    topic = f"events_{uuid.uuid4().hex}"
    return KafkaSettings(brokers, topic=topic, dead_letter_topic=f"{topic}_dlq", group=f"sink_{topic}", partitions=3)


def event(number: int, customer: str = "customer-x", size: int = 0) -> Event:
    at = 1_764_669_600_000 + number
    properties = '{"n":"1","x":"' + "x" * size + '"}'
    return Event(TENANT.tenant_id, TENANT.environment_id, customer, "load", at, f"e-{number}", "", properties, at)


@asynccontextmanager
async def consuming(clickhouse_dsn: str, settings: KafkaSettings) -> AsyncIterator[Totals]:
    """A consumer in this process for as long as the block lasts."""
    clickhouse = await connect_clickhouse(clickhouse_dsn)
    stop = asyncio.Event()
    consumption = Consumption(KafkaEventSource(settings), Sink(clickhouse), stop)
    task = asyncio.create_task(consumption.run())
    try:
        yield consumption.totals
    finally:
        stop.set()
        await task
        await clickhouse.close()


async def settles(settings: KafkaSettings, seconds: float = 60) -> None:
    """Waits until everything accepted up to now is stored."""
    progress = KafkaUsageProgress(settings)
    cutoff = datetime.now(UTC)
    async with asyncio.timeout(seconds):
        while not await has_settled(progress, cutoff):  # noqa: ASYNC110 (no broker tells when an offset is committed)
            await asyncio.sleep(0.1)
    await progress.close()


async def has_settled(progress: KafkaUsageProgress, cutoff: datetime) -> bool:
    """A broker that has just started may not yet know who coordinates the group."""
    try:
        return await progress.settled(cutoff)
    except IngestUnavailable:
        return False


async def test_kill_9_of_consumers_broker_and_store(parts: Parts, tmp_path: Path) -> None:
    kafka, clickhouse = parts.start("kafka"), parts.start("clickhouse")
    await migrate_clickhouse(clickhouse.running.url)
    settings = KafkaSettings(kafka.running.url, topic="events", dead_letter_topic="events_dlq", partitions=3)
    await ensure_topics(settings)
    common = ("--kafka", kafka.running.url, "--topic", "events")
    api, url = api_child(tmp_path / "api.log", "--clickhouse", clickhouse.running.url, *common)
    store = ("--clickhouse", clickhouse.running.url, "--linger", "0.1")
    consumers = [Child(tmp_path / f"consume-{n}.log", "consume", *store, *common) for n in (1, 2)]
    await answers(url)
    load = Load(url)
    running = asyncio.create_task(load.run())
    chance = random.Random(2)
    try:
        for number in range(KILLS):
            await asyncio.sleep(chance.uniform(0.3, 1.0))
            consumers[number % 2].kill_and_restart()
        api.kill_and_restart()
        await load.goes_on()
        for part in (kafka, clickhouse):
            await asyncio.to_thread(part.kill)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(part.restart)
            await load.goes_on()
    finally:
        load.stop()
        await running
    await settles(settings)
    codes = [consumer.terminate() for consumer in consumers]
    api.terminate()
    connection = await connect_clickhouse(clickhouse.running.url)
    found = await stored(connection, load)
    rows = await connection.query("SELECT count() FROM events")
    await assert_accounted(connection, load)
    assert (await counted_events(connection)) >= load.accepted, "the log says what was accepted, whoever was killed"
    await connection.close()
    print(
        f"kills: {sum(one.kills for one in consumers)} consumers, {api.kills} API, 1 broker, 1 ClickHouse; requests"
        f" repeated {load.repeated}; accepted {load.accepted}, counted"
        f" {sum(usage.event_count for usage in found.values())}, rows {rows[0][0]}"
    )
    assert codes == [0, 0]
    assert_exact(load, found)


async def test_a_consumer_that_starts_before_its_neighbours_waits_for_them(parts: Parts, tmp_path: Path) -> None:
    kafka, clickhouse = parts.start("kafka"), parts.start("clickhouse")
    await migrate_clickhouse(clickhouse.running.url)
    for part in (kafka, clickhouse):
        await asyncio.to_thread(part.kill)
    log = tmp_path / "consume.log"
    store = ("--clickhouse", clickhouse.running.url, "--linger", "0.1")
    consumer = Child(log, "consume", *store, "--kafka", kafka.running.url, "--topic", "events")
    for part, name in ((kafka, "Kafka"), (clickhouse, "ClickHouse")):
        await says(log, f"neighbour={name}")
        await asyncio.to_thread(part.restart)
    await says(log, "consume.started")

    settings = KafkaSettings(kafka.running.url, topic="events", dead_letter_topic="events_dlq", partitions=3)
    accepting = KafkaEventLog(settings)
    await accepting.start()
    await accepting.accept([event(number) for number in range(10)])
    await accepting.close()
    await settles(settings)
    assert consumer.terminate() == 0
    connection = await connect_clickhouse(clickhouse.running.url)
    assert await connection.query("SELECT count() FROM events") == [(10,)]
    await connection.close()


async def test_a_consumer_that_waits_for_kafka_ends_when_it_is_told_to(tmp_path: Path) -> None:
    nobody = ("--clickhouse", "http://127.0.0.1:1/durabill", "--kafka", "127.0.0.1:1", "--topic", "events")
    consumer = Child(tmp_path / "consume.log", "consume", *nobody)
    await says(tmp_path / "consume.log", "no broker at 127.0.0.1:1 answered")
    assert consumer.terminate() == 0


async def says(log: Path, words: str, seconds: float = 60) -> None:
    """Waits until the process has written `words`."""
    async with asyncio.timeout(seconds):
        while words not in written(log):  # noqa: ASYNC110 (a file tells nobody)
            await asyncio.sleep(0.1)


def written(log: Path) -> str:
    """What the process has written, without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", log.read_text())


async def counted_events(clickhouse: ClickHouseConnection) -> int:
    """How many events the consumers say that they have read, each record once."""
    always = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    return totals(await read_minutes(clickhouse, TENANT, *always))["events"]


async def test_one_poison_event_goes_to_the_dead_letters_alone(kafka_brokers: str, new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    settings = settings_for(kafka_brokers)
    await ensure_topics(settings)
    good, bad = event(1), event(2)
    spoiled = encode_envelope([good, bad, event(3)]).replace(b"e-2", b"\xff-2")
    put(settings, spoiled, b"not an envelope", encode_envelope([event(4)]))
    async with consuming(new_clickhouse_dsn, settings) as totals:
        await settles(settings)
    assert (totals.records, totals.stored, totals.duplicates, totals.dead_lettered) == (3, 3, 0, 2)
    letters = await asyncio.to_thread(letters_of, settings, 2)
    headers = [dict(letter.headers() or []) for letter in letters]
    assert [header["offset"] for header in headers] == [b"0", b"1"]
    assert all(header["partition"] == b"1" for header in headers)
    assert b"\xff-2" in (letters[0].value() or b"")
    assert letters[1].value() == b"not an envelope"


async def test_one_identity_meets_one_partition_and_duplicates_are_counted(
    kafka_brokers: str, new_clickhouse_dsn: str
) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    settings = settings_for(kafka_brokers)
    await ensure_topics(settings)
    first, second = KafkaEventLog(settings), KafkaEventLog(settings)
    await asyncio.gather(first.start(), second.start())
    events = [event(number, f"customer-{number % 50}") for number in range(3000)]
    await asyncio.gather(*(log.accept(events[at : at + 1000]) for at in (0, 1000, 2000) for log in (first, second)))
    large = [event(10_000 + number, size=200_000) for number in range(20)]
    await first.accept(large)
    await asyncio.gather(first.close(), second.close())
    async with consuming(new_clickhouse_dsn, settings) as totals:
        await settles(settings)
    assert (totals.stored, totals.duplicates) == (3020, 3000)


async def test_settled_waits_for_what_was_accepted_and_not_for_what_comes_later(
    kafka_brokers: str, new_clickhouse_dsn: str
) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    settings = settings_for(kafka_brokers)
    await ensure_topics(settings)
    progress = KafkaUsageProgress(settings)
    await settles(settings)  # nothing was accepted yet
    start = datetime.now(UTC)
    assert await progress.settled(start)
    hour = 3600
    early, late = (KafkaEventLog(settings, lambda by=by: at(start, by)) for by in (-hour, hour))  # type: ignore[misc]
    await asyncio.gather(early.start(), late.start())
    await early.accept([event(1)])
    assert not await progress.settled(start)
    assert await progress.settled(start - timedelta(hours=2))
    async with consuming(new_clickhouse_dsn, settings):
        await settles(settings)
    assert await progress.settled(start)
    await late.accept([event(2)])
    assert await progress.settled(start)
    assert not await progress.settled(start + timedelta(hours=2))
    await asyncio.gather(early.close(), late.close())
    await progress.close()


def at(start: datetime, seconds: int) -> int:
    """The wall clock of a process, in nanoseconds, `seconds` away from `start`."""
    return (int(start.timestamp()) + seconds) * 1_000_000_000


async def test_a_broker_that_does_not_answer_is_unavailable() -> None:
    log = KafkaEventLog(KafkaSettings("127.0.0.1:1"))
    await log.start()
    with pytest.raises(IngestUnavailable, match="Kafka does not answer"):
        await log.accept([event(1)])
    await log.close()
