"""Measures what operators feel: commands under load, webhooks a second, and the way back after a worker was killed.

Real processes on this machine, as in `bench.billing_run`. `python -m bench.operating --help`.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from time import monotonic
from typing import Final

from rich.console import Console
from rich.table import Table
from sqlalchemy import func
from sqlmodel import col, select
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.adapters.clickhouse import migrate_clickhouse
from activities.outbox import emit
from activities.webhook_endpoints import NewWebhookEndpoint, create_webhook_endpoint
from bench.customers import Shop, Subscriber, open_shop, subscribe
from bench.processes import Processes, running
from bench.receiver import receiving
from deploy.embedded.errors import EmbeddedError
from models.migrate import migrate_postgres
from models.tables import InvoiceRow
from starter.clients import Clients, open_clients
from starter.commands import Commands
from starter.settings import Settings
from workflows.messaging import Unavailable
from workflows.search_attributes import register

RESULTS: Final = Path(__file__).parent / "results"
PATIENCE_SECONDS: Final = 120
A_MONTH: Final = timedelta(days=28)
AT_ONCE: Final = 4
"""Callers that send commands beside each other."""
RATE_SECONDS: Final = 3.0
"""The rate is that of the last so many seconds; it is normal again from nine tenths of what it was."""


@dataclass(frozen=True)
class Figures:
    """Of one number of worker processes."""

    processes: int
    commands: int
    unanswered: int
    """Refused with 503 after 12 s, as a busy machine may have it; their wait counts among the latencies."""
    commands_p50_ms: float
    commands_p99_ms: float
    commands_a_second: float
    invoices_a_second_beside: float
    webhooks: int
    webhooks_a_second: float
    webhook_cpu_ms: dict[str, float]
    """CPU of one delivery, by who used it."""
    killed_to_first_s: float
    killed_to_normal_s: float
    killed_to_caught_up_s: float
    load: float


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    seconds: int
    events: int
    arrivals: float


class Bench:
    """One number of workers after the other on one set of servers, with a tenant of its own for each story."""

    def __init__(self, processes: Processes, servers: "Servers", options: Options, say: Callable[[str], None]) -> None:
        self._processes = processes
        self._servers = servers
        self._say = say
        self._options = options
        self._unanswered = 0

    async def measure(self, count: int) -> Figures:
        """All stories with `count` workers."""
        await asyncio.to_thread(self._processes.start_workers, count, False)
        self._unanswered = 0
        latencies, seconds, beside = await self._commands()
        self._say(f"{len(latencies)} commands in {seconds:.1f} s")
        webhooks, cpu = await self._webhooks()
        self._say(f"{webhooks:.1f} webhooks/s")
        first, normal, caught_up = await self._recovery()
        self._say(f"usual rate {normal:.1f} s after a worker was killed")
        await asyncio.to_thread(self._processes.stop_workers)
        cuts = quantiles(latencies, n=100)
        return Figures(
            count, len(latencies), self._unanswered, cuts[49] * 1000, cuts[98] * 1000, len(latencies) / seconds, beside,
            self._options.events, webhooks, cpu, first, normal, caught_up, os.getloadavg()[0],
        )  # fmt: skip

    async def _commands(self) -> tuple[list[float], float, float]:
        """Updates of running subscriptions, by callers beside each other, while new customers keep coming."""
        shop = await open_shop(self._servers.clients, 1)
        subscribers = await subscribe(shop, 10 * AT_ONCE, in_a_month())
        await self._until(lambda: self._paid(shop, len(subscribers)))
        latencies: list[float] = []
        began = monotonic()
        async with arriving(shop, self._options.arrivals):
            callers = [self._call(shop, subscribers[number::AT_ONCE], latencies) for number in range(AT_ONCE)]
            await asyncio.gather(*callers)
            seconds = monotonic() - began
            paid = await invoices_paid(shop) - len(subscribers)
        return latencies, seconds, paid / seconds

    async def _call(self, shop: Shop, subscribers: list[Subscriber], latencies: list[float]) -> None:
        end = monotonic() + self._options.seconds
        while monotonic() < end:
            for subscriber in subscribers:
                began = monotonic()
                try:
                    await self._servers.commands.change_payment_method(
                        shop.scope, subscriber.subscription_id, "pm_card_succeeds", "sandbox", ["sandbox"]
                    )
                except Unavailable:
                    self._unanswered += 1
                latencies.append(monotonic() - began)

    async def _webhooks(self) -> tuple[float, dict[str, float]]:
        """Events that are committed at once, until the last has arrived: deliveries a second, and what each cost."""
        shop = await open_shop(self._servers.clients, 1)
        async with receiving() as receiver:
            async with shop.clients.database.transaction(shop.scope) as session:
                await create_webhook_endpoint(session, shop.scope, NewWebhookEndpoint(receiver.url))
            async with shop.clients.database.transaction(shop.scope) as session:
                for number in range(self._options.events):
                    body = {"invoice": {"id": f"inv_{number}", "total": "12.5", "currency": "usd"}}
                    await emit(session, shop.scope, "invoice.update.payment", f"inv_{number}", body, datetime.now(UTC))
            began, before = monotonic(), self._processes.cpu_seconds()

            async def all_there() -> bool:
                return len(receiver.ids) == self._options.events

            await self._until(all_there)
            after, each = self._processes.cpu_seconds(), 1000 / self._options.events
            cpu = {role: (seconds - before[role]) * each for role, seconds in after.items()}
            return self._options.events / (monotonic() - began), cpu

    async def _recovery(self) -> tuple[float, float, float]:
        """One worker is killed while customers keep coming, and started again: until the first invoice is paid, until
        as many a second are paid as before, and until nobody waits longer than before."""
        shop = await open_shop(self._servers.clients, 1)
        async with arriving(shop, self._options.arrivals) as came:
            await asyncio.sleep(self._options.seconds)
            usual = await invoices_paid(shop) / self._options.seconds
            behind = came() - await invoices_paid(shop)
            before = await invoices_paid(shop)
            killed = monotonic()
            await asyncio.to_thread(self._processes.replace_worker)
            first, normal = 0.0, 0.0
            counts: list[tuple[float, int]] = []
            while monotonic() < killed + PATIENCE_SECONDS:
                now, paid = monotonic(), await invoices_paid(shop)
                counts = [(at, number) for at, number in counts if at > now - RATE_SECONDS] + [(now, paid)]
                first = first or (now - killed if paid > before else 0.0)
                rate = (paid - counts[0][1]) / RATE_SECONDS
                normal = normal or (now - killed if first and rate >= 0.9 * usual else 0.0)
                if normal and came() - paid <= behind + 1:
                    return first, normal, now - killed
                await asyncio.sleep(0.1)
        raise EmbeddedError(f"not caught up {PATIENCE_SECONDS} s after a worker was killed")

    async def _paid(self, shop: Shop, count: int) -> bool:
        return await invoices_paid(shop) >= count

    async def _until(self, done: Callable[[], Awaitable[bool]]) -> None:
        end = monotonic() + PATIENCE_SECONDS
        while not await done():
            if monotonic() > end:
                raise EmbeddedError(f"not done after {PATIENCE_SECONDS} s; logs: {self._processes.data}")
            await asyncio.sleep(0.1)


def in_a_month() -> datetime:
    """A boundary that nobody meets meanwhile."""
    return datetime.now(UTC).replace(microsecond=0) + A_MONTH


@asynccontextmanager
async def arriving(shop: Shop, a_second: float) -> AsyncIterator[Callable[[], int]]:
    """New customers keep coming, each with an invoice that is paid at once; yields how many have come."""
    came = 0

    async def come() -> None:
        nonlocal came
        began = monotonic()
        while True:
            await subscribe(shop, 1, in_a_month())
            came += 1
            await asyncio.sleep(max(began + came / a_second - monotonic(), 0))

    task = asyncio.create_task(come())
    try:
        yield lambda: came
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def invoices_paid(shop: Shop) -> int:
    """How many invoices of the tenant are paid."""
    async with shop.clients.database.transaction(shop.scope) as session:
        query = select(func.count()).where(col(InvoiceRow.payment_status) == "SUCCEEDED")
        return (await session.exec(query)).one()


@dataclass(frozen=True)
class Servers:
    """What the stories are told with."""

    clients: Clients
    commands: Commands


async def measure(processes: Processes, options: Options, console: Console, counts: list[int]) -> list[Figures]:
    """One column for each number of worker processes."""
    names = processes.settings
    settings = Settings(postgres_dsn=names["DURABILL_POSTGRES_DSN"], clickhouse_dsn=names["DURABILL_CLICKHOUSE_DSN"])
    await migrate_postgres(settings.require("postgres_dsn"))
    await migrate_clickhouse(settings.require("clickhouse_dsn"))
    temporal = await Client.connect(names["TEMPORAL_ADDRESS"], data_converter=pydantic_data_converter)
    await register(temporal)  # a server of one's own may not know them yet
    figures = []
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(open_clients(settings, {"clickhouse"}))
        bench = Bench(processes, Servers(clients, Commands(temporal, clients.database)), options, console.print)
        for count in counts:
            with console.status(f"{count} worker process(es)"):
                figures.append(await bench.measure(count))
    return figures


ROWS: Final = {
    "commands (updates) answered": "commands",
    "commands refused after 12 s": "unanswered",
    "command, p50 ms": "commands_p50_ms",
    "command, p99 ms": "commands_p99_ms",
    "commands a second": "commands_a_second",
    "invoices paid a second beside them": "invoices_a_second_beside",
    "webhook events sent at once": "webhooks",
    "webhook deliveries a second": "webhooks_a_second",
    "worker killed: first invoice paid after s": "killed_to_first_s",
    "worker killed: usual rate after s": "killed_to_normal_s",
    "worker killed: caught up after s": "killed_to_caught_up_s",
    "load of the machine": "load",
}


def print_table(console: Console, options: Options, figures: list[Figures]) -> None:
    """One column for each number of worker processes."""
    title = f"{AT_ONCE} callers, {options.arrivals:g} new customers a second"
    table = Table("", *(f"{each.processes} worker process(es)" for each in figures), title=title)
    for row, name in ROWS.items():
        table.add_row(row, *(f"{getattr(each, name):.4g}" for each in figures))
    for role in figures[0].webhook_cpu_ms:
        table.add_row(f"CPU of {role}, ms a delivery", *(f"{each.webhook_cpu_ms[role]:.3g}" for each in figures))
    console.print(table)


def main() -> int:
    """Measures, prints the table, writes the JSON, and leaves nothing running. The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.operating", description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="numbers of workers (default: 1 2)")
    parser.add_argument("--seconds", type=int, default=15, help="of commands, and before the kill (default: 15)")
    parser.add_argument("--events", type=int, default=300, help="webhook events (default: 300)")
    parser.add_argument("--arrivals", type=float, default=2.0, help="new customers a second (default: 2)")
    given = parser.parse_args()
    options = Options(given.seconds, given.events, given.arrivals)
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running() as processes:
            figures = asyncio.run(measure(processes, options, console, given.processes))
    except EmbeddedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: nothing is left running", file=sys.stderr)
        return 130
    print_table(console, options, figures)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"operating-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps({"options": asdict(options), "figures": list(map(asdict, figures))}, indent=2) + "\n")
    console.print(f"JSON: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
