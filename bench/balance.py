"""Measures the balance of a wallet in real time, asked for over HTTP, with many events stored.

A real PostgreSQL, ClickHouse and API; the customers have a plan of ten meters, and their period has run for 20 days.
`python -m bench.balance --help`.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import httpx
from rich.console import Console
from rich.table import Table
from sqlmodel import select

from activities.adapters.clickhouse import connect_clickhouse
from activities.catalog import NewPlan, create_plan
from activities.ingestion.direct_progress import StoredBeforeAnswered
from activities.late_usage import LateUsage
from activities.new_subscriptions import NewSubscription, create_subscription
from activities.prices import NewPrice, create_price
from activities.states import InvoiceState
from activities.subscriptions import ClosePeriod, SubscriptionActivities
from activities.usage_reader import UsageReader
from activities.wallets import NewWallet, create_wallet
from bench.ingest import RESULTS
from bench.ingest_servers import Servers, running
from bench.usage_store import fill, merged
from billing.periods import BillingPeriod, Period
from billing.prices import BillingModel, InvoiceCadence, PriceType
from models.database import Database
from models.tables import CustomerRow, MeterRow

RUNNING: Final = timedelta(days=20)
CUSTOMERS: Final = 10_000
GOAL: Final = "30 ms (stretch 10 ms)"


@dataclass(frozen=True)
class Balance:
    """Milliseconds at the median and at p99, CPU for each by role, memory before and after, in MiB."""

    events: int
    wallets: int
    callers: int
    p50_ms: float
    p99_ms: float
    cpu_ms: dict[str, float]
    memory_mib: dict[str, int]
    memory_before_mib: dict[str, int]
    load: float


class Drafts:
    """A gate that starts nothing."""

    async def start_invoice(self, state: InvoiceState, clock: datetime | None) -> None:
        """Leaves it a draft."""


async def prepare(servers: Servers, events: int, wallets: int, console: Console) -> list[str]:
    """Stores the events and opens subscriptions with wallets; returns the wallets' ids."""
    now = datetime.now(UTC).replace(microsecond=0)
    start = now - RUNNING
    clickhouse = await connect_clickhouse(servers.settings["DURABILL_CLICKHOUSE_DSN"])
    database = Database(servers.settings["DURABILL_POSTGRES_DSN"])
    try:
        with console.status(f"storing {events:,} events"):
            await fill(clickhouse, events, CUSTOMERS, servers.scope, Period(start, now))
            await merged(clickhouse)
        late = LateUsage(database, UsageReader(clickhouse), StoredBeforeAnswered())
        gate: Any = Drafts()  # the only part of a gate that opening a period takes
        activities = SubscriptionActivities(database, gate, late)
        plan_id = await _plan(servers, database)
        found = []
        async with database.transaction(servers.scope) as session:
            customers = (await session.exec(select(CustomerRow).limit(wallets))).all()
        for customer in customers:
            async with database.transaction(servers.scope) as session:
                wanted = NewWallet(customer.id, "usd", initial_credits=Decimal(1000))
                found.append((await create_wallet(session, servers.scope, wanted, start)).id)
                new = NewSubscription(
                    customer_id=customer.id, plan_id=plan_id, currency="usd", billing_period="MONTHLY", start_date=start
                )
                subscription = await create_subscription(session, servers.scope, new, start)
            await activities.close_period(ClosePeriod(servers.scope, subscription.id, start))
    finally:
        await clickhouse.close()
        await database.close()
    return found


async def _plan(servers: Servers, database: Database) -> str:
    async with database.transaction(servers.scope) as session:
        plan = await create_plan(session, servers.scope, NewPlan("Ten meters"))
        for meter in (await session.exec(select(MeterRow))).all():
            price = NewPrice(
                PriceType.USAGE,
                plan.id,
                "usd",
                BillingModel.FLAT_FEE,
                BillingPeriod.MONTHLY,
                InvoiceCadence.ARREAR,
                amount=Decimal("0.002"),
                meter_id=meter.id,
            )
            await create_price(session, servers.scope, price)
    return plan.id


async def measure(servers: Servers, events: int, wallets: list[str], reads: int, callers: int) -> Balance:
    """`reads` balances, by so many callers who each wait for their answer and ask again."""
    times: list[float] = []
    left = iter(range(reads))
    async with httpx.AsyncClient(base_url=servers.url, headers={"x-api-key": servers.key}, timeout=30) as client:

        async def ask(number: int) -> None:
            begun = time.perf_counter()
            answer = await client.get(f"/v1/wallets/{wallets[number % len(wallets)]}/balance/real-time")
            times.append((time.perf_counter() - begun) * 1000)
            if Decimal(answer.raise_for_status().json()["current_period_usage"]) <= 0:
                raise RuntimeError("no usage is in the balance")

        async def caller() -> None:
            for number in left:
                await ask(number)

        for number in range(20):
            await ask(number)
        times.clear()
        before, memory = servers.cpu_seconds(), servers.memory_bytes()
        await asyncio.gather(*(caller() for _ in range(callers)))
        cpu = {role: (used - before[role]) * 1000 / reads for role, used in servers.cpu_seconds().items()}
    times.sort()
    return Balance(
        events,
        len(wallets),
        callers,
        times[reads // 2],
        times[min(reads * 99 // 100, reads - 1)],
        cpu,
        {role: size >> 20 for role, size in servers.memory_bytes().items()},
        {role: size >> 20 for role, size in memory.items()},
        os.getloadavg()[0],
    )


def print_table(console: Console, found: list[Balance]) -> None:
    """A row a number of callers."""
    table = Table(
        "callers", "p50, p99 ms", "CPU ms each", "MiB before", "MiB after", "load", title="A wallet's balance"
    )
    for each in found:
        table.add_row(
            str(each.callers),
            f"{each.p50_ms:.0f}, {each.p99_ms:.0f}",
            ", ".join(f"{role} {used:.1f}" for role, used in each.cpu_ms.items()),
            ", ".join(f"{role} {size}" for role, size in each.memory_before_mib.items()),
            ", ".join(f"{role} {size}" for role, size in each.memory_mib.items()),
            f"{each.load:.1f}",
        )
    console.print(table)
    console.print(f"{found[0].events:,} events, {found[0].wallets} wallets; goal of p99: {GOAL}")


def main() -> int:
    """Measures, prints the table, writes the JSON, and leaves nothing running. The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.balance", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="stored (default: 1,000,000)")
    parser.add_argument("--wallets", type=int, default=100, help="asked in turn (default: 100)")
    parser.add_argument("--reads", type=int, default=400, help="for each number of callers (default: 400)")
    given = parser.parse_args()
    console = Console(highlight=False)
    with running(kafka=False, customers=given.wallets) as servers:
        wallets = asyncio.run(prepare(servers, given.events, given.wallets, console))
        found = [asyncio.run(measure(servers, given.events, wallets, given.reads, callers)) for callers in (1, 2, 4)]
    print_table(console, found)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"balance-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n")
    console.print(f"JSON: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
