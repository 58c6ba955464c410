"""What shares a record; and the producer in trouble: no broker, a fatal error. Each request is answered, and soon."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from activities.adapters.kafka_producer import KafkaEventLog
from activities.adapters.kafka_settings import KafkaSettings, ensure_topics
from activities.ingestion.ports import IngestUnavailable
from tests.usage.test_kafka_faults import event, settings_for

FATAL = KafkaError(KafkaError._FATAL, "out of sequence", fatal=True)
Delivery = Callable[[KafkaError | None, Any], None]


async def test_many_requests_share_one_question_to_a_broker_that_does_not_answer() -> None:
    log = KafkaEventLog(KafkaSettings("127.0.0.1:1"))
    await log.start()
    begun = time.monotonic()
    answers = await asyncio.gather(*(log.accept([event(number)]) for number in range(200)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {IngestUnavailable}
    # One after the other, a handful at a time, they would wait for minutes. The answer is not kept: the next one asks.
    assert time.monotonic() - begun < 20
    with pytest.raises(IngestUnavailable, match="Kafka does not answer"):
        await log.accept([event(1)])
    await log.close()


class Broken:
    """A producer after a fatal error: it reports the first message, keeps the others, and takes no more."""

    def __init__(self, at_once: bool) -> None:
        self._at_once = at_once
        self._held: list[Delivery] = []
        self._due: list[tuple[Delivery, KafkaError]] = []

    def produce(self, topic: str, on_delivery: Delivery, **_: Any) -> None:
        if self._at_once:
            raise KafkaException(FATAL)
        if self._held:
            self._held.append(on_delivery)
        else:
            self._held.append(on_delivery)
            self._due.append((on_delivery, FATAL))

    def poll(self, timeout: float) -> int:
        due, self._due = self._due, []
        for deliver, error in due:
            deliver(error, None)
        return len(due)

    def purge(self) -> None:
        self._due = [(deliver, KafkaError(KafkaError._PURGE_INFLIGHT)) for deliver in self._held[1:]]

    def flush(self, timeout: float) -> int:
        return self.poll(0) * 0

    def close(self) -> bool:
        return True


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_fatal_error_fails_what_waits_and_nothing_after_it(kafka_brokers: str, at_once: bool) -> None:
    settings = settings_for(kafka_brokers)
    await ensure_topics(settings)
    log = KafkaEventLog(settings)
    await log.start()
    await log.accept([event(0)])
    log._producer = Broken(at_once)  # type: ignore[assignment]
    events = [event(number, f"customer-{number}") for number in range(30)]  # of all partitions
    async with asyncio.timeout(10):
        with pytest.raises(IngestUnavailable, match="did not acknowledge"):
            await log.accept(events)
        await log.accept(events)  # another producer has taken its place
    await log.close()


async def test_clients_that_wait_for_answers_share_records(kafka_brokers: str) -> None:
    settings = replace(settings_for(kafka_brokers), partitions=1)
    await ensure_topics(settings)
    log = KafkaEventLog(settings)
    await log.start()
    clients, requests = 24, 20

    async def client(number: int) -> None:
        for request in range(requests):
            await log.accept([event(number * requests + request)])

    await asyncio.gather(*map(client, range(clients)))
    await log.close()
    reader = Consumer(settings.common(group_id="nobody"))
    _, records = reader.get_watermark_offsets(TopicPartition(settings.topic, 0), timeout=20)
    reader.close()
    assert records < clients * requests / 8
