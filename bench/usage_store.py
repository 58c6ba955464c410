"""A ClickHouse with as many stored events as asked for: a month of many customers, one of them large.

Rows are made inside ClickHouse, for volume; they look as the sink's do after merges: numbered by blocks of 25,000 in
the order of their arrival, an identity for each. They are late by up to half a minute, as events are.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psutil

from activities.adapters.clickhouse import migrate_clickhouse
from billing.periods import Period
from deploy.embedded.ports import LOOPBACK, free_port
from deploy.embedded.stack import Stack
from models.clickhouse.client import ClickHouse
from models.clickhouse.times import milliseconds
from models.scope import Scope

SCOPE: Final = Scope("tenant_bench", "env_bench")
START: Final = datetime(2025, 10, 1, tzinfo=UTC)
END: Final = datetime(2025, 11, 1, tzinfo=UTC)
LARGE: Final = "customer-large"
BLOCK: Final = 25_000
ROWS_A_STATEMENT: Final = 500_000
_LARGE_SHARE: Final = 20
"""One event in so many is the large customer's."""

_ROWS: Final = """INSERT INTO events (tenant_id, environment_id, external_customer_id, event_name, timestamp, event_id,
  source, properties, kafka_partition, kafka_offset, accepted_at, stored_at)
SELECT '{tenant}', '{environment}',
  if(cityHash64(n) % {share} = 0, '{large}', 'customer-' || leftPad(toString(cityHash64(n, 1) % {customers}), 5, '0')),
  'call_' || toString(cityHash64(n, 2) % 5),
  fromUnixTimestamp64Milli(toInt64({start} + n * {length} / {events}), 'UTC') AS happened,
  'call-' || lower(hex(cityHash64(n, 3))) || lower(hex(toUInt16(n))),
  'bench',
  concat('{{"tokens":', toString(cityHash64(n, 4) % 4000), ',"model":"', ['small', 'large', 'ultra'][n % 3 + 1],
    '","user":"user-', toString(cityHash64(n, 5) % 200), '","seconds":"', toString((cityHash64(n, 6) % 100000) / 1000),
    '","region":"eu-west-1","request":"', lower(hex(cityHash64(n, 7))), '"}}'),
  cityHash64(n, 1) % 16, intDiv(n, {block}) * {block} AS came,
  happened + toIntervalMillisecond(cityHash64(n, 8) % 30000),
  fromUnixTimestamp64Milli(toInt64({start} + (came + {block}) * {length} / {events}), 'UTC')
FROM (SELECT number AS n FROM numbers({first}, {count}))"""


@dataclass(frozen=True)
class Store:
    """The server, and how to reach it."""

    dsn: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """CPU used so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def clickhouse_store(kept: Path | None = None) -> Iterator[Store]:
    """A migrated ClickHouse; stopped on leaving and deleted, unless it is `kept` there."""
    data = (kept or Path(tempfile.mkdtemp(prefix="durabill-bench-usage-"))).resolve()
    data.mkdir(parents=True, exist_ok=True)
    stack = Stack(data, {}, {"clickhouse": free_port()}, external={"temporal": f"{LOOPBACK}:1"})
    with ExitStack() as ending:
        if kept is None:
            ending.callback(shutil.rmtree, data, ignore_errors=True)
        ending.callback(stack.down)
        dsn = stack.up(("clickhouse",)).as_env()["DURABILL_CLICKHOUSE_DSN"]
        asyncio.run(migrate_clickhouse(dsn))
        yield Store(dsn, psutil.Process(stack.running()["clickhouse"].pid))


MONTH: Final = Period(START, END)


async def fill(clickhouse: ClickHouse, events: int, customers: int, scope: Scope = SCOPE, over: Period = MONTH) -> None:
    """Stores what is missing of `events` that spread over the time, and their identities."""
    [[stored]] = await clickhouse.query("SELECT count() FROM event_ids")
    length = milliseconds(over.end) - milliseconds(over.start)
    for start in range(int(stored), events, ROWS_A_STATEMENT):
        count = min(ROWS_A_STATEMENT, events - start)
        await clickhouse.command(
            _ROWS.format(
                tenant=scope.tenant_id, environment=scope.environment_id, share=_LARGE_SHARE, large=LARGE,
                customers=customers, start=milliseconds(over.start), length=length, events=events, block=BLOCK,
                first=start, count=count,
            )
        )  # fmt: skip
        await clickhouse.command(
            "INSERT INTO event_ids SELECT cityHash64(number, 11), cityHash64(number, 12)"
            f" FROM numbers({start}, {count})"
        )


async def merged(clickhouse: ClickHouse) -> None:
    """Waits until the engine has merged what it wants to, as it has after some quiet minutes."""
    while True:
        [[busy]] = await clickhouse.query("SELECT count() FROM system.merges")
        if not int(busy):
            return
        await asyncio.sleep(0.5)
