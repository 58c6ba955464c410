"""Measures the path of usage: bulk and single requests, directly and through Kafka, until stored, read and on disk.

Real processes on this machine: PostgreSQL, ClickHouse, Apache Kafka, `durabill api`, `durabill consume`, and a load
client of its own process. Authentication, checks, deduplication, dead letters and metrics are on, as in production; ten
meters want half of the events, and nobody the other half.
`python -m bench.ingest --help`.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse
from activities.adapters.kafka_consumer import KafkaUsageProgress
from activities.ingestion.known_ids import LATE_SECONDS
from activities.ingestion.ports import IngestUnavailable
from bench.figures import Machine
from bench.ingest_figures import GOALS, Figures, LoadRun, print_tables
from bench.ingest_servers import Servers, client_argv, client_environment, running
from bench.usage_reads import disk_of, read_rejected, read_ten_meters, stored_events, watch_visibility
from deploy.embedded.errors import EmbeddedError

RESULTS: Final = Path(__file__).parent / "results"
PACKAGES: Final = ("confluent-kafka", "clickhouse-connect", "msgspec", "uvicorn", "chdb")
WARM_SECONDS: Final = 3
SETTLE_SECONDS: Final = 120
SINGLES: Final = 128
BULKS: Final = 6
"""Clients that wait for their answers."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    paths: tuple[str, ...]
    kinds: tuple[str, ...]
    seconds: float
    customers: int
    months: int
    visible_rate: float
    bulks: int
    singles: int


class Bench:
    """The measurements over one set of servers."""

    def __init__(self, servers: Servers, plan: Plan, console: Console) -> None:
        self._servers = servers
        self._plan = plan
        self._console = console
        self._count = 0

    async def load(self, kind: str, seconds: float) -> LoadRun:
        """As many events as are accepted; ends when all of them are stored."""
        servers = self._servers
        name = kind + (", Kafka" if servers.kafka else "")
        spread = f", {self._plan.months} months" if self._plan.months > 1 else ""
        clickhouse = await connect_clickhouse(servers.settings["DURABILL_CLICKHOUSE_DSN"])
        await self.settled(clickhouse)
        stored_before = await stored_events(clickhouse)
        cpu, busy, begun = servers.cpu_seconds(), _busy_seconds(), time.monotonic()
        said = await self.client(kind, seconds)
        await self.settled(clickhouse)
        elapsed = time.monotonic() - begun
        used = {role: now - cpu[role] for role, now in servers.cpu_seconds().items()}
        all_busy = (_busy_seconds() - busy) / elapsed
        stored = await stored_events(clickhouse) - stored_before
        await clickhouse.close()
        accepted = max(said["accepted"], 1)
        run = LoadRun(
            name=name + spread,
            goal=GOALS[name],
            accepted=said["accepted"],
            repeated=said["repeated"],
            stored=stored,
            seconds=said["seconds"],
            accepted_rate=said["accepted"] / said["seconds"],
            stored_rate=said["accepted"] / elapsed,
            p50_ms=said["p50"] * 1000,
            p99_ms=said["p99"] * 1000,
            statuses=said["statuses"],
            cpu={role: seconds_ * 1e6 / accepted for role, seconds_ in used.items()},
            client_cpu=said["cpu"] * 1e6 / accepted,
            busy_cores=all_busy,
            others_cores=max(all_busy - (sum(used.values()) + said["cpu"]) / elapsed, 0.0),
            load=os.getloadavg()[0],
            memory_mib={role: size >> 20 for role, size in servers.memory_bytes().items()},
        )
        self._console.print(
            f"{run.name}: {run.accepted_rate:,.0f} events/s accepted, {sum(run.cpu.values()):.1f} us of CPU an event,"
            f" answers {run.statuses}, {run.others_cores:.2f} cores busy with other things"
        )
        return run

    async def visible(self) -> Any:
        """The time from 202 to counted while bulk requests arrive at a steady rate."""
        rate, seconds = self._plan.visible_rate, self._plan.seconds
        sending = asyncio.create_task(self.client("bulk", seconds, "--rate", str(rate), "--batch", "250"))
        await asyncio.sleep(WARM_SECONDS)
        found = await watch_visibility(self._servers, rate, max(seconds - 2 * WARM_SECONDS, 5))
        said = await sending
        return replace(found, reached=said["accepted"] / said["seconds"])

    async def client(self, kind: str, seconds: float, *more: str) -> Any:
        """Runs a load client and gives what it printed. Raises EmbeddedError when it fails."""
        self._count += 1
        plan = self._plan
        arguments = ["--url", self._servers.url, "--key", self._servers.key, "--seconds", str(seconds)]
        arguments += ["--connections", str(plan.singles if kind == "single" else plan.bulks)]
        arguments += ["--customers", str(plan.customers), "--months", str(plan.months)]
        arguments += ["--prefix", f"{self._count:03d}", "--seed", str(self._count), *more]
        arguments += ["--single"] if kind == "single" else []
        client = await asyncio.create_subprocess_exec(
            *client_argv(*arguments), stdout=subprocess.PIPE, env=client_environment()
        )
        said, _ = await client.communicate()
        if client.returncode:
            raise EmbeddedError(f"the load client ended with code {client.returncode}")
        return json.loads(said)

    async def settled(self, clickhouse: ClickHouseConnection) -> None:
        """Waits until the consumer has stored everything that was accepted."""
        kafka = self._servers.kafka
        if kafka is None:
            return
        progress = KafkaUsageProgress(kafka)
        cutoff = datetime.now(UTC)
        async with asyncio.timeout(SETTLE_SECONDS):
            while not await _has_settled(progress, cutoff):  # noqa: ASYNC110 (no broker tells of a commit)
                await asyncio.sleep(0.1)
        await progress.close()


async def _has_settled(progress: KafkaUsageProgress, cutoff: datetime) -> bool:
    """A broker that has just started may not yet know who coordinates the group."""
    try:
        return await progress.settled(cutoff)
    except IngestUnavailable:
        return False


async def measure(servers: Servers, plan: Plan, figures: Figures, console: Console) -> None:
    """All kinds of load on one path, then the reads."""
    bench = Bench(servers, plan, console)
    for number, kind in enumerate(plan.kinds):
        await bench.client(kind, WARM_SECONDS)
        if servers.kafka is None and number == 0:
            # For so long the direct writer looks everything up, because an earlier writer may have left something.
            await asyncio.sleep(LATE_SECONDS)
        figures.runs.append(await bench.load(kind, plan.seconds))
    if plan.visible_rate:
        figures.visible.append(await bench.visible())
    clickhouse = await connect_clickhouse(servers.settings["DURABILL_CLICKHOUSE_DSN"])
    await bench.settled(clickhouse)
    figures.reads.append(await read_ten_meters(clickhouse, servers))
    figures.rejected.append(await read_rejected(servers))
    figures.disk.append(await disk_of(clickhouse))
    await clickhouse.close()


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def look_at_machine() -> Machine:
    """The processor and what is measured in which version."""
    described = ["git", "describe", "--always", "--dirty=+", "--exclude", "*"]
    said = subprocess.run(described, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    versions = {"durabill": said.stdout.strip() or version("durabill"), "Python": platform.python_version()}
    versions |= {package: version(package) for package in PACKAGES}
    return Machine(processor or platform.machine(), os.cpu_count() or 1, versions)


def read_plan() -> Plan:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.ingest", description=__doc__)
    parser.add_argument("--path", choices=("direct", "kafka", "both"), default="both")
    parser.add_argument("--kind", choices=("bulk", "single", "both"), default="both")
    parser.add_argument("--seconds", type=float, default=20, help="of each load (default: 20)")
    parser.add_argument("--customers", type=int, default=1000, help="default: 1000")
    parser.add_argument("--months", type=int, default=1, help="timestamps lie in the last so many months (default: 1)")
    parser.add_argument(
        "--visible-rate", type=float, default=25_000, help="events/s under which visibility is measured"
    )
    parser.add_argument("--bulk-clients", type=int, default=BULKS, help=f"default: {BULKS}")
    parser.add_argument("--single-clients", type=int, default=SINGLES, help=f"default: {SINGLES}")
    given = parser.parse_args()
    return Plan(
        paths=("direct", "kafka") if given.path == "both" else (given.path,),
        kinds=("bulk", "single") if given.kind == "both" else (given.kind,),
        seconds=given.seconds,
        customers=given.customers,
        months=given.months,
        visible_rate=given.visible_rate,
        bulks=given.bulk_clients,
        singles=given.single_clients,
    )


def main() -> int:
    """Measures, prints the tables, writes the JSON, and leaves nothing running. The exit code."""
    plan, console = read_plan(), Console(highlight=False)
    figures = Figures(look_at_machine(), [], [], [], [], [])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for path in plan.paths:
            with running(path == "kafka", plan.customers) as servers:
                asyncio.run(measure(servers, plan, figures, console))
    except EmbeddedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: nothing is left running", file=sys.stderr)
        return 130
    print_tables(console, figures)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"ingest-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(figures.as_json(), indent=2) + "\n")
    console.print(f"JSON: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
