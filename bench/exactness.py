"""Measures what exactness costs when events are stored: the sink against a plain table, in CPU of an event.

The sink hashes identities, asks its filter, writes `events` (whose engine collapses repeated rows), `event_ids` and
the counts of records; the plain table is a MergeTree with the same columns and order, into which blocks go as they are.
What FINAL costs when they are read, `bench.usage` measures. `python -m bench.exactness --help`.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse
from activities.ingestion.counts import RecordPlace, rows_of_record
from activities.ingestion.events import ENVELOPE_EVENTS, Event, Placed
from activities.ingestion.known_ids import KnownIds
from activities.ingestion.sink import Sink, event_columns
from bench.usage_store import SCOPE, Store, clickhouse_store, merged
from deploy.embedded.errors import EmbeddedError
from models.clickhouse.event_rows import EVENT_COLUMNS
from starter.garbage import collect_seldom

PLAIN: Final = """CREATE TABLE plain AS events ENGINE = MergeTree PARTITION BY toYYYYMM(timestamp)
ORDER BY (tenant_id, environment_id, external_customer_id, event_name, timestamp, event_id)
SETTINGS index_granularity = 1024, merge_selector_base = 10"""
"""With the settings of `events`: what is measured is exactness, not what any table may have."""

DAY_MS: Final = 86_400_000
Write = Callable[[Sequence[Placed], int], Awaitable[object]]


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU an event, and how many rows there are in the end."""

    clickhouse: float
    writer: float
    rows: int


def block_of(number: int, size: int, now_ms: int) -> list[Placed]:
    """Events as the API makes them: a day of 1,000 customers; every 20th request of 1,000 is sent once more."""
    sent = []
    for place in range(number * size, (number + 1) * size):
        request, index = divmod(place, ENVELOPE_EVENTS)
        request -= request % 20 == 19
        of_day = (request * 7919 + index * 104_729) % DAY_MS
        properties = f'{{"tokens":"{index * 7 % 5000}","seconds":{index % 300}.25,"model":"large","user":"u-{index}"}}'
        event = Event(
            SCOPE.tenant_id, SCOPE.environment_id, f"customer-{index:05d}", f"call_{index % 10}", now_ms - of_day,
            f"{request:08x}-{index:04d}", "bench", properties, now_ms,
        )  # fmt: skip
        sent.append(Placed(event, place // ENVELOPE_EVENTS % 6, place // ENVELOPE_EVENTS))
    return sent


async def cost_of(store: Store, clickhouse: ClickHouseConnection, table: str, write: Write, events: int,
                  size: int, rate: float) -> Cost:  # fmt: skip
    """Writes `events` in blocks of `size` at a steady rate, then waits for the merges that follow."""
    now_ms, writer = time.time_ns() // 1_000_000, 0.0
    before, begun = store.cpu_seconds(), time.monotonic()
    for number in range(events // size):
        block = block_of(number, size, now_ms)
        own = time.process_time()
        await write(block, now_ms)
        writer += time.process_time() - own
        await asyncio.sleep(max((number + 1) * size / rate - (time.monotonic() - begun), 0))
    await asyncio.sleep(2)
    await merged(clickhouse)
    used = store.cpu_seconds() - before
    [[rows]] = await clickhouse.query(f"SELECT count() FROM {table}")
    return Cost(used * 1e6 / events, writer * 1e6 / events, int(rows))


async def measure(store: Store, events: int, size: int, rate: float) -> dict[str, Cost]:
    """The plain table, then the sink."""
    clickhouse = await connect_clickhouse(store.dsn)
    await clickhouse.command(PLAIN)
    known = KnownIds(clickhouse)
    known.reload()
    await known.loaded()
    sink = Sink(clickhouse, known)

    async def plainly(block: Sequence[Placed], stored_at: int) -> None:
        await clickhouse.insert("plain", EVENT_COLUMNS, event_columns(block, stored_at))

    async def exactly(block: Sequence[Placed], stored_at: int) -> None:
        counted = []
        for start in range(0, len(block), ENVELOPE_EVENTS):
            record = block[start : start + ENVELOPE_EVENTS]
            place = RecordPlace("events", record[0].partition, record[0].offset, stored_at)
            counted += rows_of_record(place, [placed.event for placed in record], [])
        await sink.store(block, stored_at, counted)

    found = {
        "plain table": await cost_of(store, clickhouse, "plain", plainly, events, size, rate),
        "exact": await cost_of(store, clickhouse, "events FINAL", exactly, events, size, rate),
    }
    await sink.close()
    await clickhouse.close()
    return found


def print_costs(console: Console, found: dict[str, Cost], size: int) -> None:
    """A table."""
    table = Table("CPU us an event", *found, title=f"Storing, {size:,} events a block")
    table.add_row("ClickHouse", *(f"{cost.clickhouse:.2f}" for cost in found.values()))
    table.add_row("the process that writes", *(f"{cost.writer:.2f}" for cost in found.values()))
    table.add_row("events in the table", *(f"{cost.rows:,}" for cost in found.values()))
    console.print(table)
    console.print(f"machine load (1 min): {os.getloadavg()[0]:.1f}")


def main() -> int:
    """Measures and prints; leaves nothing running. The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.exactness", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="default: 1,000,000")
    parser.add_argument("--block", type=int, default=40_000, help="events a block (default: 40,000)")
    parser.add_argument("--rate", type=float, default=50_000, help="events/s (default: 50,000)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with clickhouse_store() as store:
            collect_seldom()
            found = asyncio.run(measure(store, given.events, given.block, given.rate))
    except EmbeddedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: nothing is left running", file=sys.stderr)
        return 130
    print_costs(Console(highlight=False), found, given.block)
    return 0


if __name__ == "__main__":
    sys.exit(main())
