"""How the direct writer gathers: whoever waits for answers and sends again shares a block with all who do."""

import asyncio
import statistics

from activities.adapters.clickhouse import connect_clickhouse, migrate_clickhouse
from activities.ingestion.direct_writer import DirectWriter
from activities.ingestion.events import Event
from activities.ingestion.lease import PostgresWriterLease
from activities.ingestion.sink import Sink

CLIENTS = 8
REQUESTS = 12


def events(client: int, request: int) -> list[Event]:
    at = 1_764_669_600_000
    return [Event("t", "e", f"customer-{client}", "call", at, f"{client}-{request}-{n}", "", "{}", at) for n in "abc"]


async def test_clients_that_were_answered_one_after_the_other_soon_share_a_block(
    postgres_dsn: str, new_clickhouse_dsn: str
) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    writer = DirectWriter(Sink(connection), PostgresWriterLease(postgres_dsn))
    writer.start()

    async def client(number: int) -> None:
        for request in range(REQUESTS):
            await writer.accept(events(number, request))

    clients = []
    for number in range(CLIENTS):
        clients.append(asyncio.create_task(client(number)))
        await asyncio.sleep(0.005)  # they come while the first one's block is being written
    await asyncio.gather(*clients)
    await writer.close()
    rows = await connection.query("SELECT kafka_offset, count() FROM events FINAL GROUP BY 1 ORDER BY 1")
    await connection.close()
    sizes = [int(count) // 3 for _, count in rows]
    assert sum(sizes) == CLIENTS * REQUESTS
    assert statistics.median(sizes) == CLIENTS, sizes
    assert len(sizes) < 2 * REQUESTS


async def test_what_arrives_when_the_writer_closes_is_stored(postgres_dsn: str, new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    writer = DirectWriter(Sink(connection), PostgresWriterLease(postgres_dsn))
    writer.start()
    await asyncio.gather(*(writer.accept(events(number, 0)) for number in range(CLIENTS)))
    last = asyncio.create_task(writer.accept(events(0, 1)))  # alone, where eight are expected
    await asyncio.sleep(0)
    await writer.close()
    await last
    assert (await connection.query("SELECT count() FROM events FINAL"))[0][0] == 3 * (CLIENTS + 1)
    await connection.close()
