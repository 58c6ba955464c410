"""The path without Kafka under faults: real processes, a real database and engine, killed while events arrive."""

import asyncio
import os
import random
from pathlib import Path

import psutil
import pytest

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse, migrate_clickhouse
from activities.ingestion.direct_writer import DirectWriter
from activities.ingestion.events import Event
from activities.ingestion.lease import PostgresWriterLease
from activities.ingestion.ports import IngestUnavailable
from activities.ingestion.sink import Sink
from tests.parts import Parts
from tests.usage.load import Load, assert_accounted, assert_exact, print_counts, stored
from tests.usage.processes import TENANT, answers, api_child


def event(number: int, timestamp: int = 1_764_669_600_000) -> Event:
    return Event(*TENANT_FIELDS, "customer-x", "load", timestamp, f"direct-{number}", "", '{"n":"1"}', timestamp)


STALLS = 10 if os.environ.get("FAULTS_LONG") else 2
TENANT_FIELDS = (TENANT.tenant_id, TENANT.environment_id)


async def test_kill_9_of_the_writer_and_of_its_engines(parts: Parts, tmp_path: Path) -> None:
    postgres, clickhouse = parts.start("postgres"), parts.start("clickhouse")
    await migrate_clickhouse(clickhouse.running.url)
    arguments = ("--clickhouse", clickhouse.running.url, "--postgres", postgres.running.url)
    api, url = api_child(tmp_path / "api.log", *arguments)
    await answers(url)
    load = Load(url)
    running = asyncio.create_task(load.run())
    chance = random.Random(1)
    try:
        for _ in range(8):
            await asyncio.sleep(chance.uniform(0.1, 0.5))
            api.kill_and_restart()
            await answers(url)
        for part in (clickhouse, postgres):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(part.kill)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(part.restart)
        await load.goes_on()
    finally:
        load.stop()
        await running
        api.terminate()
    connection = await connect_clickhouse(clickhouse.running.url)
    found = await stored(connection, load)
    await assert_accounted(connection, load)
    rows = await connection.query("SELECT count() FROM events")
    await connection.close()
    print(
        f"kills: {api.kills} writer, 1 ClickHouse, 1 Postgres; requests repeated {load.repeated}; accepted"
        f" {load.accepted}, counted {sum(usage.event_count for usage in found.values())}, rows {rows[0][0]}"
    )
    assert load.repeated > 0
    assert_exact(load, found)


async def test_kill_9_between_the_steps_of_the_sink(postgres_dsn: str, new_clickhouse_dsn: str, tmp_path: Path) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    arguments = ("--clickhouse", new_clickhouse_dsn, "--postgres", postgres_dsn, "--linger", "0.3")
    api, url = api_child(tmp_path / "api.log", *arguments)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    await answers(url)
    load = Load(url)
    running = asyncio.create_task(load.run())
    between = 0
    try:
        for _ in range(6):
            # The events of a block are in and their ids are not: the moment at which a retry could count twice.
            async with asyncio.timeout(30):
                while await events_without_ids(connection) == 0:  # noqa: ASYNC110 (the engine tells nobody)
                    await asyncio.sleep(0.01)
            api.kill_and_restart()
            between += await events_without_ids(connection) > 0
            await answers(url)
            await load.goes_on()
    finally:
        load.stop()
        await running
        api.terminate()
    found = await stored(connection, load)
    await connection.close()
    counted = sum(usage.event_count for usage in found.values())
    print(f"{between} of {api.kills} kills between the steps; accepted {load.accepted}, counted {counted}")
    assert between >= 3
    assert_exact(load, found)


async def test_a_write_that_lands_after_another_writer_has_begun(parts: Parts, tmp_path: Path) -> None:
    postgres, clickhouse = parts.start("postgres"), parts.start("clickhouse")
    await migrate_clickhouse(clickhouse.running.url)
    arguments = ("--clickhouse", clickhouse.running.url, "--postgres", postgres.running.url)
    api, url = api_child(tmp_path / "api.log", *arguments)
    await answers(url)
    load = Load(url, clients=8)
    running = asyncio.create_task(load.run())
    engine = psutil.Process(clickhouse.running.pid)
    chance = random.Random(3)
    for _ in range(STALLS):
        await load.goes_on()
        await asyncio.sleep(chance.uniform(0, 0.2))
        engine.suspend()  # as on a disk that does not answer: what was sent to it waits
        await asyncio.sleep(0.3)
        api.kill_and_restart()  # the next writer comes up while the last block of this one has not landed
        await asyncio.sleep(2)
        engine.resume()
        await answers(url)
    load.stop()
    await running
    assert api.terminate() == 0
    connection = await connect_clickhouse(clickhouse.running.url)
    await print_counts(connection, load, f"{STALLS} stalls of ClickHouse with a write in flight, each with a kill -9")
    await connection.close()


async def events_without_ids(connection: ClickHouseConnection) -> int:
    rows = await connection.query(
        "SELECT (SELECT count() FROM events FINAL) - (SELECT uniqExact(hi, lo) FROM event_ids)"
    )
    return int(rows[0][0])


async def test_a_block_on_its_way_is_waited_for_when_the_lease_changes_hands(
    postgres_dsn: str, new_clickhouse_dsn: str
) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    writer = DirectWriter(Sink(connection), PostgresWriterLease(postgres_dsn))
    writer.start()
    # As a writer that died has left it: ClickHouse goes on with a block of one event for a second and a half.
    landing = asyncio.create_task(
        connection.command(
            "INSERT INTO events (tenant_id, environment_id, external_customer_id, event_name, timestamp, event_id)"
            f" SELECT '{TENANT.tenant_id}', '{TENANT.environment_id}', 'customer-x', 'load',"
            " fromUnixTimestamp64Milli(1764669600000), 'direct-1' FROM numbers(3)"
            " WHERE sleepEachRow(0.5) = 0 SETTINGS max_block_size = 1"
        )
    )
    unfinished = Sink(connection)
    while not await unfinished.has_unfinished_writes():  # noqa: ASYNC110 (the engine tells nobody)
        await asyncio.sleep(0.01)
    with pytest.raises(IngestUnavailable, match="has not ended yet"):
        await writer.accept([event(1, timestamp=1_764_669_700_000), event(2)])
    await landing
    await writer.accept([event(1, timestamp=1_764_669_700_000), event(2)])
    assert (await connection.query("SELECT count() FROM events FINAL"))[0][0] == 2
    await writer.close()
    await connection.close()


async def test_only_the_holder_of_the_lease_writes(postgres_dsn: str, new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    first, second = (DirectWriter(Sink(connection), PostgresWriterLease(postgres_dsn)) for _ in range(2))
    first.start()
    second.start()
    await first.accept([event(1)])
    with pytest.raises(IngestUnavailable, match="another process is the writer"):
        await second.accept([event(2)])
    await first.close()
    await second.accept([event(2), event(1, timestamp=5)])
    rows = await connection.query(
        "SELECT event_id, toUnixTimestamp64Milli(timestamp) FROM events FINAL ORDER BY event_id"
    )
    assert [tuple(row) for row in rows] == [("direct-1", 1_764_669_600_000), ("direct-2", 1_764_669_600_000)]
    await second.close()
    with pytest.raises(IngestUnavailable, match="shutting down"):
        await second.accept([event(3)])
    await connection.close()


async def test_a_client_that_gives_up_disturbs_nobody(postgres_dsn: str, new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    writer = DirectWriter(Sink(connection), PostgresWriterLease(postgres_dsn))
    writer.start()
    gone = asyncio.create_task(writer.accept([event(1)]))
    stays = asyncio.create_task(writer.accept([event(2)]))
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert (await connection.query("SELECT count() FROM events FINAL"))[0][0] == 2
    await writer.close()
    await connection.close()
