"""The same events twice, spread over twelve months, shuffled, some of them changed: the first one accepted counts."""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse, migrate_clickhouse
from tests.parts import Parts
from tests.usage.kafka_path import begin
from tests.usage.load import ids_missing
from tests.usage.processes import Child, answers, api_child
from tests.usage.test_kafka_faults import settles

EVENTS = 1_000_000 if os.environ.get("FAULTS_LONG") else 30_000
CUSTOMERS = 200
NAMES = 5
MONTH = 30 * 86_400
CHANGES: tuple[dict[str, Any], ...] = ({}, {"timestamp": -3600}, {"event_name": "renamed"}, {"n": 1000})
"""What of an event is different the second time, a quarter of them each."""


def first(number: int, chance: random.Random, now: datetime) -> dict[str, Any]:
    at = now - timedelta(seconds=chance.uniform(0, 12 * MONTH))
    return {
        "event_name": f"call_{number % NAMES}",
        "external_customer_id": f"customer-{chance.randrange(CUSTOMERS)}",
        "event_id": f"e-{number}",
        "timestamp": at.isoformat(),
        "properties": {"n": str(number % 97), "model": chance.choice(("small", "large"))},
    }


def second(event: dict[str, Any], number: int) -> dict[str, Any]:
    """The same identity, perhaps with another time, name or payload."""
    change = CHANGES[number % len(CHANGES)]
    again = event | {"properties": dict(event["properties"])}
    if "timestamp" in change:
        at = datetime.fromisoformat(event["timestamp"]) + timedelta(days=number % 60 - 60)
        again["timestamp"] = at.isoformat()
    if "event_name" in change:
        again["event_name"] = change["event_name"]
    if "n" in change:
        again["properties"]["n"] = str(change["n"])
    return again


async def send(url: str, events: Sequence[dict[str, Any]], clients: int = 4) -> None:
    """All of them in bulk requests; each is accepted."""
    batches = iter([events[at : at + 1000] for at in range(0, len(events), 1000)])

    async def one_client(client: httpx.AsyncClient) -> None:
        for batch in batches:
            body = json.dumps({"events": batch})
            while (answer := await client.post(f"{url}/v1/events/bulk", content=body)).status_code == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            assert answer.status_code == 202, answer.text

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*(one_client(client) for _ in range(clients)))


async def counted(clickhouse: ClickHouseConnection) -> dict[tuple[str, str], tuple[int, int]]:
    """Events and the sum of `n`, by customer and name."""
    rows = await clickhouse.query(
        "SELECT external_customer_id, event_name, count(), sum(toInt64(JSONExtractString(properties, 'n')))"
        " FROM events FINAL GROUP BY 1, 2 SETTINGS do_not_merge_across_partitions_select_final = 1"
    )
    return {(customer, name): (int(count), int(total)) for customer, name, count, total in rows}


def expected(events: Sequence[dict[str, Any]]) -> dict[tuple[str, str], tuple[int, int]]:
    counts: Counter[tuple[str, str]] = Counter()
    sums: Counter[tuple[str, str]] = Counter()
    for event in events:
        key = (event["external_customer_id"], event["event_name"])
        counts[key] += 1
        sums[key] += int(event["properties"]["n"])
    return {key: (count, sums[key]) for key, count in counts.items()}


@asynccontextmanager
async def through_kafka(parts: Parts, folder: Path) -> AsyncIterator[tuple[str, str, Any]]:
    """The API's URL, the store, and how to wait until everything is stored by a consumer that has just started."""
    path = await begin(parts, folder)
    consumers: list[Child] = []

    async def settle() -> None:
        consumers.append(path.consumer(f"consumer-{len(consumers)}"))
        await settles(path.settings, 600)
        assert consumers[-1].terminate() == 0

    yield path.url, path.clickhouse.running.url, settle
    path.api.terminate()


@asynccontextmanager
async def directly(parts: Parts, folder: Path) -> AsyncIterator[tuple[str, str, Any]]:
    """The same without Kafka."""
    postgres, clickhouse = parts.start("postgres"), parts.start("clickhouse")
    await migrate_clickhouse(clickhouse.running.url)
    servers = ("--clickhouse", clickhouse.running.url, "--postgres", postgres.running.url)
    api, url = api_child(folder / "api.log", *servers)
    await answers(url)

    async def settle() -> None:
        api.kill_and_restart()
        await answers(url)

    yield url, clickhouse.running.url, settle
    api.terminate()


@pytest.mark.parametrize("path", [through_kafka, directly])
async def test_the_same_events_twice_over_twelve_months(path: Any, parts: Parts, tmp_path: Path) -> None:
    chance = random.Random(5)
    now = datetime.now(UTC)
    events = [first(number, chance, now) for number in range(EVENTS)]
    chance.shuffle(events)
    again = [second(event, number) for number, event in enumerate(events)]
    chance.shuffle(again)
    async with path(parts, tmp_path) as (url, store, settle):
        await send(url, events)
        await settle()
        await send(url, again)
        await settle()
        clickhouse = await connect_clickhouse(store)
        [[rows]] = await clickhouse.query("SELECT count() FROM events")
        found, missing = await counted(clickhouse), await ids_missing(clickhouse)
        await clickhouse.close()
    print(
        f"{path.__name__}: sent {2 * EVENTS} events, accepted {2 * EVENTS}, stored in {rows} rows, counted"
        f" {sum(count for count, _ in found.values())}, identities missing {missing}"
    )
    assert found == expected(events)
    assert missing == 0
