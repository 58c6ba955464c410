"""Envelopes out of Kafka, dead letters, and how far the sink has come.

Owns the consumer group. All calls are blocking: callers put them into one thread. Offsets are committed by the caller's
word only, after the rows are stored; what a rebalance or a crash repeats meets its identity in the sink.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from activities.adapters.kafka_settings import REPLAYED, TIMEOUT_SECONDS, KafkaSettings
from activities.ingestion import metrics
from activities.ingestion.consumption import DeadLetter, Record
from activities.ingestion.ports import IngestUnavailable
from models.clickhouse.times import milliseconds

BLOCK_BYTES: Final = 8 << 20
"""A block ends soon after so many bytes: some 40,000 events of 200 bytes, whatever the records hold."""

AT_ONCE: Final = 50
"""Records taken between two looks at the size of a block."""

GATHER_SECONDS: Final = 0.05
"""The longest wait for a single batch of records: so soon after it was stored a block is committed."""

LETTERS: Final = 10_000
"""Dead letters that are on their way at the same time; the client's queue holds ten times as many."""

LETTER_BYTES: Final = 100_000_000
"""The largest record that the client hands to the broker, which may still refuse it."""

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
        self._since: dict[int, int] = {}
        """The first offset that was read of each partition since it was assigned."""
        self._consumer = Consumer(
            settings.common(
                group_id=settings.group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                partition_assignment_strategy="cooperative-sticky",
                # Many small records cost the broker less when they are fetched together; a lone one waits so long.
                fetch_min_bytes=256 * 1024,
                fetch_wait_max_ms=50,
                queued_max_messages_kbytes=2 * BLOCK_BYTES // 1024,
                max_poll_interval_ms=300_000,
                session_timeout_ms=15_000,
            )
        )
        self._producer = Producer(
            settings.common(
                enable_idempotence=True,
                acks="all",
                delivery_timeout_ms=10_000,
                compression_type="lz4",
                message_max_bytes=LETTER_BYTES,
            )
        )
        self._consumer.subscribe([settings.topic], on_assign=self._assigned, on_revoke=self._revoked)

    @property
    def topic(self) -> str:
        """What is read."""
        return self._settings.topic

    def poll(self, records: int, timeout_seconds: float, meanwhile: Callable[[], None]) -> list[Record]:
        """Up to `records` records. Raises KafkaException for an error that only a new process can mend."""
        found, self._kept = self._kept, []
        until = time.monotonic() + timeout_seconds
        size = sum(len(record.value) for record in found)
        while len(found) < records and size < BLOCK_BYTES:
            left = until - time.monotonic()
            more = self._consume(min(AT_ONCE, records - len(found)), max(min(left, GATHER_SECONDS), 0.0))
            found += more
            size += sum(len(record.value) for record in more)
            meanwhile()
            if left <= 0:
                break
        return found

    def behind(self) -> int:
        """By what this client last heard: records in its partitions that it has not read."""
        count = 0
        for at in self._consumer.position(self._consumer.assignment()):
            watermarks = self._consumer.get_watermark_offsets(at, cached=True)
            if watermarks is not None and at.offset >= 0:
                count += max(watermarks[1] - at.offset, 0)
        return count

    def commit(self, next_offsets: Mapping[int, int]) -> bool:
        """Commits, by partition, the offset to read next. False when the group does not take it.

        Where a partition has gone since, another consumer has read on: its progress must not be set back.
        """
        offsets = [
            TopicPartition(self._settings.topic, partition, at)
            for partition, at in next_offsets.items()
            if at > self._since.get(partition, at)
        ]
        if not offsets:
            return True
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
        """Returns when the broker has all of `letters`. Raises IngestUnavailable.

        One that is too large for the topic of dead letters goes there without its value: its headers say where it is.
        """
        for start in range(0, len(letters), LETTERS):
            too_large = self._put_aside([(letter, letter.value) for letter in letters[start : start + LETTERS]])
            if too_large and self._put_aside([(letter, b"") for letter in too_large]):
                raise IngestUnavailable("dead letters are too large even without their values")

    def _put_aside(self, letters: Sequence[tuple[DeadLetter, bytes]]) -> list[DeadLetter]:
        """Those that the broker finds too large; has all others."""
        failed: list[str] = []
        too_large: list[DeadLetter] = []

        def answered(letter: DeadLetter, error: KafkaError | None, _: Message | None = None) -> None:
            if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                too_large.append(letter)
            elif error is not None:
                failed.append(error.str())

        for letter, value in letters:
            try:
                self._producer.produce(
                    self._settings.dead_letter_topic,
                    value=value,
                    key=f"{letter.partition}/{letter.offset}",
                    headers=self._headers(letter, len(value) < len(letter.value)),
                    on_delivery=partial(answered, letter),
                )
            except KafkaException as error:
                answered(letter, error.args[0])
        left = self._producer.flush(TIMEOUT_SECONDS)
        if left or failed:
            raise IngestUnavailable(f"dead letters were not acknowledged: {failed[:1] or 'no answer'}")
        return too_large

    def _headers(self, letter: DeadLetter, without_value: bool) -> list[tuple[str, str | bytes | None]]:
        headers: list[tuple[str, str | bytes | None]] = [
            ("reason", letter.reason[:1000]),
            ("topic", self._settings.topic),
            ("partition", str(letter.partition)),
            ("offset", str(letter.offset)),
        ]
        if without_value:
            headers.append(("left_out", f"a value of {len(letter.value)} bytes"))
        return headers

    def close(self) -> None:
        """Leaves the group."""
        self._consumer.close()
        self._producer.close()

    def _consume(self, records: int, timeout_seconds: float) -> list[Record]:
        found = []
        for message in self._consumer.consume(records, timeout_seconds):
            error = message.error()
            partition, offset = message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                self._note(error or KafkaError(KafkaError._BAD_MSG))
                continue
            self._since.setdefault(partition, offset)
            found.append(_record(message, partition, offset))
        return found

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("consume.assigned", partitions=[one.partition for one in partitions])
        self._forget(partitions)
        self._tell_of_deleted(partitions)
        self._consumer.incremental_assign(partitions)
        self.assignments += 1
        if self._paused:
            self._consumer.pause(partitions)

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("consume.revoked", partitions=[one.partition for one in partitions])
        self._forget(partitions)
        self._consumer.incremental_unassign(partitions)

    def _tell_of_deleted(self, partitions: list[TopicPartition]) -> None:
        # Reading goes on at the first record that is left. What is missing shows in the counts of events, too.
        try:
            for one in self._consumer.committed(partitions, timeout=TIMEOUT_SECONDS):
                low, _ = self._consumer.get_watermark_offsets(one, timeout=TIMEOUT_SECONDS)
                if 0 <= one.offset < low:
                    log.error("consume.deleted_unread", partition=one.partition, records=low - one.offset)
                    metrics.UNREAD.inc(low - one.offset)
        except KafkaException as error:
            log.warning("consume.progress_unknown", error=error.args[0].str())

    def _forget(self, partitions: list[TopicPartition]) -> None:
        for one in partitions:
            self._since.pop(one.partition, None)

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
