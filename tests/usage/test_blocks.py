"""Blocks that hold nothing new, nothing at all, or something that can never be stored; and offsets that got lost."""

import asyncio
import random
from collections.abc import Mapping

import msgspec
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import REGISTRY

from activities.adapters.clickhouse import connect_clickhouse, migrate_clickhouse
from activities.adapters.kafka_consumer import KafkaEventSource
from activities.adapters.kafka_producer import KafkaEventLog
from activities.adapters.kafka_settings import KafkaSettings, ensure_topics
from activities.ingestion.consumption import Consumption
from activities.ingestion.events import encode_envelope
from activities.ingestion.sink import Sink
from tests.usage.kafka_records import letters_of, put
from tests.usage.load import ids_missing
from tests.usage.test_kafka_faults import consuming, event, settings_for, settles


async def rows(dsn: str) -> tuple[int, int]:
    """Stored rows, and events that count."""
    connection = await connect_clickhouse(dsn)
    [[all_rows]] = await connection.query("SELECT count() FROM events")
    [[counted]] = await connection.query("SELECT count() FROM events FINAL")
    assert await ids_missing(connection) == 0
    await connection.close()
    return int(all_rows), int(counted)


@pytest.fixture
async def settings(kafka_brokers: str, new_clickhouse_dsn: str) -> KafkaSettings:
    await migrate_clickhouse(new_clickhouse_dsn)
    made = settings_for(kafka_brokers)
    await ensure_topics(made)
    return made


async def test_blocks_of_nothing_but_duplicates(settings: KafkaSettings, new_clickhouse_dsn: str) -> None:
    events = [event(number, f"customer-{number % 9}") for number in range(2000)]
    again = [msgspec.structs.replace(one, timestamp=one.timestamp + 3_600_000, event_name="other") for one in events]
    log = KafkaEventLog(settings)
    await log.start()
    await log.accept(events)
    async with consuming(new_clickhouse_dsn, settings) as first:
        await settles(settings)
        await log.accept(again)  # the same identities an hour later, while their filter is loading or loaded
        await settles(settings)
    await log.accept(random.Random(1).sample(again, 2000))
    async with consuming(new_clickhouse_dsn, settings) as second:
        await settles(settings)
    await log.close()
    assert (first.stored, first.duplicates) == (2000, 2000)
    assert (second.stored, second.duplicates) == (0, 2000)
    assert await rows(new_clickhouse_dsn) == (2000, 2000), "a block of duplicates writes no row"


async def test_empty_blocks_and_records_are_skipped(settings: KafkaSettings, new_clickhouse_dsn: str) -> None:
    put(settings, encode_envelope([]), encode_envelope([]))
    async with consuming(new_clickhouse_dsn, settings) as totals:
        await settles(settings)
        put(settings, encode_envelope([]), encode_envelope([event(1)]), encode_envelope([]))
        await settles(settings)
    assert (totals.records, totals.stored, totals.dead_lettered) == (5, 1, 0)
    assert await rows(new_clickhouse_dsn) == (1, 1)


async def test_a_poison_event_in_the_middle_of_a_large_block(settings: KafkaSettings, new_clickhouse_dsn: str) -> None:
    blocks = [encode_envelope([event(at + number) for number in range(1000)]) for at in (0, 1000, 2000)]
    put(settings, blocks[0], blocks[1].replace(b"e-1500", b"e-\xff500"), blocks[2])
    async with consuming(new_clickhouse_dsn, settings) as totals:
        await settles(settings)
    assert (totals.stored, totals.dead_lettered) == (2999, 1)
    [letter] = await asyncio.to_thread(letters_of, settings, 1)
    assert b"e-\xff500" in (letter.value() or b"")
    assert dict(letter.headers() or [])["offset"] == b"1"


async def test_a_dead_letter_that_is_too_large_for_its_topic(settings: KafkaSettings, new_clickhouse_dsn: str) -> None:
    # The broker limits what is sent, which is compressed: unpacked it may be larger than any topic takes.
    put(settings, b"\xc1" * 5_000_000, random.Random(1).randbytes(1_048_400), None, encode_envelope([event(1)]))
    async with consuming(new_clickhouse_dsn, settings) as totals:
        await settles(settings)
    assert (totals.records, totals.stored, totals.dead_lettered) == (4, 1, 3)
    letters = await asyncio.to_thread(letters_of, settings, 3)
    found = {dict(letter.headers() or [])["offset"]: letter for letter in letters}
    left_out = {offset: dict(letter.headers() or []).get("left_out") for offset, letter in found.items()}
    assert left_out == {b"0": None, b"1": b"a value of 1048400 bytes", b"2": None}
    assert found[b"1"].value() in (None, b"")


async def test_committed_offsets_that_got_lost_begin_anew(settings: KafkaSettings, new_clickhouse_dsn: str) -> None:
    log = KafkaEventLog(settings)
    await log.start()
    events = [event(number, f"customer-{number % 9}") for number in range(500)]
    await asyncio.gather(*(log.accept(events[at : at + 100]) for at in range(0, 500, 100)))
    async with consuming(new_clickhouse_dsn, settings):
        await settles(settings)
    admin = AdminClient(settings.common())
    deleted = admin.delete_consumer_groups([settings.group])
    await asyncio.to_thread(deleted[settings.group].result, 30)
    await log.accept([event(1000)])
    await log.close()
    async with consuming(new_clickhouse_dsn, settings) as totals:
        await settles(settings)
    assert (totals.stored, totals.duplicates) == (1, 500), "everything from the beginning"
    assert await rows(new_clickhouse_dsn) == (501, 501)


async def test_a_commit_that_was_not_taken_is_repeated(settings: KafkaSettings, new_clickhouse_dsn: str) -> None:
    class Rebalancing(KafkaEventSource):
        refusals = 2

        def commit(self, next_offsets: Mapping[int, int]) -> bool:
            self.refusals -= 1
            return self.refusals < 0 and super().commit(next_offsets)

    put(settings, encode_envelope([event(1)]))
    clickhouse, stop = await connect_clickhouse(new_clickhouse_dsn), asyncio.Event()
    source = Rebalancing(settings)
    consumption = Consumption(source, Sink(clickhouse), stop)
    task = asyncio.create_task(consumption.run())
    await settles(settings)  # although nothing comes after it
    stop.set()
    await task
    assert (consumption.totals.stored, source.refusals < 0) == (1, True)
    await clickhouse.close()


async def test_records_that_the_broker_deleted_unread_are_told_of(
    settings: KafkaSettings, new_clickhouse_dsn: str
) -> None:
    before = REGISTRY.get_sample_value("durabill_events_records_deleted_unread_total") or 0
    put(settings, *(encode_envelope([event(number)]) for number in range(3)))
    async with consuming(new_clickhouse_dsn, settings):
        await settles(settings)
    put(settings, *(encode_envelope([event(number)]) for number in range(3, 9)))
    # As retention does after an outage that was longer.
    admin = AdminClient(settings.common())
    gone = admin.delete_records([TopicPartition(settings.topic, 1, 7)])
    await asyncio.gather(*(asyncio.to_thread(one.result, 30) for one in gone.values()))
    async with consuming(new_clickhouse_dsn, settings) as totals:
        await settles(settings)
    assert totals.stored == 2
    assert REGISTRY.get_sample_value("durabill_events_records_deleted_unread_total") == before + 4
