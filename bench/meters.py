"""What one event costs to read, by the shape of its meter: CPU of ClickHouse and of this process, by event.

Owns a ClickHouse of its own with the events of one customer. Run: `python -m bench.meters [--events 1000000]`.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from activities.adapters.clickhouse import connect_clickhouse, migrate_clickhouse
from activities.usage_reader import UsageReader
from billing.meters import AggregationType, Meter
from billing.periods import Period
from billing.windows import WindowSize
from deploy.embedded import clickhouse as embedded
from deploy.embedded.ports import free_port
from deploy.embedded.process import Part
from models.clickhouse.client import ClickHouse
from models.scope import Scope

MONTH = Period(datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC))
SCOPE = Scope("tenant_bench", "env_bench")
CUSTOMER = "customer-1"


def of_expression(text: str) -> Meter:
    """A sum of it."""
    return Meter("m", "m", "call", AggregationType.SUM, expression=text)


SHAPES: dict[str, Meter] = {
    "SUM of a field": Meter("m", "m", "call", AggregationType.SUM, "input"),
    "input / 60": of_expression("input / 60"),
    "(input * 3 + output * 15) / 1000000": of_expression("(input * 3 + output * 15) / 1000000"),
    "ceil(input / 60) * 60": of_expression("ceil(input / 60) * 60"),
    "model in ['m1', 'm2'] ? input * 2 : output": of_expression("model in ['m1', 'm2'] ? input * 2 : output"),
    "input / (output + 1)": of_expression("input / (output + 1)"),
    "odd / 60, written as 1e3: left to the rules": of_expression("odd / 60"),
    "MAX by day": Meter("m", "m", "call", AggregationType.MAX, "input", bucket_size=WindowSize.DAY),
    "MAX by hour and model": Meter(
        "m", "m", "call", AggregationType.MAX, "input", bucket_size=WindowSize.HOUR, group_by="model"
    ),
}


async def measure(dsn: str, process: psutil.Process, events: int) -> None:
    """Stores the events and reads them by each shape, twice: the second read counts."""
    await migrate_clickhouse(dsn)
    clickhouse = await connect_clickhouse(dsn)
    await _fill(clickhouse, events)
    reader = UsageReader(clickhouse)
    print(f"{events:,} events of one customer in a month; CPU by event in us, seconds until the answer")
    print(f"{'meter':46}{'ClickHouse':>12}{'Python':>10}{'seconds':>10}")
    for name, meter in SHAPES.items():
        await reader.measure(SCOPE, CUSTOMER, [meter], MONTH, "Asia/Kolkata", None)
        begun, engine, own = time.perf_counter(), _cpu(process), _own_cpu()
        await reader.measure(SCOPE, CUSTOMER, [meter], MONTH, "Asia/Kolkata", None)
        seconds, engine, own = time.perf_counter() - begun, _cpu(process) - engine, _own_cpu() - own
        print(f"{name:46}{engine * 1e6 / events:12.2f}{own * 1e6 / events:10.2f}{seconds:10.2f}", flush=True)
    await clickhouse.close()


async def _fill(clickhouse: ClickHouse, events: int) -> None:
    properties = (
        'concat(\'{"input":"\', toString(number % 9973), \'","output":\', toString(number * 7 % 501), \'.25,"odd":"\','
        ' toString(number % 97), \'e1","model":"m\', toString(number % 5), \'"}\')'
    )
    await clickhouse.command(
        "INSERT INTO events SELECT"
        f" '{SCOPE.tenant_id}', '{SCOPE.environment_id}', '{CUSTOMER}', 'call',"
        f" toDateTime64('2025-01-01 00:00:00', 3, 'UTC') + number % 2678400, toString(number), 'bench', {properties},"
        f" 0, 0, now64(3), now64(3), 0, 0 FROM numbers({events})"
    )


def _cpu(process: psutil.Process) -> float:
    tree = [process, *process.children(recursive=True)]
    return sum(times.user + times.system for times in (one.cpu_times() for one in tree))


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Parses, starts ClickHouse, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        data, log = Path(folder) / "clickhouse", Path(folder) / "clickhouse.log"
        with Part(lambda: embedded.start(data, free_port(), log), embedded.GENTLY) as part:
            asyncio.run(measure(part.running.url, psutil.Process(part.running.pid), events))


if __name__ == "__main__":
    main()
