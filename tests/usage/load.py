"""A client that repeats what was not accepted, as a good SDK does: same ids, new times."""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from activities.ingestion.sink import Sink
from activities.usage_reader import UsageReader
from billing.meters import AggregationType, Meter, UsageQuantity
from billing.periods import Period
from models.clickhouse.client import ClickHouse
from models.clickhouse.event_counts import read_minutes, totals
from tests.usage.processes import TENANT

EVENTS = 20
METER = Meter("meter_load", "load", "load", AggregationType.SUM, "n")


@dataclass
class Load:
    """Posts bulk requests of 20 events each until told to stop; every one ends with 202."""

    url: str
    clients: int = 4
    customers: int = 5
    again: float = 0.0
    """The share of accepted requests that are sent once more: same ids, another time and another payload."""
    accepted: int = 0
    """Events answered 202 for the first time."""
    sent_again: int = 0
    """Events sent once more although they had been accepted, and accepted once more."""
    repeated: int = 0
    """Requests repeated because nobody answered 202."""
    sent: dict[str, int] = field(default_factory=dict)
    """Sum of `n` accepted, by customer."""
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Until `stop`."""
        async with httpx.AsyncClient(timeout=30) as client:
            await asyncio.gather(*(self._client(client, number) for number in range(self.clients)))

    def stop(self) -> None:
        """Lets every client finish its request."""
        self._stop.set()

    async def goes_on(self, seconds: float = 60) -> None:
        """Returns when one request more has been accepted; raises TimeoutError after `seconds`."""
        self._progress.clear()
        await asyncio.wait_for(self._progress.wait(), seconds)

    async def _client(self, client: httpx.AsyncClient, number: int) -> None:
        count = 0
        chance = random.Random(number)
        while not self._stop.is_set():
            customer = f"customer-{count % self.customers}"
            await self._until_accepted(client, customer, f"{number}-{count}")
            self.sent[customer] = self.sent.get(customer, 0) + sum(range(1, EVENTS + 1))
            self.accepted += EVENTS
            if chance.random() < self.again:
                await self._until_accepted(client, customer, f"{number}-{count}", more=1000)
                self.sent_again += EVENTS
            self._progress.set()
            count += 1

    async def _until_accepted(self, client: httpx.AsyncClient, customer: str, name: str, more: int = 0) -> None:
        tries = 0
        while True:
            now = datetime.now(UTC).isoformat()
            events = [
                {
                    "event_name": "load",
                    "external_customer_id": customer,
                    "event_id": f"{name}-{n}",
                    "timestamp": now,
                    "properties": {"n": str(n + more)},
                }
                for n in range(1, EVENTS + 1)
            ]
            try:
                answer = await client.post(f"{self.url}/v1/events/bulk", json={"events": events})
                if answer.status_code == 202:
                    return
                assert answer.status_code == 503, answer.text
            except httpx.TransportError:
                pass
            self.repeated += 1
            tries += 1
            await asyncio.sleep(min(0.02 * tries, 0.5))


async def stored(clickhouse: ClickHouse, load: Load) -> dict[str, UsageQuantity]:
    """What ClickHouse counts for each customer of the load."""
    period = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    reader = UsageReader(clickhouse)
    return {customer: (await reader.read(TENANT, customer, [METER], period))[METER.id] for customer in load.sent}


async def assert_accounted(clickhouse: ClickHouse, load: Load) -> None:
    """What was counted on the way proves it: nothing is missing. A killed API had not written down its last seconds."""
    start, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    counted = totals(await read_minutes(clickhouse, TENANT, start, end))
    print(counted)
    assert 0 < counted["accepted"] <= load.accepted + load.sent_again + counted["unconfirmed"]
    assert counted["missing"] == 0
    assert counted["dead_lettered"] == 0


async def print_counts(clickhouse: ClickHouse, load: Load, kills: str) -> None:
    """What was sent, accepted, stored and counted; raises AssertionError when an identity is not remembered."""
    found = await stored(clickhouse, load)
    [[rows, distinct]] = await clickhouse.query("SELECT count(), uniqExact(external_customer_id, event_id) FROM events")
    missing = await ids_missing(clickhouse)
    sent = load.accepted + load.sent_again + load.repeated * EVENTS
    print(
        f"{kills}: sent {sent} events ({load.repeated} requests repeated without an answer, {load.sent_again} events"
        f" sent again), accepted {load.accepted}, stored {distinct} in {rows} rows, counted"
        f" {sum(usage.event_count for usage in found.values())}, identities missing {missing}"
    )
    assert missing == 0
    assert_exact(load, found)


async def ids_missing(clickhouse: ClickHouse) -> int:
    """Stored events whose identity `event_ids` did not have."""
    return await Sink(clickhouse).repair_everything()


def assert_exact(load: Load, found: dict[str, UsageQuantity]) -> None:
    """Nothing accepted is lost, nothing is counted twice."""
    assert {customer: int(usage.quantity) for customer, usage in found.items()} == load.sent
    assert sum(usage.event_count for usage in found.values()) == load.accepted
