"""`durabill migrate`: every store brought up to date, in an order that lets a failed run be repeated."""

from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

from temporalio.service import RPCError

from activities.adapters.clickhouse import migrate_clickhouse
from activities.adapters.kafka_settings import ensure_topics
from models.migrate import migrate_postgres
from starter.cli.shared import CliError
from starter.clients import connect_temporal, kafka_settings
from starter.settings import Settings, temporal_connection
from workflows.schedules import apply_schedules
from workflows.search_attributes import register

T = TypeVar("T")
PROBE = timedelta(seconds=5)


async def migrate_all(settings: Settings) -> dict[str, list[str]]:
    """What was applied, by system. Raises SettingsError, and CliError that names the system which did not answer."""
    postgres, clickhouse = settings.require("postgres_dsn"), settings.require("clickhouse_dsn")
    done = {
        "Postgres": await _reach("Postgres", "DURABILL_POSTGRES_DSN", migrate_postgres(postgres)),
        "ClickHouse": await _reach(
            "ClickHouse",
            "DURABILL_CLICKHOUSE_DSN",
            migrate_clickhouse(clickhouse, settings.event_retention_months),
        ),
        "Temporal": await _reach("Temporal", "TEMPORAL_ADDRESS", _prepare_namespace(settings)),
    }
    if settings.kafka_brokers is not None:
        await _reach("Kafka", "DURABILL_KAFKA_BROKERS", _make_topics(settings))
        done["Kafka"] = []
    return done


async def _make_topics(settings: Settings) -> None:
    try:
        await ensure_topics(kafka_settings(settings))
    except Exception as problem:  # librdkafka's errors have no common root outside of the adapters
        raise ConnectionError(str(problem)) from problem


async def _prepare_namespace(settings: Settings) -> list[str]:
    """Search attributes that were missing; Schedules are brought to their table each time."""
    client = await connect_temporal(settings)
    await client.service_client.check_health(timeout=PROBE)
    added = await register(client)
    await apply_schedules(client)
    return added


async def _reach(system: str, variable: str, work: Awaitable[T]) -> T:
    from models.clickhouse.client import ClickHouseUnavailable

    try:
        return await work
    except (OSError, ClickHouseUnavailable, RPCError, RuntimeError) as problem:
        where = f" ({temporal_connection().get('target_host')})" if system == "Temporal" else ""
        raise CliError(f"{system}{where} cannot be migrated: {problem}. Check {variable}.") from problem
