"""`durabill consume`: the process that carries events from Kafka into ClickHouse. Needs nothing of Temporal.

Owns signals and connections; the work is `activities.ingestion.consumption`. SIGTERM finishes the block in work and
leaves the group, so that another process takes over at once.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final, TypeVar

import structlog
from prometheus_client import start_http_server

from activities.adapters.clickhouse import connect_clickhouse
from activities.adapters.kafka_consumer import KafkaEventSource
from activities.adapters.kafka_settings import KafkaSettings, ensure_topics
from activities.ingestion.consumption import Consumption, Totals
from activities.ingestion.ports import IngestUnavailable
from activities.ingestion.sink import sink_of_lane
from models.clickhouse.client import ClickHouseUnavailable
from starter.garbage import collect_seldom

PAUSE_SECONDS: Final = 2.0
"""Between two looks for a neighbour that is not there yet."""

Found = TypeVar("Found")

log = structlog.get_logger(__name__)


async def consume(
    clickhouse_dsn: str,
    kafka: KafkaSettings,
    metrics_port: int | None = None,
    *,
    lazy: bool = False,
    lazy_tenants: Collection[str] = (),
) -> Totals:
    """Runs until SIGTERM or SIGINT. Waits for Kafka and ClickHouse; raises ClickHouseRefused or KafkaException.

    `lazy`: carries the events of tenants marked bulk (`lazy_tenants`) and no others.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stop.set)
    if metrics_port is not None:
        start_http_server(metrics_port)
    if await _once_there("Kafka", lambda: _topics_of(kafka), stop) is None:
        return Totals()
    clickhouse = await _once_there("ClickHouse", lambda: connect_clickhouse(clickhouse_dsn), stop)
    if clickhouse is None:
        return Totals()
    lane = kafka.lazy() if lazy else kafka
    collect_seldom()
    try:
        log.info("consume.started", topic=lane.topic, group=lane.group)
        totals = await Consumption(KafkaEventSource(lane), sink_of_lane(clickhouse, lazy, lazy_tenants), stop).run()
    finally:
        await clickhouse.close()
    log.info(
        "consume.stopped",
        records=totals.records,
        stored=totals.stored,
        duplicates=totals.duplicates,
        dead_lettered=totals.dead_lettered,
    )
    return totals


async def _topics_of(kafka: KafkaSettings) -> KafkaSettings:
    await ensure_topics(kafka)
    return kafka


async def _once_there(neighbour: str, reach: Callable[[], Awaitable[Found]], stop: asyncio.Event) -> Found | None:
    """What `reach` answers, however long nobody is there, as when a whole machine starts; None when told to stop."""
    while not stop.is_set():
        try:
            return await reach()
        except (IngestUnavailable, ClickHouseUnavailable) as problem:
            log.warning("consume.waiting", neighbour=neighbour, problem=str(problem))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PAUSE_SECONDS)
    return None
