"""How fast stored usage is read, and how much room it takes: one customer's ten meters, 202 to visible, bytes."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx

from activities.usage_reader import UsageReader
from bench.ingest_figures import Disk, Reads, Rejected, Visible
from bench.ingest_servers import Servers
from bench.ten_meters import ten_meters
from billing.periods import Period
from models.clickhouse.client import ClickHouse

READS: Final = 100
PROBE_EVERY: Final = 0.5
LOOK_EVERY: Final = 0.1
LOOK_SELDOMER: Final = 1.2
"""Often enough for the goal. Each further look waits so many times longer: the slower events are, the more of them are
asked for at once, and the questions must not become the load."""

PATIENCE: Final = 30.0


async def stored_events(clickhouse: ClickHouse) -> int:
    """Events that count."""
    rows = await clickhouse.query(
        "SELECT count() FROM events FINAL SETTINGS do_not_merge_across_partitions_select_final = 1"
    )
    return int(rows[0][0])


async def read_ten_meters(clickhouse: ClickHouse, servers: Servers) -> Reads:
    """The ten meters of one customer after another over the last 30 days."""
    reader = UsageReader(clickhouse)
    end = datetime.now(UTC)
    period, meters = Period(end - timedelta(days=30), end), ten_meters()
    count = "SELECT count() FROM events WHERE external_customer_id = 'customer-00001'"
    of_one = int((await clickhouse.query(count))[0][0])
    await reader.read(servers.scope, "customer-00000", meters, period)
    times = []
    before = servers.cpu_seconds()["ClickHouse"]
    for number in range(READS):
        begun = time.perf_counter()
        await reader.read(servers.scope, f"customer-{number % 100:05d}", meters, period)
        times.append((time.perf_counter() - begun) * 1000)
    used = servers.cpu_seconds()["ClickHouse"] - before
    times.sort()
    p50, p99 = times[READS // 2], times[READS * 99 // 100]
    return Reads(await stored_events(clickhouse), of_one, p50, p99, used * 1000 / READS)


async def read_rejected(servers: Servers) -> Rejected:
    """The last day's events that no meter wants or can read, by way of the API."""
    headers = {"x-api-key": servers.key}
    before = servers.cpu_seconds()["ClickHouse"]
    async with httpx.AsyncClient(base_url=servers.url, headers=headers, timeout=PATIENCE) as client:
        begun = time.perf_counter()
        answer = await client.get("/v1/events/rejected")
        took = (time.perf_counter() - begun) * 1000
    answer.raise_for_status()
    used = servers.cpu_seconds()["ClickHouse"] - before
    return Rejected(sum(each["count"] for each in answer.json()["items"]), took, used * 1000)


async def disk_of(clickhouse: ClickHouse) -> Disk:
    """The active parts as they are, merged as far as they have been."""
    rows = await clickhouse.query(
        "SELECT table, sum(rows), sum(bytes_on_disk), count() FROM system.parts"
        " WHERE active AND database = currentDatabase() AND table IN ('events', 'event_ids') GROUP BY table"
    )
    found = {table: (int(count), int(size), int(parts)) for table, count, size, parts in rows}
    events, of_events, parts = found["events"]
    return Disk(events, (of_events + found["event_ids"][1]) / events, found["event_ids"][1] / events, parts)


async def watch_visibility(servers: Servers, rate: float, seconds: float) -> Visible:
    """Sends an event now and then, each of its own customer, and asks for its usage until it counts."""
    waits: list[float] = []
    headers = {"x-api-key": servers.key}
    async with httpx.AsyncClient(base_url=servers.url, headers=headers, timeout=PATIENCE) as client:
        probes = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            probes.append(asyncio.create_task(_probe(client, f"probe-{time.monotonic_ns()}")))
            await asyncio.sleep(PROBE_EVERY)
        waits = sorted(await asyncio.gather(*probes))
    return Visible(rate, 0.0, len(waits), waits[len(waits) // 2], waits[len(waits) * 99 // 100])


async def _probe(client: httpx.AsyncClient, customer: str) -> float:
    event = {"event_name": "probe", "external_customer_id": customer, "event_id": customer}
    (await client.post("/v1/events", json=event)).raise_for_status()
    begun = time.monotonic()
    asked = {"event_name": "probe", "external_customer_id": customer, "aggregation_type": "COUNT"}
    # The default range ends now: an event is in it as soon as it is stored.
    pause = LOOK_EVERY
    while time.monotonic() - begun < PATIENCE:
        answer = await client.post("/v1/events/usage", json=asked)
        answer.raise_for_status()
        if answer.json().get("value"):
            return time.monotonic() - begun
        await asyncio.sleep(pause)
        pause *= LOOK_SELDOMER
    raise TimeoutError(f"the event of {customer} did not become visible within {PATIENCE:.0f} s")
