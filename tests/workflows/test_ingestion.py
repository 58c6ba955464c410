"""Consumers kept alive by Temporal: the same code, its numbers in the workflow's details, an end that loses nothing."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

import worker
from activities.adapters.clickhouse import connect_clickhouse, migrate_clickhouse
from activities.adapters.kafka_consumer import KafkaEventSource
from activities.adapters.kafka_producer import KafkaEventLog
from activities.adapters.kafka_settings import ensure_topics
from activities.ingestion import supervision
from activities.ingestion.supervision import USUAL, SinkActivities, SinkReport
from tests.parts import Parts
from tests.usage.test_kafka_faults import event, settings_for, settles
from tests.world import until
from workflows.contracts import INGEST, IngestionInput
from workflows.ingestion import IngestionWorkflow
from workflows.wording import ingestion_details


def test_what_an_operator_reads() -> None:
    at, start = datetime(2026, 11, 29, 11, 20, 5, tzinfo=UTC), IngestionInput(USUAL, 2, stored=1000, duplicates=50)
    busy = SinkReport(0, 4200, 100, 1, 412, 12_031, 65_350, 12)
    idle = SinkReport(1, 300, 0, 0, 377, 544, 0, 3)
    details = ingestion_details(start, (busy, idle), at)
    for name, value in (
        ("Consumers", "2 of 2 report"),
        ("Rate", "12,575 events/s"),
        ("Lag", "0.4 s from accepted to stored"),
        ("Oldest unstored", "65.4 s old"),
        ("Waiting in Kafka", "15 records"),
        ("Stored", "5,500"),
        ("Duplicates", "150"),
        ("Dead letters", "1"),
    ):
        assert f"| {name} | {value} |" in details
    assert "| Oldest unstored | none: everything read is stored |" in ingestion_details(start, (idle,), at)
    assert "| Oldest unstored | unknown: no consumer has reported yet |" in ingestion_details(start, (), at)


async def test_events_are_stored_while_temporal_is_down(
    parts: Parts, kafka_brokers: str, new_clickhouse_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(supervision, "REPORT_BEATS", 2)
    await migrate_clickhouse(new_clickhouse_dsn)
    settings = settings_for(kafka_brokers)
    await ensure_topics(settings)
    clickhouse = await connect_clickhouse(new_clickhouse_dsn)
    temporal = parts.start("temporal")
    client = await Client.connect(temporal.running.url, data_converter=pydantic_data_converter)
    sources: list[KafkaEventSource] = []

    def source_of(lane: str) -> KafkaEventSource:
        sources.append(KafkaEventSource(settings))
        return sources[-1]

    sinks = SinkActivities(source_of, clickhouse, ())
    log = KafkaEventLog(settings)
    await log.start()
    async with Worker(
        client,
        task_queue=INGEST,
        workflows=[IngestionWorkflow],
        activities=[sinks.consume],
        workflow_runner=worker.workflow_runner(sandbox=True),
        graceful_shutdown_timeout=timedelta(seconds=30),
    ):
        handle = await client.start_workflow(
            "IngestionWorkflow", IngestionInput(USUAL, 1), id=f"ingestion/{uuid.uuid4()}", task_queue=INGEST
        )
        await log.accept([event(1)])
        await settles(settings)
        temporal.kill()
        await asyncio.sleep(supervision.TELL_TIMEOUT.total_seconds() + 3)  # reports to the workflow fail meanwhile
        await log.accept([event(2)])
        await settles(settings)
        assert len(sources) == 1, "the stint that was at work goes on"
        temporal.restart()

        async def counted() -> bool:
            details = (await handle.query("__temporal_workflow_metadata")).current_details
            return "| Stored | 2" in str(details)

        await until(counted)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert (await clickhouse.query("SELECT count() FROM events FINAL"))[0][0] == 2
    await log.close()
    await clickhouse.close()


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
