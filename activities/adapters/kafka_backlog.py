"""How far the consumers of a lane have come, asked of the broker now and then while something is unstored."""

import asyncio
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from activities.adapters.kafka_settings import KafkaSettings
from activities.ingestion.backlog import Backlog

LOOK_SECONDS: Final = 0.2
ANSWER_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)


class KafkaBacklog:
    """Keeps a `Backlog` up to date from the group's committed offsets. `start` it inside the event loop."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._consumer: Consumer | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self.backlog = Backlog()

    def start(self) -> None:
        """Begins to look. The broker need not answer yet."""
        # Not a member of the group: it only asks.
        self._consumer = Consumer(self._settings.common(group_id=self._settings.group, enable_auto_commit=False))
        self._task = asyncio.create_task(self._run(self._consumer), name="how far the consumers are")

    async def close(self) -> None:
        """Ends looking, then the connection: never under a question that waits for its answer."""
        self._ending.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._consumer is not None:
            await asyncio.to_thread(self._consumer.close)

    async def _run(self, consumer: Consumer) -> None:
        while not await self._ends_within(LOOK_SECONDS):
            if asked := [TopicPartition(self._settings.topic, number) for number in self.backlog.partitions]:
                try:
                    found = await asyncio.to_thread(consumer.committed, asked, ANSWER_SECONDS)
                except KafkaException as error:
                    log.debug("ingest.backlog_unknown", error=error.args[0].str())
                else:
                    self.backlog.stored({one.partition: one.offset for one in found if one.error is None})

    async def _ends_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._ending.wait(), seconds)
        except TimeoutError:
            return False
        return True
