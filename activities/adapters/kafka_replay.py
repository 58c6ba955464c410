"""Events once more: out of the dead letters, or from a time on. Whatever is stored already meets its identity.

All calls are blocking. Dead letters stay in their topic; how far they have been replayed is a committed offset.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from activities.adapters.kafka_settings import REPLAYED, TIMEOUT_SECONDS, KafkaSettings
from activities.ingestion.events import Event, customer_key, decode_envelope, encode_envelope
from activities.ingestion.ports import IngestUnavailable
from models.clickhouse.times import milliseconds

LETTERS: Final = 500
_COORDINATOR_MOVES: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


@dataclass(slots=True)
class Replayed:
    """What became of the dead letters that had not been replayed before."""

    events: int = 0
    unreadable: int = 0
    """Still no events: they would be dead letters again, so they are left where they are."""


def replay_dead_letters(settings: KafkaSettings) -> Replayed:
    """Sends what can be read by now back into the partition it came from. Raises IngestUnavailable.

    A crash in the middle repeats some of it, which counts once.
    """
    replayed = Replayed()
    consumer = Consumer(settings.common(group_id=f"{settings.group}_replay", enable_auto_commit=False))
    producer = Producer(settings.common(enable_idempotence=True, acks="all", compression_type="lz4"))
    try:
        for at, end in _left(consumer, settings.dead_letter_topic):
            _replay_partition(consumer, producer, settings, at, end, replayed)
    except KafkaException as error:
        raise IngestUnavailable(f"Kafka does not answer: {error.args[0].str()}") from error
    finally:
        consumer.close()
    return replayed


def rewind(settings: KafkaSettings, since: datetime) -> int:
    """Makes the consumers read again what was accepted at or after `since`; answers how many records that are.

    Raises IngestUnavailable, also while a consumer runs: its own progress would overwrite this.
    """
    return sum(_rewind(lane, since) for lane in settings.lanes())


def _rewind(settings: KafkaSettings, since: datetime) -> int:
    consumer = Consumer(settings.common(group_id=settings.group, enable_auto_commit=False))
    try:
        partitions = _partitions(consumer, settings.topic)
        stored = {one.partition: one.offset for one in _committed(consumer, partitions)}
        wanted = [TopicPartition(settings.topic, one.partition, milliseconds(since)) for one in partitions]
        found = consumer.offsets_for_times(wanted, timeout=TIMEOUT_SECONDS)
        back = [one for one in found if 0 <= one.offset < stored[one.partition]]
        records = sum(stored[one.partition] - one.offset for one in back)
        if back:
            consumer.commit(offsets=back, asynchronous=False)
    except KafkaException as error:
        if error.args[0].code() in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS):
            raise IngestUnavailable("a consumer is running: stop every `durabill consume`, then repeat") from error
        raise IngestUnavailable(f"Kafka refuses: {error.args[0].str()}") from error
    finally:
        consumer.close()
    return records


def _partitions(consumer: Consumer, topic: str) -> list[TopicPartition]:
    found = consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return [TopicPartition(topic, number) for number in found.partitions]


def _committed(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    """The group's offsets; waits for the broker to find out who coordinates a group that is new to it."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            return consumer.committed(partitions, timeout=TIMEOUT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in _COORDINATOR_MOVES or time.monotonic() > until:
                raise
            time.sleep(0.2)


def _left(consumer: Consumer, topic: str) -> list[tuple[TopicPartition, int]]:
    """Where to begin in each partition, and where its letters end now."""
    found = []
    for one in _committed(consumer, _partitions(consumer, topic)):
        low, high = consumer.get_watermark_offsets(one, timeout=TIMEOUT_SECONDS)
        if max(one.offset, low) < high:
            found.append((TopicPartition(topic, one.partition, max(one.offset, low)), high))
    return found


def _replay_partition(
    consumer: Consumer, producer: Producer, settings: KafkaSettings, at: TopicPartition, end: int, replayed: Replayed
) -> None:
    consumer.assign([at])
    offset = at.offset
    failed: list[str] = []
    while offset < end:
        letters = consumer.consume(LETTERS, TIMEOUT_SECONDS)
        if not letters:
            raise IngestUnavailable(f"Kafka gave no dead letters after offset {offset} of {end}")
        for letter in letters:
            if (error := letter.error()) is not None:
                raise KafkaException(error)
            events = _events_of(letter.value() or b"")
            replayed.events += len(events)
            replayed.unreadable += not events
            if events:
                _send(producer, settings, letter, events, failed)
            offset = (letter.offset() or 0) + 1
        if producer.flush(TIMEOUT_SECONDS) or failed:
            raise IngestUnavailable(f"Kafka did not acknowledge replayed events: {failed[:1] or 'no answer'}")
        consumer.commit(offsets=[TopicPartition(at.topic, at.partition, offset)], asynchronous=False)


def _events_of(value: bytes) -> list[Event]:
    """A letter is a whole record, or one event of a record."""
    for record in (value, b"\x91" + value):  # 0x91: a MessagePack list of one
        good, bad = decode_envelope(record)
        if good and not bad:
            return good
    return []


def _send(producer: Producer, settings: KafkaSettings, letter: Message, events: list[Event], failed: list[str]) -> None:
    headers = dict(letter.headers() or [])
    partition = headers.get("partition", b"")
    if not isinstance(partition, bytes) or not partition.isdigit():
        raise IngestUnavailable(f"the dead letter at offset {letter.offset()} does not say its partition")
    came_from_lazy = headers.get("topic") == settings.lazy().topic.encode()
    producer.produce(
        settings.lazy().topic if came_from_lazy else settings.topic,
        value=encode_envelope(events),
        key=customer_key(events[0]),
        partition=int(partition),
        headers=[(REPLAYED, "dead letter")],
        on_delivery=lambda error, _: failed.append(error.str()) if error else None,
    )
