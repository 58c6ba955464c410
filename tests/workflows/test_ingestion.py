"""Consumers kept alive by Temporal: the same code, its numbers in the workflow's details, an end that loses nothing."""

import asyncio
import uuid
from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

import worker
from activities.adapters.clickhouse import connect_clickhouse, migrate_clickhouse
from activities.adapters.kafka_consumer import KafkaEventSource
from activities.adapters.kafka_producer import KafkaEventLog
from activities.adapters.kafka_settings import ensure_topics
from activities.ingestion.supervision import USUAL, SinkActivities
from tests.usage.test_kafka_faults import event, settings_for, settles
from tests.world import until
from workflows.contracts import INGEST, IngestionInput
from workflows.ingestion import IngestionWorkflow


async def test_consumers_are_kept_alive_and_tell_how_they_fare(
    temporal_address: str, kafka_brokers: str, new_clickhouse_dsn: str
) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    settings = settings_for(kafka_brokers)
    await ensure_topics(settings)
    clickhouse = await connect_clickhouse(new_clickhouse_dsn)
    client = await Client.connect(temporal_address, data_converter=pydantic_data_converter)
    sinks = SinkActivities(lambda lane: KafkaEventSource(settings), clickhouse, ())
    log = KafkaEventLog(settings)
    await log.start()

    async def details() -> str:
        return str((await handle.query("__temporal_workflow_metadata")).current_details)

    def a_worker() -> Worker:
        return Worker(
            client,
            task_queue=INGEST,
            workflows=[IngestionWorkflow],
            activities=[sinks.consume],
            workflow_runner=worker.workflow_runner(sandbox=True),
            graceful_shutdown_timeout=timedelta(seconds=30),
        )

    async with a_worker():
        handle = await client.start_workflow(
            "IngestionWorkflow", IngestionInput(USUAL, 2), id=f"ingestion/{uuid.uuid4()}", task_queue=INGEST
        )
        await log.accept([event(number, f"customer-{number}") for number in range(50)])
        await settles(settings)
    # The worker was told to stop: both stints ended early, and another worker goes on where they were.
    async with a_worker():
        await log.accept([event(number, f"customer-{number}") for number in range(40, 60)])
        await settles(settings)

        async def counted() -> bool:
            return "| Stored | 5" in await details()

        await until(counted)
        await handle.cancel()
        try:
            async with asyncio.timeout(60):
                await handle.result()
        except WorkflowFailureError:
            pass
        assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
    rows = await clickhouse.query("SELECT count() FROM events FINAL")
    assert rows[0][0] == 60
    await log.close()
    await clickhouse.close()
