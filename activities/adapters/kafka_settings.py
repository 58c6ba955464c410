"""How to reach Kafka, and its topics as code. Settings have librdkafka's names: SASL and TLS need no mapping."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from activities.ingestion.ports import IngestUnavailable

TIMEOUT_SECONDS = 10.0
REPLAYED = "replayed"
"""Header of a record that was a dead letter before."""

_NOBODY_ANSWERS = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.NOT_CONTROLLER,
    }
)


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """`brokers` is `host:port,...`; `client` adds librdkafka's settings such as `sasl.mechanism`."""

    brokers: str
    client: Mapping[str, str] = field(default_factory=dict)
    topic: str = "events"
    dead_letter_topic: str = "events_dlq"
    system_topic: str = "system_events"
    """What other systems are told, beside webhooks."""
    group: str = "durabill_sink"
    partitions: int = 6
    replication: int = -1
    """-1: the broker's default."""

    def lazy(self) -> "KafkaSettings":
        """The lane of tenants marked bulk: a topic and a consumer group of its own, so that it delays nobody else."""
        return replace(self, topic=f"{self.topic}_lazy", group=f"{self.group}_lazy")

    def lanes(self) -> "tuple[KafkaSettings, KafkaSettings]":
        """Both ways by which events travel."""
        return self, self.lazy()

    def common(self, **more: Any) -> dict[str, Any]:
        """The settings of any client of this cluster, and `more` (with `_` for `.` in names)."""
        return {
            "bootstrap.servers": self.brokers,
            **self.client,
            **{name.replace("_", "."): value for name, value in more.items()},
        }


async def ensure_topics(settings: KafkaSettings) -> None:
    """Makes the topics that are missing; existing ones stay as they are.

    Raises IngestUnavailable when no broker answers, KafkaException when they refuse.
    """
    await asyncio.to_thread(_create, settings)


async def ensure_system_topic(settings: KafkaSettings) -> None:
    """Makes the topic of what other systems are told, if it is missing. Raises as `ensure_topics` does."""
    await asyncio.to_thread(_create_missing, settings, [_system_topic(settings)])


def _create(settings: KafkaSettings) -> None:
    wanted = [
        *(NewTopic(lane.topic, settings.partitions, settings.replication) for lane in settings.lanes()),
        NewTopic(settings.dead_letter_topic, 1, settings.replication, config={"retention.ms": "-1"}),
        _system_topic(settings),
    ]
    _create_missing(settings, wanted)


def _system_topic(settings: KafkaSettings) -> NewTopic:
    return NewTopic(settings.system_topic, settings.partitions, settings.replication)


def _create_missing(settings: KafkaSettings, wanted: list[NewTopic]) -> None:
    admin = AdminClient(settings.common())
    for created in admin.create_topics(wanted, operation_timeout=TIMEOUT_SECONDS).values():
        try:
            created.result(TIMEOUT_SECONDS)
        except TimeoutError:
            raise IngestUnavailable(f"no broker at {settings.brokers} answered for {TIMEOUT_SECONDS:g} s") from None
        except KafkaException as error:
            if error.args[0].code() in _NOBODY_ANSWERS:
                raise IngestUnavailable(f"no broker at {settings.brokers} answers: {error.args[0].str()}") from error
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
