"""Runs the consumer of usage events with the settings of the process."""

import structlog

from models.clickhouse.client import ClickHouseError
from starter.cli.shared import CliError
from starter.clients import kafka_settings
from starter.consume import consume
from starter.settings import Settings

log = structlog.get_logger(__name__)


async def serve(settings: Settings, lazy: bool = False) -> None:
    """Consumes until SIGTERM. Raises SettingsError for what is not set, CliError for what ended the consumer."""
    clickhouse_dsn, kafka = settings.require("clickhouse_dsn"), kafka_settings(settings)
    try:
        await consume(clickhouse_dsn, kafka, settings.metrics_port, lazy=lazy, lazy_tenants=settings.lazy_tenants)
    except ClickHouseError as problem:
        raise CliError(f"{problem}. Check DURABILL_CLICKHOUSE_DSN.") from problem
    except Exception as problem:  # librdkafka's errors have no common root outside of the adapters
        log.exception("consume.failed", brokers=kafka.brokers)
        raise CliError(f"The consumer ended ({problem}). Is Kafka at {kafka.brokers} reachable?") from problem
