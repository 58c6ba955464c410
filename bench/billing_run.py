"""Measures a billing run: subscriptions that reach a period end together, until every invoice is paid and drawn.

Real processes on this machine: the embedded PostgreSQL, ClickHouse and Temporal, the payment sandbox and the workers.
No webhook endpoint is set up, so deliveries are not in the figures. `python -m bench.billing_run --help`.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from time import monotonic
from typing import Final

from rich.console import Console
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.adapters.clickhouse import migrate_clickhouse
from bench.customers import Shop, open_shop, progress, settled, subscribe, use, waiting_in_outbox
from bench.figures import BillingRun, CatchUp, Machine, Options
from bench.histories import cost_of_periods
from bench.machine import Meter, look_at_machine
from bench.processes import Processes, running
from bench.report import as_json, print_table
from billing.periods import Period
from deploy.embedded.errors import EmbeddedError
from models.migrate import migrate_postgres
from starter.clients import Clients, open_clients, required
from starter.settings import Settings
from workflows.search_attributes import register

RESULTS: Final = Path(__file__).parent / "results"
LOOK_SECONDS: Final = 0.25
PATIENCE_SECONDS: Final = 300
HISTORIES: Final = 25
MISSED: Final = 12
MOMENT: Final = timedelta(seconds=1)


class Bench:
    """Tells the story of each measurement on one set of servers, with a tenant of its own for each."""

    def __init__(self, processes: Processes, clients: Clients, temporal: Client, options: Options) -> None:
        self._processes = processes
        self._clients = clients
        self._temporal = temporal
        self._options = options

    async def billing_run(self, sandbox: bool) -> BillingRun:
        """Subscriptions fall asleep on their timers, fresh workers wait for the boundary, and the clock runs."""
        options = self._options
        shop = await open_shop(self._clients, options.grace_seconds)
        boundary = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=options.lead_seconds)
        await asyncio.to_thread(self._processes.start_workers, options.processes, sandbox)
        subscribers = await subscribe(shop, options.subscriptions, boundary)
        await use(shop, subscribers, boundary, options.events)
        opening = Period(subscribers[0].start, subscribers[0].start + MOMENT)
        await self._until(lambda: self._all_done(shop, opening, options.subscriptions))
        # A month lies between two boundaries: no worker remembers a workflow from one to the next.
        await asyncio.to_thread(self._processes.stop_workers)
        await asyncio.to_thread(self._processes.start_workers, options.processes, sandbox)
        wait = (boundary - datetime.now(UTC)).total_seconds() - 1
        if wait < 0:
            raise EmbeddedError(
                f"the subscriptions were not asleep {-wait:.0f} s before their boundary: "
                f"give more time, e.g. --lead {options.lead_seconds * 2}"
            )
        await asyncio.sleep(wait)
        due = Period(boundary, boundary + MOMENT)
        meter, before = Meter(self._processes), await self._statements()
        await self._until(lambda: self._all_done(shop, due, options.subscriptions))
        usage = await asyncio.to_thread(meter.stop)
        statements = await self._statements() - before - 1  # the look itself is one
        paid = await settled(shop, due)
        latencies = [(at - boundary).total_seconds() for _, _, at in paid]
        sample = [(subscription_id, invoice_id) for subscription_id, invoice_id, _ in paid[:HISTORIES]]
        cost = await cost_of_periods(self._temporal, shop.scope, sample)
        await asyncio.to_thread(self._processes.stop_workers)
        count = len(paid)
        return BillingRun(
            sandbox=sandbox,
            periods=count,
            seconds=(usage.ended_at - boundary).total_seconds(),
            p50=quantiles(latencies, n=100)[49],
            p99=quantiles(latencies, n=100)[98],
            cpu={role: seconds * 1000 / count for role, seconds in usage.cpu.items()},
            worker_places={place: seconds * 1000 / count for place, seconds in usage.places.items()},
            others_cpu=usage.others,
            load=os.getloadavg()[0],
            cost=cost,
            statements=statements / count,
        )

    async def _statements(self) -> int:
        """SELECTs that ClickHouse has answered so far."""
        clickhouse = required(self._clients.clickhouse, "clickhouse")
        rows = await clickhouse.query("SELECT sum(value) FROM system.events WHERE event = 'SelectQuery'")
        return int(rows[0][0])

    async def catch_up(self, sandbox: bool) -> CatchUp:
        """One subscription whose workflow was missing for a year meets running workers."""
        await asyncio.to_thread(self._processes.start_workers, self._options.processes, sandbox)
        boundary = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
        shop = await open_shop(self._clients, self._options.grace_seconds)
        began = monotonic()
        [subscriber] = await subscribe(shop, 1, boundary, months=MISSED)
        year = Period(subscriber.start, boundary + MOMENT)

        async def closed() -> bool:
            return (await progress(shop, year)).invoices == MISSED + 1

        await self._until(closed)
        closed_after = monotonic() - began
        await self._until(lambda: self._all_done(shop, year, MISSED + 1))
        paid_after = monotonic() - began
        await asyncio.to_thread(self._processes.stop_workers)
        return CatchUp(sandbox, MISSED, closed_after, paid_after)

    async def _all_done(self, shop: Shop, drafted: Period, count: int) -> bool:
        """Every invoice is paid and drawn, its workflow has ended, and the relay has nothing left."""
        found = await progress(shop, drafted)
        if (found.paid, found.documents) != (count, count) or await waiting_in_outbox(shop):
            return False
        open_ones = "WorkflowType = 'InvoiceWorkflow' AND ExecutionStatus = 'Running'"
        return (await self._temporal.count_workflows(open_ones)).count == 0

    async def _until(self, done: Callable[[], Awaitable[bool]]) -> None:
        """Looks again and again: what is waited for happens in other processes."""
        looks = int(PATIENCE_SECONDS / LOOK_SECONDS)
        for _ in range(looks):
            if await done():
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise EmbeddedError(
            f"not done after {PATIENCE_SECONDS} s; the logs of the processes lie in {self._processes.data}"
        )


async def measure(
    processes: Processes, options: Options, console: Console
) -> tuple[Machine, list[BillingRun], list[CatchUp]]:
    """All runs, each sandbox mode in turn so that both meet the machine in the same mood."""
    names = processes.settings
    settings = Settings(
        postgres_dsn=names["DURABILL_POSTGRES_DSN"],
        clickhouse_dsn=names["DURABILL_CLICKHOUSE_DSN"],
    )
    await migrate_postgres(settings.require("postgres_dsn"))
    await migrate_clickhouse(settings.require("clickhouse_dsn"))
    temporal = await Client.connect(names["TEMPORAL_ADDRESS"], data_converter=pydantic_data_converter)
    await register(temporal)  # a server of one's own may not know them yet
    runs, catch_ups = [], []
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(open_clients(settings, {"clickhouse"}))
        bench = Bench(processes, clients, temporal, options)
        for number in range(options.runs):
            for sandbox in options.sandboxes:
                with console.status(f"Run {number + 1} of {options.runs}, sandbox {'on' if sandbox else 'off'}"):
                    runs.append(await bench.billing_run(sandbox))
                    console.print(f"run {number + 1}: {runs[-1].periods / runs[-1].seconds:.1f} periods/s")
                    if options.catch_up:
                        catch_ups.append(await bench.catch_up(sandbox))
        machine = await look_at_machine(clients, temporal)
    return machine, runs, catch_ups


def read_options() -> Options:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.billing_run", description=__doc__)
    parser.add_argument("--subscriptions", type=int, default=200, help="due at the same instant (default: 200)")
    parser.add_argument("--runs", type=int, default=3, help="the table shows medians over them (default: 3)")
    parser.add_argument("--processes", type=int, default=1, help="workers, each a process (default: 1)")
    parser.add_argument("--events", type=int, default=20, help="usage events of a period (default: 20)")
    parser.add_argument("--grace", type=int, default=1, help="seconds a draft waits for late usage (default: 1)")
    parser.add_argument("--sandbox", choices=("on", "off", "both"), default="both", help="Temporal's workflow sandbox")
    parser.add_argument("--lead", type=int, help="seconds from creating the subscriptions to their boundary")
    parser.add_argument("--no-catch-up", action="store_true", help="leave out the twelve missed boundaries")
    given = parser.parse_args()
    if min(given.subscriptions - 1, given.runs, given.processes) < 1:
        parser.error("at least 2 subscriptions, 1 run and 1 process are needed")
    return Options(
        subscriptions=given.subscriptions,
        runs=given.runs,
        processes=given.processes,
        events=given.events,
        grace_seconds=given.grace,
        sandboxes={"on": (True,), "off": (False,), "both": (True, False)}[given.sandbox],
        lead_seconds=given.lead or 30 + given.subscriptions * 2 // 5,
        catch_up=not given.no_catch_up,
    )


def main() -> int:
    """Measures, prints the table, writes the JSON, and leaves nothing running. The exit code."""
    options = read_options()
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running() as processes:
            machine, runs, catch_ups = asyncio.run(measure(processes, options, console))
    except EmbeddedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: nothing is left running", file=sys.stderr)
        return 130
    print_table(console, options, machine, runs, catch_ups)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"billing_run-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(as_json(options, machine, runs, catch_ups), indent=2) + "\n")
    console.print(f"JSON: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
