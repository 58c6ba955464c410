"""Events into Kafka: acknowledged by all in-sync replicas before the API answers 202.

Owns gathering requests into envelopes of one partition. The partition follows from the customer, so one identity always
meets the same partition. An envelope whose acknowledgement is lost is an error of its requests: a retry counts once.
"""

import asyncio
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from activities.adapters.kafka_backlog import KafkaBacklog
from activities.adapters.kafka_settings import TIMEOUT_SECONDS, KafkaSettings
from activities.ingestion.counts import AcceptanceCounts
from activities.ingestion.events import ENVELOPE_EVENTS, Event, customer_key, encode_envelope, key_of
from activities.ingestion.ports import IngestUnavailable

GATHER_SECONDS: Final = 0.003
BUSY_GATHER_SECONDS: Final = 0.05
"""At most so long while envelopes are on their way. What comes meanwhile goes when they have arrived: the busier the
broker, the fewer and larger the envelopes, and these cost the broker, the consumer and us less an event."""

PACE_SECONDS: Final = 0.008
"""At least so long from one sending to the next, unless all who wait for their answers have sent again by then. Each
partition is a request to the broker, whatever it holds: requests of a few events each were most of their cost."""

RETURN_SECONDS: Final = 0.004
"""For so long after an acknowledgement the next requests of those who have just been answered are waited for."""

ENOUGH_EVENTS: Final = 4000
"""So many need not wait for company."""

ENVELOPE_BYTES: Final = 900_000
"""Keeps a record under Kafka's default of 1 MB; a single event has at most 256 KiB of properties."""

ACKNOWLEDGED_WITHIN_MS: Final = 10_000

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Request:
    """One call of `accept`, done when each of its envelopes is acknowledged; `sent_at` in Unix milliseconds."""

    topic: str
    events: Sequence[Event]
    done: asyncio.Future[None]
    envelopes: int = 0
    sent_at: int = 0
    failed: bool = False

    def delivered(self, error: str | None, counts: AcceptanceCounts | None) -> None:
        self.envelopes -= 1
        if error is not None:
            self.failed = True
            if not self.done.done():
                self.done.set_exception(IngestUnavailable(f"Kafka did not acknowledge: {error}"))
        if self.envelopes > 0:
            return
        if not self.done.done():
            self.done.set_result(None)
        if counts is not None:
            count = counts.unconfirmed if self.failed else counts.accepted
            count(self.events, self.sent_at)


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
        self._lazy_tenants = frozenset(lazy_tenants)
        self._counts = counts
        self._clock_ns = clock_ns
        self._behind = KafkaBacklog(settings)
        self._waiting: list[_Request] = []
        self._waiting_events = 0
        self._flushing: asyncio.TimerHandle | None = None
        self._flushed_at = 0.0
        """By the clock of the event loop."""
        self._sent_events = 0
        self._expected = 0
        """What was on its way and what waited at the last acknowledgement: so much waits when all have sent again."""
        self._producer: Producer | None = None
        self._partitions: dict[str, int] = {}
        """How many each topic has."""
        self._counting: dict[str, asyncio.Task[int]] = {}
        self._on_their_way = 0
        self._ending: set[asyncio.Task[None]] = set()
        self._stopping = threading.Event()
        self._poller: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Connects. The broker need not answer yet: until it does, `accept` raises IngestUnavailable."""
        self._loop = asyncio.get_running_loop()
        self._stopping.clear()
        self._producer = self._new_producer()
        self._poller = threading.Thread(target=self._poll, name="kafka deliveries", daemon=True)
        self._poller.start()
        self._behind.start()

    async def close(self) -> None:
        """Waits for what is on its way, then ends."""
        self._flush()
        producer, self._producer = self._producer, None
        if producer is not None:
            await asyncio.to_thread(producer.flush, TIMEOUT_SECONDS)
        self._stopping.set()
        if self._poller is not None:
            await asyncio.to_thread(self._poller.join)
        if producer is not None:
            await asyncio.to_thread(producer.close)
        if self._ending:
            await asyncio.wait(self._ending)
        await self._behind.close()

    async def accept(self, events: Sequence[Event]) -> None:
        """Returns when the broker has acknowledged all of `events`. Raises IngestUnavailable."""
        if self._loop is None or self._producer is None:
            raise IngestUnavailable("this process is not connected to Kafka")
        lazy = events[0].tenant_id in self._lazy_tenants  # a request is of one tenant
        topic = self._settings.lazy().topic if lazy else self._settings.topic
        if not lazy:
            await self._behind.backlog.turn(events[0].tenant_id)
        if topic not in self._partitions:
            self._partitions[topic] = await self._partition_count(topic)
        request = _Request(topic, events, self._loop.create_future())
        self._waiting.append(request)
        self._waiting_events += len(events)
        if self._waiting_events >= ENOUGH_EVENTS or self._all_are_back():
            self._flush()
        elif self._flushing is None:
            gather = BUSY_GATHER_SECONDS if self._on_their_way else GATHER_SECONDS
            self._flush_at(self._loop, max(self._loop.time() + gather, self._flushed_at + PACE_SECONDS))
        await request.done

    def _all_are_back(self) -> bool:
        return not self._on_their_way and 0 < self._expected <= self._waiting_events

    def _flush_at(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        self._flushing = loop.call_at(at, self._flush)

    async def _partition_count(self, topic: str) -> int:
        """One question for all who wait: a broker that does not answer must not queue requests behind each other."""
        counting = self._counting.get(topic)
        if counting is None:
            asked = asyncio.to_thread(self._count_partitions, self._producer, topic)
            counting = self._counting[topic] = asyncio.create_task(asked, name=f"partitions of {topic}")
            counting.add_done_callback(lambda _: self._counting.pop(topic))
        await asyncio.wait([counting])  # a request that is given up must not take the answer from the others
        return counting.result()

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

    def _poll(self) -> None:
        while not self._stopping.is_set():
            producer = self._producer
            if producer is None:
                self._stopping.wait(0.01)
            else:
                producer.poll(0.1)

    def _flush(self) -> None:
        """Sends what has gathered; runs on the event loop."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._loop is not None:
            self._flushed_at = self._loop.time()
        self._sent_events += self._waiting_events
        self._expected = 0
        waiting, self._waiting, self._waiting_events = self._waiting, [], 0
        pieces: dict[tuple[str, int], list[_Piece]] = {}
        for request in waiting:
            for partition, events in _by_partition(request.events, self._partitions[request.topic]).items():
                pieces.setdefault((request.topic, partition), []).append((request, events))
        envelopes = [(at, part) for at, found in pieces.items() for part in _envelopes(found)]
        now = self._clock_ns() // 1_000_000
        for _, part in envelopes:
            for request in part.requests:
                request.envelopes += 1
                request.sent_at = now
        for (topic, partition), part in envelopes:
            self._produce(topic, partition, part, now)

    def _produce(self, topic: str, partition: int, envelope: "_Envelope", now: int) -> None:
        loop, producer, requests = self._loop, self._producer, envelope.requests
        if loop is None or producer is None:
            self._delivered(requests, "this process is shutting down")
            return

        def acknowledged(error: KafkaError | None, message: Message) -> None:
            if error is not None and error.fatal():
                loop.call_soon_threadsafe(self._replace, producer)
            offset = message.offset() if error is None and topic == self._settings.topic else None
            text = None if error is None else error.str()
            loop.call_soon_threadsafe(self._acknowledged, envelope, partition, offset, text)

        try:
            producer.produce(
                topic,
                value=envelope.value,
                key=envelope.key,
                partition=partition,
                timestamp=now,
                on_delivery=acknowledged,
            )
        except (BufferError, KafkaException) as error:
            self._delivered(requests, str(error))
            if isinstance(error, KafkaException) and error.args[0].fatal():
                self._replace(producer)
        else:
            self._on_their_way += 1

    def _acknowledged(self, envelope: "_Envelope", partition: int, offset: int | None, error: str | None) -> None:
        self._on_their_way -= 1
        if offset is not None:
            self._behind.backlog.add(partition, offset, envelope.tenants)
        self._delivered(envelope.requests, error)
        if not self._on_their_way:
            self._expected, self._sent_events = self._sent_events + self._waiting_events, 0
            if self._waiting and self._loop is not None:
                self._flush_at(self._loop, max(self._loop.time() + RETURN_SECONDS, self._flushed_at + PACE_SECONDS))

    def _delivered(self, requests: Sequence[_Request], error: str | None) -> None:
        for request in requests:
            request.delivered(error, self._counts)

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


@dataclass(frozen=True, slots=True)
class _Envelope:
    """One Kafka record, and the requests whose events it holds."""

    key: bytes
    value: bytes
    requests: list[_Request]
    tenants: Counter[str]
    """How many events of each it holds."""


_Piece = tuple[_Request, list[Event]]
"""The events of one request that go into one partition."""


def _by_partition(events: Sequence[Event], partitions: int) -> dict[int, list[Event]]:
    """The events of a request, all of one environment, by the partition of their customers."""
    tenant_id, environment_id = events[0].tenant_id, events[0].environment_id
    found: dict[int, list[Event]] = {}
    for event in events:
        partition = _number_of(tenant_id, environment_id, event.external_customer_id) % partitions
        if partition in found:
            found[partition].append(event)
        else:
            found[partition] = [event]
    return found


@lru_cache(maxsize=100_000)
def _number_of(tenant_id: str, environment_id: str, external_customer_id: str) -> int:
    return zlib.crc32(key_of(tenant_id, environment_id, external_customer_id))


def _envelopes(pieces: Sequence[_Piece]) -> Iterator[_Envelope]:
    """Events of one partition as records of a bounded number each."""
    events: list[Event] = []
    requests: list[_Request] = []
    for request, part in pieces:
        for start in range(0, len(part), ENVELOPE_EVENTS):
            piece = part[start : start + ENVELOPE_EVENTS]
            if len(events) + len(piece) > ENVELOPE_EVENTS:
                yield from _fitting(events, requests)
                events, requests = [], []
            events += piece
            requests.append(request)
    yield from _fitting(events, requests)


def _fitting(events: Sequence[Event], requests: list[_Request]) -> Iterator[_Envelope]:
    """One that would be too large is halved until it fits or holds a single event; each half is waited for by all."""
    value = encode_envelope(events)
    if len(value) > ENVELOPE_BYTES and len(events) > 1:
        middle = len(events) // 2
        yield from _fitting(events[:middle], requests)
        yield from _fitting(events[middle:], requests)
        return
    yield _Envelope(customer_key(events[0]), value, requests, Counter([event.tenant_id for event in events]))
