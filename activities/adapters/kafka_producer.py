"""Events into Kafka: acknowledged by all in-sync replicas before the API answers 202.

Owns gathering requests into envelopes of one partition. The partition follows from the customer, so one identity always
meets the same partition. An envelope whose acknowledgement is lost is an error of its requests: a retry counts once.
"""

import asyncio
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from activities.adapters.kafka_settings import TIMEOUT_SECONDS, KafkaSettings
from activities.ingestion.counts import AcceptanceCounts
from activities.ingestion.events import ENVELOPE_EVENTS, Event, customer_key, encode_envelope
from activities.ingestion.ports import IngestUnavailable

GATHER_SECONDS: Final = 0.003
BUSY_GATHER_SECONDS: Final = 0.01
"""While envelopes are on their way: fewer and larger ones cost the broker, the consumer and us less an event."""

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
        self._waiting: list[_Request] = []
        self._flushing: asyncio.TimerHandle | None = None
        self._producer: Producer | None = None
        self._partitions: dict[str, int] = {}
        """How many each topic has."""
        self._on_their_way = 0
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

    async def close(self) -> None:
        """Waits for what is on its way, then ends."""
        self._flush()
        producer, self._producer = self._producer, None
        if producer is not None:
            await asyncio.to_thread(producer.flush, TIMEOUT_SECONDS)
        self._stopping.set()
        if self._poller is not None:
            await asyncio.to_thread(self._poller.join)

    async def accept(self, events: Sequence[Event]) -> None:
        """Returns when the broker has acknowledged all of `events`. Raises IngestUnavailable."""
        if self._loop is None or self._producer is None:
            raise IngestUnavailable("this process is not connected to Kafka")
        lazy = events[0].tenant_id in self._lazy_tenants  # a request is of one tenant
        topic = self._settings.lazy().topic if lazy else self._settings.topic
        if topic not in self._partitions:
            self._partitions[topic] = await asyncio.to_thread(self._count_partitions, self._producer, topic)
        request = _Request(topic, events, self._loop.create_future())
        self._waiting.append(request)
        if self._flushing is None:
            gather = BUSY_GATHER_SECONDS if self._on_their_way else GATHER_SECONDS
            self._flushing = self._loop.call_later(gather, self._flush)
        await request.done

    def _count_partitions(self, producer: Producer, name: str) -> int:
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
        self._flushing = None
        waiting, self._waiting = self._waiting, []
        by_partition: dict[tuple[str, int], list[tuple[Event, _Request]]] = {}
        places: dict[tuple[str, str, str], list[tuple[Event, _Request]]] = {}
        for request in waiting:
            for event in request.events:
                customer = (event.tenant_id, event.environment_id, event.external_customer_id)
                place = places.get(customer)
                if place is None:
                    partition = zlib.crc32(customer_key(event)) % self._partitions[request.topic]
                    place = places[customer] = by_partition.setdefault((request.topic, partition), [])
                place.append((event, request))
        envelopes = [(at, part) for at, all_ in by_partition.items() for part in _envelopes(all_)]
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

        def acknowledged(error: KafkaError | None, _: Message) -> None:
            if error is not None and error.fatal():
                loop.call_soon_threadsafe(self._replace, producer)
            loop.call_soon_threadsafe(self._acknowledged, requests, None if error is None else error.str())

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
        else:
            self._on_their_way += 1

    def _acknowledged(self, requests: Sequence[_Request], error: str | None) -> None:
        self._on_their_way -= 1
        self._delivered(requests, error)

    def _delivered(self, requests: Sequence[_Request], error: str | None) -> None:
        for request in requests:
            request.delivered(error, self._counts)

    def _replace(self, broken: Producer) -> None:
        # After a fatal error an idempotent producer accepts nothing more.
        if self._producer is broken:
            log.error("ingest.kafka_producer_replaced")
            self._producer = self._new_producer()


@dataclass(frozen=True, slots=True)
class _Envelope:
    """One Kafka record, and the requests whose events it holds."""

    key: bytes
    value: bytes
    requests: list[_Request]


def _envelopes(events: Sequence[tuple[Event, _Request]]) -> Iterator[_Envelope]:
    """`events` cut into records; one that would be too large is halved until it fits or holds a single event."""
    for start in range(0, len(events), ENVELOPE_EVENTS):
        yield from _fitting(events[start : start + ENVELOPE_EVENTS])


def _fitting(part: Sequence[tuple[Event, _Request]]) -> Iterator[_Envelope]:
    value = encode_envelope([event for event, _ in part])
    if len(value) > ENVELOPE_BYTES and len(part) > 1:
        middle = len(part) // 2
        yield from _fitting(part[:middle])
        yield from _fitting(part[middle:])
        return
    requests = list({id(request): request for _, request in part}.values())
    yield _Envelope(customer_key(part[0][0]), value, requests)
