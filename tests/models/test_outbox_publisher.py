"""Webhook events in Kafka: same id, same payload, in order for one entity, none lost whoever dies. A real broker."""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from sqlalchemy import text
from sqlmodel import col, select

from activities.adapters.kafka_settings import KafkaSettings, ensure_system_topic
from activities.adapters.kafka_system_events import KafkaSystemEvents
from activities.outbox import PUBLISH, emit
from activities.outbox_publisher import OutboxPublisher, SystemEvent
from activities.outbox_relay import OutboxRelay
from models.database import Database, Scope
from models.tables import OutboxRow, WebhookEventRow
from tests.models.test_outbox import RecordingGate
from tests.parts import Parts
from tests.world import until

NOW = datetime(2025, 1, 31, tzinfo=UTC)
PATIENCE_SECONDS = 60


@dataclass
class Topic:
    """A topic of this test alone, and what is in it."""

    settings: KafkaSettings

    def read(self) -> list[Message]:
        """Every record, partition by partition, in order."""
        consumer = Consumer(self.settings.common(group_id=f"test-{uuid.uuid4()}", enable_auto_commit="false"))
        try:
            known = consumer.list_topics(self.settings.system_topic, timeout=10).topics[self.settings.system_topic]
            return [each for partition in known.partitions for each in self._partition(consumer, partition)]
        finally:
            consumer.close()

    def _partition(self, consumer: Consumer, partition: int) -> list[Message]:
        place = TopicPartition(self.settings.system_topic, partition, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=10)
        consumer.assign([place])
        records: list[Message] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(records) < end and time.monotonic() < deadline:
            record = consumer.poll(1)
            if record is not None and record.error() is None:
                records.append(record)
        return records


@pytest.fixture
async def topic(kafka_brokers: str) -> Topic:
    settings = KafkaSettings(kafka_brokers, system_topic=f"system_events_{uuid.uuid4().hex}", partitions=3)
    await ensure_system_topic(settings)
    return Topic(settings)


@pytest.fixture
async def events(topic: Topic) -> AsyncIterator[KafkaSystemEvents]:
    made = KafkaSystemEvents(topic.settings)
    yield made
    await made.close()


async def told(database: Database, scope: Scope, entity: str, *types: str) -> list[str]:
    """Events about an entity, one transaction each; their ids, in order."""
    ids = []
    for number, event_type in enumerate(types):
        async with database.transaction(scope) as session:
            body = {"invoice": {"id": entity, "number": number, "name": "Zoë"}}
            ids.append(await emit(session, scope, event_type, entity, body, NOW))
    return ids


async def waiting(database: Database) -> Sequence[OutboxRow]:
    """What is still to be published."""
    async with database.system_transaction() as session:
        query = select(OutboxRow).where(OutboxRow.kind == PUBLISH, col(OutboxRow.relayed_at).is_(None))
        return (await session.exec(query)).all()


async def payloads(database: Database) -> dict[str, str]:
    """By event id, the body of its webhooks."""
    async with database.system_transaction() as session:
        return {row.id: row.payload for row in (await session.exec(select(WebhookEventRow))).all()}


def id_of(record: Message) -> str:
    """The header that names the event."""
    value = dict(record.headers() or ())["id"]
    return value.decode() if isinstance(value, bytes) else str(value)


async def test_a_record_is_the_webhooks_body_under_the_webhooks_id(
    own_database: Database, own_dsn: str, scope: Scope, topic: Topic, events: KafkaSystemEvents
) -> None:
    publisher = OutboxPublisher(own_database, events)
    relay = OutboxRelay(own_database, RecordingGate(), own_dsn, publisher)
    types = [f"invoice.update.step_{number}" for number in range(20)]
    expected = {entity: await told(own_database, scope, entity, *types) for entity in ("inv_1", "inv_2", "inv_3")}
    for ids in range(0, 60, 50):
        assert await relay.relay_batch() == min(50, 60 - ids)

    assert await publisher.publish_batch() == 60

    records = await asyncio.to_thread(topic.read)
    bodies = await payloads(own_database)
    by_entity: dict[str, list[str]] = {}
    for record in records:
        event_id = id_of(record)
        assert (record.value() or b"").decode() == bodies[event_id]
        assert json.loads(bodies[event_id])["id"] == event_id
        tenant, environment, entity = (record.key() or b"").decode().split("/")
        assert Scope(tenant, environment) == scope
        by_entity.setdefault(entity, []).append(event_id)
    assert by_entity == expected
    assert await waiting(own_database) == []
    assert await publisher.publish_batch() == 0


async def test_without_a_broker_nothing_waits_for_one(own_database: Database, own_dsn: str, scope: Scope) -> None:
    await told(own_database, scope, "inv_1", "invoice.update.finalized")

    await OutboxRelay(own_database, RecordingGate(), own_dsn).relay_batch()

    assert await waiting(own_database) == []


class Killed(BaseException):
    """The process is gone."""


@dataclass
class DiesAfterwards:
    """Publishes, and never comes back to mark it."""

    events: KafkaSystemEvents

    async def publish(self, events: Sequence[SystemEvent]) -> Sequence[str | None]:
        """Acknowledged by Kafka, and known to nobody."""
        await self.events.publish(events)
        raise Killed


async def test_a_publisher_killed_before_the_mark_repeats_the_same_ids(
    own_database: Database, own_dsn: str, scope: Scope, topic: Topic, events: KafkaSystemEvents
) -> None:
    publisher = OutboxPublisher(own_database, events)
    ids = await told(own_database, scope, "inv_1", "invoice.update.finalized", "invoice.update.payment")
    await OutboxRelay(own_database, RecordingGate(), own_dsn, publisher).relay_batch()

    with pytest.raises(Killed):
        await OutboxPublisher(own_database, DiesAfterwards(events)).publish_batch()
    assert len(await waiting(own_database)) == 2
    assert await publisher.publish_batch() == 2

    records = await asyncio.to_thread(topic.read)
    seen = Counter(id_of(record) for record in records)
    assert seen == {event_id: 2 for event_id in ids}
    assert len({record.value() for record in records}) == 2


async def test_two_publishers_share_the_work_and_repeat_nothing(
    own_database: Database, own_dsn: str, scope: Scope, topic: Topic, events: KafkaSystemEvents
) -> None:
    first, second = (
        OutboxPublisher(own_database, events),
        OutboxPublisher(own_database, KafkaSystemEvents(topic.settings)),
    )
    await told(own_database, scope, "inv_1", *["invoice.update.payment"] * 30)
    await OutboxRelay(own_database, RecordingGate(), own_dsn, first).relay_batch()
    stop = asyncio.Event()

    async def nothing_waits() -> bool:
        return not await waiting(own_database)

    running = [asyncio.create_task(each.run(stop)) for each in (first, second)]
    await until(nothing_waits)
    stop.set()
    await asyncio.gather(*running)

    assert len(await asyncio.to_thread(topic.read)) == 30


async def test_while_the_broker_is_down_webhooks_go_on_and_afterwards_nothing_is_missing(
    own_database: Database, own_dsn: str, scope: Scope, parts: Parts
) -> None:
    broker = parts.start("kafka")
    topic = Topic(KafkaSettings(broker.running.url, client={"socket.timeout.ms": "3000"}))
    events = KafkaSystemEvents(topic.settings)
    publisher = OutboxPublisher(own_database, events)
    relay = OutboxRelay(own_database, RecordingGate(), own_dsn, publisher)
    await told(own_database, scope, "inv_1", "invoice.update.finalized")
    assert await relay.relay_batch() == 1
    assert await publisher.publish_batch() == 1

    broker.kill()
    ids = await told(own_database, scope, "inv_1", "invoice.update.payment", "invoice.update.voided")
    assert await relay.relay_batch() == 2  # carried on to webhooks all the same
    assert await publisher.publish_batch() == 0
    left = await waiting(own_database)
    assert {row.reference for row in left} == set(ids)
    assert all("Kafka" in (row.last_error or "") for row in left)

    broker.restart()
    async with own_database.system_transaction() as session:
        await session.execute(text("UPDATE outbox SET retry_at = NULL WHERE relayed_at IS NULL"))

    async def caught_up() -> bool:
        await publisher.publish_batch()
        return not await waiting(own_database)

    await until(caught_up)
    records = await asyncio.to_thread(topic.read)
    assert {id_of(record) for record in records} > set(ids)
