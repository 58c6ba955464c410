"""`durabill consume`: the process that carries events from Kafka into ClickHouse. Needs nothing of Temporal.

Owns signals and connections; the work is `activities.ingestion.consumption`. SIGTERM finishes the block in work and
leaves the group, so that another process takes over at once.
"""

import asyncio
import gc
import signal
from collections.abc import Collection

import structlog
from prometheus_client import start_http_server

from activities.adapters.clickhouse import connect_clickhouse
from activities.adapters.kafka_consumer import KafkaEventSource
from activities.adapters.kafka_settings import KafkaSettings, ensure_topics
from activities.ingestion.consumption import Consumption, Totals
from activities.ingestion.sink import sink_of_lane

log = structlog.get_logger(__name__)


async def consume(
    clickhouse_dsn: str,
    kafka: KafkaSettings,
    metrics_port: int | None = None,
    *,
    lazy: bool = False,
    lazy_tenants: Collection[str] = (),
) -> Totals:
    """Runs until SIGTERM or SIGINT. Raises ClickHouseUnavailable or KafkaException when it cannot start.

    `lazy`: carries the events of tenants marked bulk (`lazy_tenants`) and no others.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stop.set)
    if metrics_port is not None:
        start_http_server(metrics_port)
    await ensure_topics(kafka)
    clickhouse = await connect_clickhouse(clickhouse_dsn)
    lane = kafka.lazy() if lazy else kafka
    gc.freeze()  # what has been imported stays: the collector need not go through it with every block
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
