"""Measures reads of stored usage: one customer, a balance, a close of 10,000 subscriptions; from events and from cells.

A real ClickHouse engine over HTTP, read by the code that invoices and balances use. Every figure of a read is measured
beside its check: what cells say must be what the events say. `python -m bench.usage --help`.
"""

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse
from activities.grouped_usage import GroupedUsage
from activities.usage_reader import UsageReader
from activities.usage_rollups import UsageRollups
from activities.usage_sealing import Environment, UsageSealer
from bench.figures import Machine
from bench.ingest import RESULTS, look_at_machine
from bench.ten_meters import ten_meters
from bench.usage_figures import Read, SizeFigures, print_table
from bench.usage_reads import disk_of
from bench.usage_store import END, LARGE, MONTH, SCOPE, START, Store, clickhouse_store, fill, merged
from deploy.embedded.errors import EmbeddedError
from models.clickhouse.meter_query import MeterQuery
from models.clickhouse.usage import usage_by_customer
from models.clickhouse.usage_periods import OpenPeriod

RUNNING: Final = END - timedelta(hours=12, minutes=19)
"""When balances are read: half a day of events is not sealed by the day."""

CALLERS: Final = (2, 4, 8)
"""So many who read at once; each waits for its answer and then asks again."""

CUSTOMERS: Final = (1, 5, 20, 50, 200, 1000)
RETENTION_MONTHS: Final = 1200
SIZES: Final = (1_000_000, 10_000_000)
LONG: Final = (*SIZES, 30_000_000)


STAGES: Final = ("one", "load", "crossing", "close")
WAYS: Final = ("cells", "events", "plain table")


@dataclass(frozen=True)
class Plan:
    """What is measured: `stages`, and closes by `ways`; in stores that are `kept`, where a folder is named."""

    sizes: tuple[int, ...]
    customers: int
    reads: int
    stages: tuple[str, ...] = STAGES
    ways: tuple[str, ...] = WAYS
    kept: Path | None = None

    @property
    def seals(self) -> bool:
        """Whether cells are needed for it."""
        return "cells" in self.ways or "crossing" in self.stages


@dataclass
class Results:
    """All of a measurement."""

    machine: Machine
    sizes: list[SizeFigures] = field(default_factory=list)


class Plain:
    """A ClickHouse read without FINAL, as a table without revisions would be."""

    def __init__(self, clickhouse: ClickHouseConnection) -> None:
        self._clickhouse = clickhouse

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """The rows."""
        return await self._clickhouse.query(sql.replace("events FINAL", "events"), parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clickhouse, name)


class Bench:
    """The measurements over one store."""

    def __init__(self, store: Store, clickhouse: ClickHouseConnection, plan: Plan) -> None:
        self._store, self._clickhouse, self._plan = store, clickhouse, plan
        self._rollups = UsageRollups(clickhouse, RETENTION_MONTHS)
        self._meters = ten_meters()

    async def timed(self, repeats: int, read: Callable[[int], Awaitable[Any]], warm: bool = True) -> Read:
        """The milliseconds of `repeats` reads one after another, and ClickHouse's CPU for each."""
        if warm:
            await read(0)
        times, before = [], self._store.cpu_seconds()
        for number in range(repeats):
            begun = time.perf_counter()
            await read(number)
            times.append((time.perf_counter() - begun) * 1000)
        times.sort()
        cpu = (self._store.cpu_seconds() - before) * 1000 / repeats
        return Read(times[repeats // 2], times[min(repeats * 99 // 100, repeats - 1)], cpu, os.getloadavg()[0])

    async def of_one(self, name: Callable[[int], str], repeats: int) -> dict[str, Read]:
        """Ten meters of one customer, by each way."""
        exact, plain = UsageReader(self._clickhouse), UsageReader(Plain(self._clickhouse))

        async def rolled(number: int) -> None:
            if await self._rollups.read(SCOPE, (name(number),), self._meters, MONTH) is None:
                raise EmbeddedError("the month is not sealed")

        reads: dict[str, Callable[[int], Awaitable[Any]]] = {
            "events": lambda number: exact.read(SCOPE, name(number), self._meters, MONTH),
            "cells": rolled,
            "plain table": lambda number: plain.read(SCOPE, name(number), self._meters, MONTH),
        }
        return {way: await self.timed(repeats, read) for way, read in reads.items() if way in self._plan.ways}

    async def under_load(self, callers: int) -> Read:
        """Ten meters of one customer from events, while so many others read the same kind of thing without a pause."""
        exact, done = UsageReader(self._clickhouse), asyncio.Event()

        async def read(number: int) -> None:
            await exact.read(SCOPE, _customer(number * 7 % self._plan.customers), self._meters, MONTH)

        async def others(first: int) -> None:
            while not done.is_set():
                await read(first)
                first += 1

        callings = [asyncio.create_task(others(1000 * (caller + 1))) for caller in range(callers - 1)]
        found = await self.timed(self._plan.reads, read)
        done.set()
        await asyncio.gather(*callings)
        return replace(found, cpu_ms=found.cpu_ms / callers)

    async def crossing(self, console: Console) -> dict[int, dict[str, Read]]:
        """Ten meters of some customers in one statement, from events and from cells: where does one beat the other?"""
        found: dict[int, dict[str, Read]] = {}
        for count in CUSTOMERS:
            names = [_customer(number * 97 % self._plan.customers) for number in range(count)]
            query = UsageReader(self._clickhouse).query_of(SCOPE, None, self._meters, MONTH)
            query = replace(query, each_of=tuple(sorted(names)))

            async def events(_: int, query: MeterQuery = query) -> None:
                await usage_by_customer(self._clickhouse, query)

            async def cells(_: int, names: list[str] = names) -> None:
                await self._rollups.read(SCOPE, names, self._meters, MONTH)

            repeats = max(min(20, 400 // count), 3)
            found[count] = {"events": await self.timed(repeats, events), "cells": await self.timed(repeats, cells)}
            console.print(f"{count} customers: {found[count]}")
        return found

    async def close(self, console: Console) -> dict[str, Read]:
        """The usage of a close of all customers at once, by each way."""
        customers = [_customer(number) for number in range(self._plan.customers)]

        async def every(reader: UsageReader) -> list[Any]:
            return await asyncio.gather(*(reader.read(SCOPE, each, self._meters, MONTH) for each in customers))

        events, cells = GroupedUsage(self._clickhouse), GroupedUsage(self._clickhouse, self._rollups)
        plain = GroupedUsage(Plain(self._clickhouse))
        answers: dict[str, list[Any]] = {}

        def note(way: str, reader: UsageReader) -> Callable[[int], Awaitable[None]]:
            async def noted(_: int) -> None:
                answers[way] = await every(reader)

            return noted

        found = {}
        readers = {"cells": cells, "events": events, "plain table": plain}
        for way, reader in ((way, readers[way]) for way in self._plan.ways):
            found[way] = await self.timed(1, note(way, reader), warm=way == "cells")
            console.print(f"close from {way}: {found[way]}")
        if {"events", "cells"} <= answers.keys() and answers["events"] != answers["cells"]:
            raise EmbeddedError("cells and events disagree")
        return found

    async def seal(self, now: datetime) -> Read:
        """A pass of the sealer."""
        sealer = UsageSealer(self._clickhouse, RETENTION_MONTHS, many_events=0, dense_events=0)
        self._rollups.forget()
        begun, before = time.perf_counter(), self._store.cpu_seconds()
        await sealer.seal(Environment(SCOPE, tuple(self._meters), (OpenPeriod(START, END),)), now)
        took, cpu = (time.perf_counter() - begun) * 1000, (self._store.cpu_seconds() - before) * 1000
        return Read(took, took, cpu, os.getloadavg()[0])


def _customer(number: int) -> str:
    return f"customer-{number:05d}"


async def measure(store: Store, plan: Plan, events: int, console: Console) -> SizeFigures:
    """All figures of one size."""
    clickhouse = await connect_clickhouse(store.dsn)
    bench = Bench(store, clickhouse, plan)
    begun = time.perf_counter()
    with console.status(f"storing {events:,} events"):
        await fill(clickhouse, events, plan.customers)
        await merged(clickhouse)
    console.print(f"{events:,} events stored in {time.perf_counter() - begun:.0f} s")
    with console.status("sealing and reading"):
        figures = SizeFigures(events, await disk_of(clickhouse))
        if plan.seals:
            figures.sealing = await bench.seal(RUNNING)
            console.print(f"sealed: {figures.sealing}")
        if "one" in plan.stages:
            figures.typical = await bench.of_one(lambda number: _customer(number * 7 % plan.customers), plan.reads)
            console.print(f"one customer: {figures.typical}")
            figures.large = await bench.of_one(lambda _: LARGE, max(plan.reads // 10, 3))
            console.print(f"the largest: {figures.large}")
        if "load" in plan.stages:
            figures.loaded = {callers: await bench.under_load(callers) for callers in CALLERS}
            console.print(f"one customer, among others: {figures.loaded}")
        if plan.seals:
            figures.resealing = await bench.seal(END + timedelta(hours=1))
            console.print(f"sealed again: {figures.resealing}")
        if "crossing" in plan.stages:
            figures.crossing = await bench.crossing(console)
        if "close" in plan.stages:
            figures.close = await bench.close(console)
        rows = await clickhouse.query(
            "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'usage_cells'"
        )
        figures.cells, figures.cell_bytes = int(rows[0][0]), int(rows[0][1])
        figures.memory_mib = store.process.memory_info().rss >> 20
        figures.own_memory_mib = psutil.Process().memory_info().rss >> 20
    await clickhouse.close()
    return figures


def read_plan() -> Plan:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.usage", description=__doc__)
    parser.add_argument("--long", action="store_true", help="30,000,000 events as well")
    parser.add_argument("--events", type=int, action="append", help="so many events instead; may be repeated")
    parser.add_argument("--customers", type=int, default=10_000, help="default: 10,000")
    parser.add_argument("--reads", type=int, default=200, help="reads of one customer (default: 200)")
    parser.add_argument("--only", action="append", choices=STAGES, help="only this; may be repeated")
    parser.add_argument("--way", action="append", choices=WAYS, help="reads only by this way; may be repeated")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="stores the events there, and uses what is there")
    given = parser.parse_args()
    sizes = tuple(given.events or (LONG if given.long else SIZES))
    stages, ways = tuple(given.only or STAGES), tuple(given.way or WAYS)
    return Plan(sizes, given.customers, given.reads, stages, ways, given.keep)


def main() -> int:
    """Measures, prints the table, writes the JSON, and leaves nothing running. The exit code."""
    plan, console = read_plan(), Console(highlight=False)
    results = Results(look_at_machine())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.freeze()  # as a worker does
    try:
        for events in plan.sizes:
            with clickhouse_store(plan.kept and plan.kept / f"{events}") as store:
                results.sizes.append(asyncio.run(measure(store, plan, events, console)))
    except EmbeddedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: nothing is left running", file=sys.stderr)
        return 130
    print_table(console, results.machine, results.sizes, plan.customers)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"usage-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(asdict(results), indent=2) + "\n")
    console.print(f"JSON: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
