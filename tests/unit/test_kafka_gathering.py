"""What shares a record, when it is sent and in which minute it counts: with a producer that answers as it is told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaError

from activities.adapters import kafka_producer
from activities.adapters.kafka_backlog import KafkaBacklog
from activities.adapters.kafka_envelopes import by_partition
from activities.adapters.kafka_producer import KafkaEventLog
from activities.adapters.kafka_settings import KafkaSettings
from activities.ingestion.counts import AcceptanceCounts
from activities.ingestion.events import Event, decode_envelope
from activities.ingestion.ports import IngestUnavailable

PARTITIONS = 3
MINUTE = 60_000


@dataclass
class Message:
    place: int

    def offset(self) -> int:
        return self.place


@dataclass
class Sent:
    """A record, and how its sender is told what became of it."""

    partition: int
    timestamp: int
    events: list[Event]
    deliver: Callable[[KafkaError | None, Any], None]


@dataclass
class Producer:
    """Acknowledges what is in partitions that are not `silent`."""

    sent: list[Sent] = field(default_factory=list)
    silent: set[int] = field(default_factory=set)
    refusing: set[int] = field(default_factory=set)
    _waiting: list[Sent] = field(default_factory=list)

    def produce(self, topic: str, value: bytes, partition: int, timestamp: int, on_delivery: Any, **_: Any) -> None:
        events, _bad = decode_envelope(value)
        self.sent.append(Sent(partition, timestamp, events, on_delivery))
        self._waiting.append(self.sent[-1])

    def poll(self, timeout: float) -> int:
        due = [each for each in self._waiting if each.partition not in self.silent]
        self._waiting = [each for each in self._waiting if each.partition in self.silent]
        for each in due:
            error = KafkaError(KafkaError._MSG_TIMED_OUT) if each.partition in self.refusing else None
            each.deliver(error, Message(len(self.sent)))
        return len(due)

    def flush(self, timeout: float) -> int:
        return self.poll(0) * 0

    def close(self) -> bool:
        return True


class Counts(AcceptanceCounts):
    """By minute."""

    def __init__(self) -> None:
        self.answered: Counter[int] = Counter()
        self.doubtful: Counter[int] = Counter()

    def accepted(self, events: Any, at: int) -> None:
        self.answered[at // MINUTE] += len(events)

    def unconfirmed(self, events: Any, at: int) -> None:
        self.doubtful[at // MINUTE] += len(events)


@dataclass
class Path:
    log: KafkaEventLog
    producer: Producer
    counts: Counts
    now_ms: int = 0


@pytest.fixture
async def path(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    async def nothing(_: KafkaBacklog) -> None: ...

    monkeypatch.setattr(KafkaBacklog, "start", lambda _: None)
    monkeypatch.setattr(KafkaBacklog, "close", nothing)
    counts, producer = Counts(), Producer()
    log = KafkaEventLog(KafkaSettings("nowhere:1"), lambda: made.now_ms * 1_000_000, counts)
    made = Path(log, producer, counts)
    monkeypatch.setattr(log, "_new_producer", lambda: producer)
    monkeypatch.setattr(log, "_count_partitions", lambda *_: PARTITIONS)
    await log.start()
    yield made
    await log.close()


def events_of(*partitions: int, first: int = 0) -> list[Event]:
    """An event of each of these partitions; `first` numbers their ids."""
    return [event_of(CUSTOMERS[partition], f"e-{number}") for number, partition in enumerate(partitions, first)]


def event_of(customer: str, event_id: str = "e") -> Event:
    return Event("t", "env", customer, "call", 1, event_id, "", "{}", 1)


CUSTOMERS = {next(iter(by_partition([event_of(name)], PARTITIONS))): name for name in map(str, range(20))}
"""One of each partition."""


async def test_partitions_do_not_wait_for_each_other(path: Path) -> None:
    path.producer.silent = {0}
    held = asyncio.create_task(path.log.accept(events_of(0)))
    async with asyncio.timeout(60):
        for number in range(5):
            await path.log.accept(events_of(1, 2, first=10 * number))
    assert not held.done()
    assert [each.partition for each in path.producer.sent].count(0) == 1
    path.producer.silent = set()
    async with asyncio.timeout(60):
        await held


async def test_what_comes_while_a_record_is_on_its_way_shares_the_next(path: Path) -> None:
    path.producer.silent = {0}
    requests = [asyncio.create_task(path.log.accept(events_of(0)))]
    async with asyncio.timeout(60):
        while not path.producer.sent:  # noqa: ASYNC110 (a timer sends)
            await asyncio.sleep(0.001)
    requests += [asyncio.create_task(path.log.accept(events_of(0, first=number))) for number in range(1, 9)]
    await asyncio.sleep(0)
    path.producer.silent = set()
    async with asyncio.timeout(60):
        await asyncio.gather(*requests)
    assert [len(each.events) for each in path.producer.sent] == [1, 8]


async def test_a_request_is_done_when_all_of_its_partitions_are(path: Path) -> None:
    path.producer.silent = {2}
    request = asyncio.create_task(path.log.accept(events_of(0, 1, 2)))
    async with asyncio.timeout(60):
        await path.log.accept(events_of(0, 1))
    assert not request.done()
    path.producer.silent, path.producer.refusing = set(), {2}
    with pytest.raises(IngestUnavailable, match="did not acknowledge"):
        async with asyncio.timeout(60):
            await request
    assert path.counts.answered == {0: 2}
    assert path.counts.doubtful == {0: 3}, "of a request that was not answered nobody knows what is in the log"


async def test_events_count_in_the_minute_of_their_record(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_producer, "BUSY_GATHER_SECONDS", 60)
    path.producer.silent = {0}
    first = asyncio.create_task(path.log.accept(events_of(0)))
    async with asyncio.timeout(60):
        while not path.producer.sent:  # noqa: ASYNC110 (a timer sends)
            await asyncio.sleep(0.001)
        both = asyncio.create_task(path.log.accept(events_of(0, 1, first=5)))  # one half waits for the first record
        while len(path.producer.sent) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        path.now_ms = MINUTE
        path.producer.silent = set()
        await asyncio.gather(first, both)
    in_the_log = Counter({0: 0})
    for each in path.producer.sent:
        in_the_log[each.timestamp // MINUTE] += len(each.events)
    assert path.counts.answered == in_the_log == {0: 2, 1: 1}
