"""Events into Kafka: acknowledged by all in-sync replicas before the API answers 202.

Owns when what has gathered for a partition is sent. An envelope whose acknowledgement is lost is an error of its
requests: a retry counts once.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from activities.adapters.kafka_backlog import KafkaBacklog
from activities.adapters.kafka_envelopes import Envelope, Piece, Request, by_partition, envelopes
from activities.adapters.kafka_settings import TIMEOUT_SECONDS, KafkaSettings
from activities.ingestion.counts import AcceptanceCounts
from activities.ingestion.events import ENVELOPE_EVENTS, Event
from activities.ingestion.ports import IngestUnavailable

GATHER_SECONDS: Final = 0.003
BUSY_GATHER_SECONDS: Final = 0.05
"""At most so long while envelopes of the partition are on their way. What comes meanwhile goes when they have arrived:
the busier the broker, the fewer and larger the envelopes, and these cost the broker, the consumer and us less an event.
Partitions do so each by itself: while the broker works for one, requests of the others are read and answered."""

RECORDS_A_SECOND: Final = 750
"""Over all partitions of a topic, where records are not full. Each is a request to the broker, whatever it holds:
requests of a few events each were most of their cost."""

LISTEN_SECONDS: Final = 0.001
"""From one look for acknowledgements to the next while any is awaited. A thread that waits for them instead has to have
Python's lock from the event loop for each, which takes up to 5 ms when it is busy."""

IDLE_SECONDS: Final = 0.2
"""The same while none is: the client may have other things to tell, such as a token that has to be renewed."""

ACKNOWLEDGED_WITHIN_MS: Final = 10_000

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Partition:
    """What waits for one partition."""

    topic: str
    number: int
    pace: float
    """At least so many seconds from one sending to the next."""

    pieces: list[Piece] = field(default_factory=list)
    events: int = 0
    on_their_way: int = 0
    sent_at: float = 0.0
    """By the clock of the event loop."""

    sending: asyncio.TimerHandle | None = None


class KafkaEventLog:
    """An `EventAcceptor` over an idempotent producer. `start` it inside the API's event loop, `close` it at the end."""

    def __init__(
        self,
        settings: KafkaSettings,
        clock_ns: Callable[[], int] = time.time_ns,
        counts: AcceptanceCounts | None = None,
        lazy_tenants: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._lazy_topic = settings.lazy().topic
        self._lazy_tenants = frozenset(lazy_tenants)
        self._counts = counts
        self._clock_ns = clock_ns
        self._behind = KafkaBacklog(settings)
        self._producer: Producer | None = None
        self._partitions: dict[str, list[_Partition]] = {}
        """Those of each topic."""
        self._counting: dict[str, asyncio.Task[list[_Partition]]] = {}
        self._on_their_way = 0
        self._listening: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Connects. The broker need not answer yet: until it does, `accept` raises IngestUnavailable."""
        self._loop = asyncio.get_running_loop()
        self._producer = self._new_producer()
        self._listen(self._loop)
        self._behind.start()

    async def close(self) -> None:
        """Waits for what is on its way, then ends."""
        for partition in [each for topic in self._partitions.values() for each in topic]:
            self._send(partition)
        producer, self._producer = self._producer, None
        if self._listening is not None:
            self._listening.cancel()
        if producer is not None:
            await asyncio.to_thread(producer.flush, TIMEOUT_SECONDS)
            await asyncio.to_thread(producer.close)
        if self._ending:
            await asyncio.wait(self._ending)
        await self._behind.close()

    async def accept(self, events: Sequence[Event]) -> None:
        """Returns when the broker has acknowledged all of `events`. Raises IngestUnavailable."""
        loop = self._loop
        if loop is None or self._producer is None:
            raise IngestUnavailable("this process is not connected to Kafka")
        lazy = events[0].tenant_id in self._lazy_tenants  # a request is of one tenant
        topic = self._lazy_topic if lazy else self._settings.topic
        if not lazy:
            await self._behind.backlog.turn(events[0].tenant_id)
        partitions = self._partitions.get(topic) or await self._partitions_of(topic)
        parts = by_partition(events, len(partitions))
        request = Request(loop.create_future(), len(parts))
        for number, part in parts.items():
            self._add(loop, partitions[number], (request, part))
        await request.done

    def _add(self, loop: asyncio.AbstractEventLoop, partition: _Partition, piece: Piece) -> None:
        partition.pieces.append(piece)
        partition.events += len(piece[1])
        if partition.events >= ENVELOPE_EVENTS:  # which need not wait for company
            self._send(partition)
        elif partition.sending is None:
            gather = BUSY_GATHER_SECONDS if partition.on_their_way else GATHER_SECONDS
            self._send_at(loop, partition, max(loop.time() + gather, partition.sent_at + partition.pace))

    def _send_at(self, loop: asyncio.AbstractEventLoop, partition: _Partition, at: float) -> None:
        if partition.sending is not None:
            partition.sending.cancel()
        partition.sending = loop.call_at(at, self._send, partition)

    async def _partitions_of(self, topic: str) -> list[_Partition]:
        """One question for all who wait: a broker that does not answer must not queue requests behind each other."""
        counting = self._counting.get(topic)
        if counting is None:
            asked = self._ask_for_partitions(topic)
            counting = self._counting[topic] = asyncio.create_task(asked, name=f"partitions of {topic}")
            counting.add_done_callback(lambda _: self._counting.pop(topic))
        await asyncio.wait([counting])  # a request that is given up must not take the answer from the others
        return counting.result()

    async def _ask_for_partitions(self, topic: str) -> list[_Partition]:
        count = await asyncio.to_thread(self._count_partitions, self._producer, topic)
        pace = min(count / RECORDS_A_SECOND, BUSY_GATHER_SECONDS)
        found = self._partitions[topic] = [_Partition(topic, number, pace) for number in range(count)]
        return found

    def _count_partitions(self, producer: Producer | None, name: str) -> int:
        if producer is None:
            raise IngestUnavailable("this process is shutting down")
        try:
            topic = producer.list_topics(name, timeout=TIMEOUT_SECONDS / 2).topics[name]
        except KafkaException as error:
            raise IngestUnavailable(f"Kafka does not answer: {error.args[0].str()}") from error
        if topic.error is not None or not topic.partitions:
            raise IngestUnavailable(f"the Kafka topic {name} cannot be used: {topic.error}")
        return len(topic.partitions)

    def _new_producer(self) -> Producer:
        return Producer(
            self._settings.common(
                enable_idempotence=True,
                acks="all",
                compression_type="lz4",
                linger_ms=0,
                delivery_timeout_ms=ACKNOWLEDGED_WITHIN_MS,
            )
        )

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Looks for acknowledgements, again and again; runs on the event loop."""
        if self._producer is not None:
            self._producer.poll(0)
            self._listen_after(loop, LISTEN_SECONDS if self._on_their_way else IDLE_SECONDS)

    def _listen_after(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        if self._listening is not None:
            self._listening.cancel()
        self._listening = loop.call_later(seconds, self._listen, loop)

    def _send(self, partition: _Partition) -> None:
        """Sends what has gathered; runs on the event loop."""
        if partition.sending is not None:
            partition.sending.cancel()
            partition.sending = None
        if not partition.pieces:
            return
        if self._loop is not None:
            partition.sent_at = self._loop.time()
        pieces, partition.pieces, partition.events = partition.pieces, [], 0
        now = self._clock_ns() // 1_000_000
        for envelope in envelopes(pieces, now):
            self._produce(partition, envelope, now)

    def _produce(self, partition: _Partition, envelope: Envelope, now: int) -> None:
        loop, producer = self._loop, self._producer
        if loop is None or producer is None:
            self._settle(envelope, "this process is shutting down")
            return

        def acknowledged(error: KafkaError | None, message: Message) -> None:
            # Called by `poll`, and by `flush` in a thread.
            if error is not None and error.fatal():
                loop.call_soon_threadsafe(self._replace, producer)
            offset = message.offset() if error is None else None
            text = None if error is None else error.str()
            loop.call_soon_threadsafe(self._acknowledged, partition, envelope, offset, text)

        try:
            producer.produce(
                partition.topic,
                value=envelope.value,
                key=envelope.key,
                partition=partition.number,
                timestamp=now,
                on_delivery=acknowledged,
            )
        except (BufferError, KafkaException) as error:
            self._settle(envelope, str(error))
            if isinstance(error, KafkaException) and error.args[0].fatal():
                self._replace(producer)
        else:
            if not self._on_their_way:
                self._listen_after(loop, LISTEN_SECONDS)
            partition.on_their_way += 1
            self._on_their_way += 1

    def _acknowledged(self, partition: _Partition, envelope: Envelope, offset: int | None, error: str | None) -> None:
        partition.on_their_way -= 1
        self._on_their_way -= 1
        if offset is not None and partition.topic == self._settings.topic:
            self._behind.backlog.add(partition.number, offset, envelope.tenants)
        self._settle(envelope, error)
        if partition.pieces and not partition.on_their_way and self._loop is not None:
            self._send_at(self._loop, partition, partition.sent_at + partition.pace)

    def _settle(self, envelope: Envelope, error: str | None) -> None:
        for request in envelope.requests:
            request.settle(error, self._counts)

    def _replace(self, broken: Producer) -> None:
        # After a fatal error an idempotent producer accepts nothing more. What it still holds fails now: nobody else
        # will ever tell the requests that wait for it.
        if self._producer is broken and self._loop is not None:
            log.error("ingest.kafka_producer_replaced")
            self._producer = self._new_producer()
            self._ending.add(asyncio.create_task(asyncio.to_thread(_end, broken), name="ending a broken producer"))


def _end(broken: Producer) -> None:
    broken.purge()
    broken.flush(TIMEOUT_SECONDS)
    broken.close()
