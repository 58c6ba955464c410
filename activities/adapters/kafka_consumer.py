"""Envelopes out of Kafka, dead letters, and how far the sink has come.

Owns the consumer group. All calls are blocking: callers put them into one thread. Offsets are committed by the caller's
word only, after the rows are stored; what a rebalance or a crash repeats meets its identity in the sink.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from activities.adapters.kafka_settings import REPLAYED, TIMEOUT_SECONDS, KafkaSettings
from activities.ingestion.consumption import DeadLetter, Record
from activities.ingestion.ports import IngestUnavailable
from models.clickhouse.times import milliseconds

CLOCK_SKEW_MS: Final = 5000
"""How far the clocks of API processes, which stamp records, may stand apart from each other and from the asker's."""

log = structlog.get_logger(__name__)


class KafkaEventSource:
    """An `activities.ingestion.consumption.EventSource`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._paused = False
        self.assignments = 0
        self._kept: list[Record] = []
        self._consumer = Consumer(
            settings.common(
                group_id=settings.group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                partition_assignment_strategy="cooperative-sticky",
                # Many small records cost the broker less when they are fetched together; a lone one waits so long.
                fetch_min_bytes=64 * 1024,
                fetch_wait_max_ms=50,
                max_poll_interval_ms=300_000,
                session_timeout_ms=15_000,
            )
        )
        self._producer = Producer(settings.common(enable_idempotence=True, acks="all", delivery_timeout_ms=10_000))
        self._consumer.subscribe([settings.topic], on_assign=self._assigned, on_revoke=self._revoked)

    @property
    def topic(self) -> str:
        """What is read."""
        return self._settings.topic

    def poll(self, records: int, timeout_seconds: float) -> list[Record]:
        """Up to `records` records. Raises KafkaException for an error that only a new process can mend."""
        kept, self._kept = self._kept, []
        return kept or self._consume(records, timeout_seconds)

    def commit(self, next_offsets: Mapping[int, int]) -> bool:
        """Commits, by partition, the offset to read next. False where the partition has gone to another consumer."""
        offsets = [TopicPartition(self._settings.topic, partition, at) for partition, at in next_offsets.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.warning("consume.commit_refused", error=error.args[0].str())
            return False
        return True

    def hold(self) -> None:
        """Keeps the membership without reading on, while the store does not answer."""
        if not self._paused:
            self._paused = True
            self._consumer.pause(self._consumer.assignment())
        # A pause does not recall what was fetched before it.
        self._kept.extend(self._consume(1, 0.0))

    def go_on(self) -> None:
        """Reads on after `hold`."""
        if self._paused:
            self._paused = False
            self._consumer.resume(self._consumer.assignment())

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """Returns when the broker has all of `letters`. Raises IngestUnavailable."""
        failed: list[str] = []
        for letter in letters:
            headers: list[tuple[str, str | bytes | None]] = [
                ("reason", letter.reason[:1000]),
                ("topic", self._settings.topic),
                ("partition", str(letter.partition)),
                ("offset", str(letter.offset)),
            ]
            self._producer.produce(
                self._settings.dead_letter_topic,
                value=letter.value,
                key=f"{letter.partition}/{letter.offset}",
                headers=headers,
                on_delivery=lambda error, _: failed.append(error.str()) if error else None,
            )
        left = self._producer.flush(TIMEOUT_SECONDS)
        if left or failed:
            raise IngestUnavailable(f"dead letters were not acknowledged: {failed[:1] or 'no answer'}")

    def close(self) -> None:
        """Leaves the group."""
        self._consumer.close()

    def _consume(self, records: int, timeout_seconds: float) -> list[Record]:
        found = []
        for message in self._consumer.consume(records, timeout_seconds):
            error = message.error()
            partition, offset = message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                self._note(error or KafkaError(KafkaError._BAD_MSG))
                continue
            found.append(_record(message, partition, offset))
        return found

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("consume.assigned", partitions=[one.partition for one in partitions])
        self._consumer.incremental_assign(partitions)
        self.assignments += 1
        if self._paused:
            self._consumer.pause(partitions)

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("consume.revoked", partitions=[one.partition for one in partitions])
        self._consumer.incremental_unassign(partitions)

    def _note(self, error: KafkaError) -> None:
        if error.fatal():
            raise KafkaException(error)
        log.warning("consume.broker_error", error=error.str())


def _record(message: Message, partition: int, offset: int) -> Record:
    key = message.key()
    return Record(
        partition,
        offset,
        message.timestamp()[1],
        message.value() or b"",
        key if isinstance(key, bytes) else b"",
        REPLAYED in dict(message.headers() or []),
    )


class KafkaUsageProgress:
    """A `UsageProgress` from the committed offsets of both lanes' groups; it never joins them."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._lanes = [_LaneProgress(lane) for lane in settings.lanes()]

    async def settled(self, cutoff: datetime) -> bool:
        """Whether every event accepted before `cutoff` (UTC, wall clock) is stored.

        Raises IngestUnavailable when Kafka does not answer.
        """
        at = milliseconds(cutoff) + CLOCK_SKEW_MS
        for lane in self._lanes:
            if not await asyncio.to_thread(lane.settled, at):
                return False
        return True

    async def close(self) -> None:
        """Ends the connections."""
        for lane in self._lanes:
            await asyncio.to_thread(lane.close)


class _LaneProgress:
    """The same of one topic and group. All calls are blocking."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._consumer: Consumer | None = None

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def settled(self, cutoff_ms: int) -> bool:
        topic = self._settings.topic
        try:
            consumer = self._connected()
            found = consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic]
            if found.error is not None:
                raise KafkaException(found.error)
            partitions = [TopicPartition(topic, number, cutoff_ms) for number in found.partitions]
            after = consumer.offsets_for_times(partitions, timeout=TIMEOUT_SECONDS)
            stored = consumer.committed(partitions, timeout=TIMEOUT_SECONDS)
            ends = {one.partition: self._end(consumer, one) for one in after}
        except KafkaException as error:
            raise IngestUnavailable(f"Kafka does not answer: {error.args[0].str()}") from error
        done = {one.partition: one.offset for one in stored}
        return all(max(done[number], low) >= wanted for number, (low, wanted) in ends.items())

    def _end(self, consumer: Consumer, after: TopicPartition) -> tuple[int, int]:
        """The first offset that exists, and the first one after the cut-off (else the end of the partition)."""
        if after.error is not None:
            raise KafkaException(after.error)
        low, high = consumer.get_watermark_offsets(after, timeout=TIMEOUT_SECONDS)
        return low, after.offset if after.offset >= 0 else high

    def _connected(self) -> Consumer:
        if self._consumer is None:
            self._consumer = Consumer(self._settings.common(group_id=self._settings.group, enable_auto_commit=False))
        return self._consumer
