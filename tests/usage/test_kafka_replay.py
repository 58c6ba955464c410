"""Replay on a real broker: dead letters that can be read by now, and everything from a time on; each counts once."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from activities.adapters.clickhouse import migrate_clickhouse
from activities.adapters.kafka_producer import KafkaEventLog
from activities.adapters.kafka_replay import Replayed, replay_dead_letters, rewind
from activities.adapters.kafka_settings import ensure_topics
from activities.ingestion.events import encode_envelope
from activities.ingestion.ports import IngestUnavailable
from tests.usage.kafka_records import put
from tests.usage.test_kafka_faults import consuming, event, settings_for, settles


async def test_dead_letters_come_back_and_count_once(kafka_brokers: str, new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    settings = settings_for(kafka_brokers)
    await ensure_topics(settings)
    one_event = encode_envelope([event(2)])[1:]  # as the sink puts a single event of a record aside
    letters = (encode_envelope([event(1)]), one_event, b"not an event")
    headers = [("partition", b"1"), ("reason", b"an old fault")]
    put(settings, *letters, topic=settings.dead_letter_topic, partition=0, headers=headers)
    assert await asyncio.to_thread(replay_dead_letters, settings) == Replayed(2, 1)
    assert await asyncio.to_thread(replay_dead_letters, settings) == Replayed(0, 0), "each letter once"
    put(settings, encode_envelope([event(2), event(3)]))
    async with consuming(new_clickhouse_dsn, settings) as totals:
        await settles(settings)
    assert (totals.stored, totals.duplicates, totals.dead_lettered) == (3, 1, 0)


async def test_everything_from_a_time_on_is_read_again(kafka_brokers: str, new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    settings = settings_for(kafka_brokers)
    await ensure_topics(settings)
    start = datetime.now(UTC) - timedelta(seconds=1)
    log = KafkaEventLog(settings)
    await log.start()
    for number in range(3):
        await log.accept([event(number), event(number + 10)])
    await log.close()
    async with consuming(new_clickhouse_dsn, settings) as totals:
        await settles(settings)
        with pytest.raises(IngestUnavailable, match="consumer is running"):
            await asyncio.to_thread(rewind, settings, start)
    assert totals.stored == 6
    assert await asyncio.to_thread(rewind, settings, datetime.now(UTC) + timedelta(hours=1)) == 0
    assert await asyncio.to_thread(rewind, settings, start) == 3
    async with consuming(new_clickhouse_dsn, settings) as totals:
        await settles(settings)
    assert (totals.records, totals.stored, totals.duplicates) == (3, 0, 6)
