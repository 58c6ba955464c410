"""Tenants marked bulk have a lane of their own through Kafka: a flood in it delays nobody, identity holds across."""

import asyncio
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse, migrate_clickhouse
from activities.adapters.kafka_consumer import KafkaUsageProgress
from activities.adapters.kafka_producer import KafkaEventLog
from activities.adapters.kafka_replay import replay_dead_letters, rewind
from activities.adapters.kafka_settings import KafkaSettings, ensure_topics
from activities.ingestion.events import Event, encode_envelope
from activities.ingestion.known_ids import KnownIds
from activities.ingestion.sink import Sink, sink_of_lane
from tests.parts import Parts
from tests.usage.kafka_records import put
from tests.usage.processes import TENANT, Child
from tests.usage.test_kafka_faults import consuming, event, has_settled, settings_for, settles
from tests.usage.test_known_ids import block

BULK = "tenant_bulk"
FLOOD = 200
"""Requests of 1000 events."""
TRICKLE = 20
VISIBLE_SECONDS = 3.0


def bulk(number: int) -> Event:
    return msgspec.structs.replace(event(number, f"customer-{number % 40}"), tenant_id=BULK)


async def visible_after(clickhouse: ClickHouseConnection, event_id: str, accepted: float) -> float:
    """Seconds from being accepted to being counted."""
    asked = f"SELECT count() FROM events FINAL WHERE event_id = '{event_id}' AND tenant_id = '{TENANT.tenant_id}'"
    async with asyncio.timeout(60):
        while (await clickhouse.query(asked))[0][0] == 0:  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.05)
    return time.monotonic() - accepted


async def test_a_flood_of_a_bulk_tenant_delays_nobody(parts: Parts, tmp_path: Path) -> None:
    kafka, engine = parts.start("kafka"), parts.start("clickhouse")
    await migrate_clickhouse(engine.running.url)
    settings = KafkaSettings(kafka.running.url, topic="events", dead_letter_topic="events_dlq", partitions=3)
    await ensure_topics(settings)
    log = KafkaEventLog(settings, lazy_tenants=[BULK])
    await log.start()
    for at in range(0, FLOOD, 10):
        requests = [[bulk(number) for number in range(one * 1000, one * 1000 + 1000)] for one in range(at, at + 10)]
        await asyncio.gather(*(log.accept(events) for events in requests))
    common = ("--clickhouse", engine.running.url, "--kafka", kafka.running.url, "--topic", "events")
    consumer = Child(tmp_path / "consume.log", "consume", *common)
    clickhouse, progress = await connect_clickhouse(engine.running.url), KafkaUsageProgress(settings)

    async def trickle(start: int) -> list[float]:
        waits = []
        for number in range(start, start + TRICKLE):
            await log.accept([event(number)])
            waits.append(await visible_after(clickhouse, f"e-{number}", time.monotonic()))
        return waits

    # Nobody carries the flood yet: it waits, it is known to wait, and the others do not.
    await trickle(0)
    assert not await has_settled(progress, datetime.now(UTC))
    lazy = Child(tmp_path / "lazy.log", "consume", "--lazy", *common)
    waits = await trickle(100)
    await log.close()
    async with asyncio.timeout(180):
        while not await has_settled(progress, datetime.now(UTC)):  # noqa: ASYNC110 (no broker tells)
            await asyncio.sleep(0.2)
    counts = await clickhouse.query("SELECT tenant_id, count() FROM events FINAL GROUP BY tenant_id ORDER BY tenant_id")
    assert [tuple(row) for row in counts] == [(BULK, FLOOD * 1000), (TENANT.tenant_id, 2 * TRICKLE)]
    print(f"beside a flood of {FLOOD * 1000} events: median {statistics.median(waits):.2f} s, most {max(waits):.2f} s")
    assert max(waits) < VISIBLE_SECONDS
    assert (consumer.terminate(), lazy.terminate()) == (0, 0)
    await progress.close()
    await clickhouse.close()


async def test_an_identity_counts_once_when_a_tenant_changes_its_lane(new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    known, other_known = KnownIds(connection), KnownIds(connection)
    usual, lazy = Sink(connection, known, ["tenant_1"]), sink_of_lane(connection, True, ["tenant_1"])
    unaware = Sink(connection, other_known)
    for filter_ in (known, other_known):
        filter_.reload()
        await filter_.loaded()

    await usual.store(block(0, 10), 1)
    assert (await lazy.store(block(0, 20, timestamp=5), 2)).duplicates == 10  # marked as bulk
    assert (await usual.store(block(0, 30, timestamp=7), 3)).duplicates == 20  # and not any more
    # A sink that is not told would take them for new: its filter has not heard of the other lane.
    assert (await unaware.store(block(0, 1, timestamp=9), 4)).duplicates == 0
    await connection.close()


async def test_dead_letters_and_rewinding_keep_to_their_lane(kafka_brokers: str, new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    settings = settings_for(kafka_brokers)
    await ensure_topics(settings)
    start = datetime.now(UTC) - timedelta(minutes=1)
    log = KafkaEventLog(settings, lazy_tenants=[BULK])
    await log.start()
    await asyncio.gather(log.accept([event(1)]), log.accept([bulk(1), bulk(2)]))
    await log.close()
    headers = [("partition", b"1"), ("topic", settings.lazy().topic.encode())]
    put(settings, encode_envelope([bulk(3)])[1:], topic=settings.dead_letter_topic, partition=0, headers=headers)
    assert (await asyncio.to_thread(replay_dead_letters, settings)).events == 1
    async with consuming(new_clickhouse_dsn, settings) as usual, consuming(new_clickhouse_dsn, settings.lazy()) as lazy:
        await settles(settings)
    assert (usual.stored, lazy.stored) == (1, 3)
    assert await asyncio.to_thread(rewind, settings, start) == usual.records + lazy.records
