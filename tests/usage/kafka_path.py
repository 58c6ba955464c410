"""A broker, an engine, an API process and consumers of a test alone, to be killed and stalled while a load runs."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from activities.adapters.clickhouse import connect_clickhouse, migrate_clickhouse
from activities.adapters.kafka_settings import KafkaSettings, ensure_topics
from deploy.embedded.process import Part
from tests.parts import Parts
from tests.usage.load import Load, assert_accounted, print_counts
from tests.usage.processes import Child, answers, api_child
from tests.usage.test_kafka_faults import settles

SESSION_MS = 2000
"""After so long a silent consumer's partitions go to another."""


@dataclass
class KafkaPath:
    """Everything between a client and the stored events. `end` it."""

    kafka: Part
    clickhouse: Part
    settings: KafkaSettings
    api: Child
    url: str
    folder: Path

    def consumer(self, name: str, stop_at: str = "", *more: str) -> Child:
        """A consumer; one with `stop_at` stops at that step of its second block (see `reached`)."""
        stopping = ("--stop-at", stop_at, "--reached", str(self.folder / name)) if stop_at else ()
        place = ("--clickhouse", self.clickhouse.running.url, "--kafka", self.settings.brokers, "--topic", "events")
        log = self.folder / f"{name}.log"
        return Child(log, "consume", *place, "--session-ms", str(SESSION_MS), *stopping, *more)

    async def reached(self, name: str, child: Child, seconds: float = 60) -> None:
        """Returns when the consumer of that name has stopped at its step."""
        async with asyncio.timeout(seconds):
            while not (self.folder / name).exists():
                assert child.is_running, (self.folder / f"{name}.log").read_text()[-2000:]
                await asyncio.sleep(0.02)

    async def end(self, load: Load, running: "asyncio.Task[None]", what: str, consumers: Sequence[Child]) -> None:
        """Lets the load end and everything settle, then counts. Raises AssertionError for what is lost or doubled."""
        load.stop()
        await running
        await settles(self.settings)
        assert [one.terminate() for one in consumers] == [0] * len(consumers)
        assert self.api.terminate() == 0
        connection = await connect_clickhouse(self.clickhouse.running.url)
        await print_counts(connection, load, what)
        await assert_accounted(connection, load)
        await connection.close()


async def begin(parts: Parts, folder: Path) -> KafkaPath:
    """Starts all but the consumers."""
    kafka, clickhouse = parts.start("kafka"), parts.start("clickhouse")
    await migrate_clickhouse(clickhouse.running.url)
    settings = KafkaSettings(kafka.running.url, topic="events", dead_letter_topic="events_dlq", partitions=3)
    await ensure_topics(settings)
    broker = ("--kafka", kafka.running.url, "--topic", "events")
    api, url = api_child(folder / "api.log", "--clickhouse", clickhouse.running.url, *broker)
    await answers(url)
    return KafkaPath(kafka, clickhouse, settings, api, url, folder)
