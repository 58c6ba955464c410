"""Webhook events into the Kafka topic `system_events`, acknowledged by all in-sync replicas."""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from activities.adapters.kafka_settings import TIMEOUT_SECONDS, KafkaSettings, ensure_system_topic
from activities.outbox_publisher import SystemEvent

ID = "id"
TYPE = "type"
"""Names of the record's headers."""

log = structlog.get_logger()


class KafkaSystemEvents:
    """Connects, and makes the topic if it is missing, when it is first used."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: Producer | None = None

    async def publish(self, events: Sequence[SystemEvent]) -> Sequence[str | None]:
        """See `SystemEvents.publish`. Raises KafkaException when the topic cannot be made."""
        if self._producer is None:
            await ensure_system_topic(self._settings)
        return await asyncio.to_thread(self._publish, events)

    async def close(self) -> None:
        """Nothing is on its way between two calls."""
        self._producer = None

    def _publish(self, events: Sequence[SystemEvent]) -> list[str | None]:
        producer = self._producer = self._producer or self._new_producer()
        answers: list[str | None] = ["Kafka has not acknowledged it in time"] * len(events)
        fatal: list[str] = []

        def acknowledged(place: int, error: KafkaError | None, _message: Message) -> None:
            answers[place] = None if error is None else f"Kafka did not take it: {error.str()}"
            if error is not None and error.fatal():
                fatal.append(error.str())

        for place, event in enumerate(events):
            try:
                producer.produce(
                    self._settings.system_topic,
                    value=event.payload.encode(),
                    key=event.key.encode(),
                    headers={ID: event.id, TYPE: event.type},
                    on_delivery=partial(acknowledged, place),
                )
            except (BufferError, KafkaException) as error:
                answers[place] = f"Kafka did not take it: {error}"
        if producer.flush(TIMEOUT_SECONDS + 1) or fatal:
            # What is still on its way may arrive twice; a fatal error leaves a producer that accepts nothing more.
            log.warning("system_events.producer_replaced", fatal=fatal[:1])
            self._producer = None
        return answers

    def _new_producer(self) -> Producer:
        return Producer(
            self._settings.common(
                enable_idempotence=True,
                acks="all",
                compression_type="lz4",
                linger_ms=5,
                delivery_timeout_ms=int(TIMEOUT_SECONDS * 1000),
            )
        )
