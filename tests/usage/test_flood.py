"""A tenant that floods, not marked bulk, while another one trickles: how long the other's events take to count."""

import asyncio
import os
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse
from tests.parts import Parts
from tests.usage.kafka_path import begin
from tests.usage.processes import TENANT
from tests.usage.test_kafka_faults import settles

SECONDS = 60 if os.environ.get("FAULTS_LONG") else 8
CLIENTS = 3
EVERY = 0.3
GENEROUS = 15.0
"""The goal is 3 s at the 99th percentile, which is printed: a test machine may be busy with other things."""


def body(name: str, events: int) -> bytes:
    """A bulk request of events of 50 customers."""
    at = datetime.now(UTC).isoformat()
    made = [
        {
            "event_name": "flood",
            "external_customer_id": f"customer-{number % 50}",
            "event_id": f"{name}-{number}",
            "timestamp": at,
            "properties": {"n": "1"},
        }
        for number in range(events)
    ]
    return msgspec.json.encode({"events": made})


class Flood:
    """As many bulk requests of 1000 as are accepted."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/events/bulk"
        self.accepted = 0
        self._stop = asyncio.Event()

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=60, headers={"x-api-key": "tenant_flood"}) as client:
            await asyncio.gather(*(self._client(client, number) for number in range(CLIENTS)))

    def stop(self) -> None:
        self._stop.set()

    async def _client(self, client: httpx.AsyncClient, number: int) -> None:
        template = body("########", 1000)
        count = 0
        while not self._stop.is_set():
            content = template.replace(b"########", b"%d-%06d" % (number, count))
            count += 1
            answer = await client.post(self._url, content=content)
            self.accepted += 1000 if answer.status_code == 202 else 0


async def visible_after(client: httpx.AsyncClient, url: str, clickhouse: ClickHouseConnection, name: str) -> float:
    """Seconds from the answer 202 to the event counted."""
    event = {"event_name": "drop", "external_customer_id": name, "event_id": name}
    answer = await client.post(f"{url}/v1/events", json=event)
    assert answer.status_code == 202
    accepted = time.monotonic()
    asked = (
        "SELECT count() FROM events FINAL WHERE tenant_id = 'tenant_trickle'"
        f" AND environment_id = '{TENANT.environment_id}' AND external_customer_id = '{name}'"
    )
    pause = 0.1
    async with asyncio.timeout(120):
        while (await clickhouse.query(asked))[0][0] == 0:
            await asyncio.sleep(pause)
            pause *= 1.2  # the questions must not become the load
    return time.monotonic() - accepted


async def test_a_flooding_tenant_does_not_hold_a_trickling_one_back(parts: Parts, tmp_path: Path) -> None:
    path = await begin(parts, tmp_path)
    consumer = path.consumer("consumer")
    clickhouse = await connect_clickhouse(path.clickhouse.running.url)
    flood = Flood(path.url)
    waiting: list[asyncio.Task[float]] = []
    async with httpx.AsyncClient(timeout=60, headers={"x-api-key": "tenant_trickle"}) as client:
        await visible_after(client, path.url, clickhouse, "first")  # a consumer's start is not what is measured
        flooding = asyncio.create_task(flood.run())
        begun = time.monotonic()
        while time.monotonic() - begun < SECONDS:
            name = f"drop-{len(waiting)}"
            waiting.append(asyncio.create_task(visible_after(client, path.url, clickhouse, name)))
            await asyncio.sleep(EVERY)
        flood.stop()
        waits = sorted(await asyncio.gather(*waiting))
    await flooding
    elapsed = time.monotonic() - begun
    await settles(path.settings, 300)
    rows = await clickhouse.query("SELECT tenant_id, count() FROM events FINAL GROUP BY tenant_id ORDER BY tenant_id")
    print(
        f"beside {flood.accepted} events of another tenant, {flood.accepted / elapsed:,.0f}/s: {len(waits)} events"
        f" visible after {statistics.median(waits):.2f} s (median), {waits[len(waits) * 99 // 100]:.2f} s (99 %)"
    )
    assert [tuple(row) for row in rows] == [("tenant_flood", flood.accepted), ("tenant_trickle", len(waits) + 1)]
    assert waits[-1] < GENEROUS
    await clickhouse.close()
    assert consumer.terminate() == 0
    assert path.api.terminate() == 0
