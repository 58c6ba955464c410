"""Runs the consumer of usage events with the settings of the process."""

import structlog
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from activities.ingestion.supervision import LAZY, USUAL
from models.clickhouse.client import ClickHouseError
from starter.cli.shared import CliError
from starter.clients import connect_temporal, kafka_settings
from starter.consume import consume
from starter.settings import Settings
from workflows.contracts import INGEST, IngestionInput, ingestion_workflow_id

log = structlog.get_logger(__name__)


async def supervise(settings: Settings, lazy: bool, consumers: int) -> str:
    """Starts the workflow that keeps consumers of a lane alive and returns its id; one that runs already goes on."""
    lane = LAZY if lazy else USUAL
    client = await connect_temporal(settings)
    try:
        handle = await client.start_workflow(
            "IngestionWorkflow",
            IngestionInput(lane, consumers),
            id=ingestion_workflow_id(lane),
            task_queue=INGEST,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
    except RPCError as problem:
        raise CliError(f"Temporal cannot be reached: {problem}. Check TEMPORAL_ADDRESS.") from problem
    return handle.id


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
