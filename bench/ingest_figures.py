"""The figures of an ingest measurement, as a table for people and as JSON for comparing."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.figures import Machine

GOALS: Final = {
    "bulk": "100,000 (stretch 150,000)",
    "bulk, Kafka": "100,000 (stretch 150,000)",
    "single, Kafka": "15,000 (stretch 25,000)",
    "single": "",
}


@dataclass(frozen=True)
class LoadRun:
    """One load. Rates are events a second; CPU is microseconds an event by role, the load client's apart."""

    name: str
    goal: str
    accepted: int
    repeated: int
    stored: int
    seconds: float
    accepted_rate: float
    stored_rate: float
    """To the moment at which everything accepted was stored."""

    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]
    cpu: dict[str, float]
    client_cpu: float
    busy_cores: float
    """All of the machine."""

    others_cores: float
    """Busy with other things than this measurement."""

    load: float
    memory_mib: dict[str, int]


@dataclass(frozen=True)
class Visible:
    """Seconds from the answer 202 to the event counted by POST /v1/events/usage, under a load of `rate` events/s."""

    rate: float
    reached: float
    probes: int
    p50: float
    p99: float


@dataclass(frozen=True)
class Reads:
    """Milliseconds of reading 10 meters of one customer over a month."""

    stored: int
    customer_events: int
    p50_ms: float
    p99_ms: float
    clickhouse_cpu_ms: float


@dataclass(frozen=True)
class Rejected:
    """Events of the last day that no meter wants or can read: how many, and the milliseconds of asking for them."""

    events: int
    took_ms: float
    clickhouse_cpu_ms: float


@dataclass(frozen=True)
class Disk:
    """What the stored events occupy, ids included."""

    events: int
    bytes_an_event: float
    bytes_of_ids: float
    parts: int


@dataclass
class Figures:
    """All of a measurement."""

    machine: Machine
    runs: list[LoadRun]
    visible: list[Visible]
    reads: list[Reads]
    disk: list[Disk]
    rejected: list[Rejected]

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return asdict(self)


def print_tables(console: Console, figures: Figures) -> None:
    """The loads, then the single figures with their goals."""
    table = Table("", *(run.name for run in figures.runs), title="Ingestion")
    for label, values in _rows(figures.runs):
        table.add_row(label, *values)
    console.print(table)
    others = Table("", "measured", "goal", title="The rest")
    for seen in figures.visible:
        text = f"p50 {seen.p50:.2f} s, p99 {seen.p99:.2f} s ({seen.probes} probes, {seen.reached:,.0f} events/s)"
        others.add_row(f"202 to visible at {seen.rate:,.0f}/s", text, "p99 1.5 s at 25,000/s (stretch 1 s)")
    for read in figures.reads:
        label = f"one customer's 10 meters, {read.customer_events:,} of {read.stored:,} events"
        text = f"p50 {read.p50_ms:.0f} ms, p99 {read.p99_ms:.0f} ms, ClickHouse {read.clickhouse_cpu_ms:.0f} ms CPU"
        others.add_row(label, text, "p99 50 ms (stretch 25 ms)")
    for found in figures.rejected:
        text = f"{found.took_ms:.0f} ms, ClickHouse {found.clickhouse_cpu_ms:.0f} ms CPU"
        others.add_row(f"{found.events:,} events of a day that no meter wants", text, "")
    for disk in figures.disk:
        text = f"{disk.bytes_an_event:.1f} ({disk.bytes_of_ids:.1f} for the id; {disk.parts} parts)"
        others.add_row(f"bytes an event on disk, {disk.events:,} events", text, "55 (stretch 45)")
    console.print(others)
    machine = figures.machine
    console.print(f"{machine.cores} cores, {machine.processor}; " + ", ".join(map(" ".join, machine.versions.items())))


def _rows(runs: list[LoadRun]) -> list[tuple[str, list[str]]]:
    roles = sorted({role for run in runs for role in run.cpu})
    rows = [
        ("events/s accepted", [f"{run.accepted_rate:,.0f}" for run in runs]),
        ("events/s stored", [f"{run.stored_rate:,.0f}" for run in runs]),
        ("goal", [run.goal for run in runs]),
        ("request p50 / p99, ms", [f"{run.p50_ms:.0f} / {run.p99_ms:.0f}" for run in runs]),
        ("accepted - repeated = stored", [_exactness(run) for run in runs]),
        ("CPU us an event", [f"{sum(run.cpu.values()):.1f}" for run in runs]),
        *((f"  {role}", [f"{run.cpu.get(role, 0):.2f}" for run in runs]) for role in roles),
        ("  (load client)", [f"{run.client_cpu:.2f}" for run in runs]),
        ("cores busy / with other things", [f"{run.busy_cores:.2f} / {run.others_cores:.2f}" for run in runs]),
        ("machine load (1 min)", [f"{run.load:.1f}" for run in runs]),
        ("events a second of CPU", [f"{1e6 / sum(run.cpu.values()):,.0f}" for run in runs]),
    ]
    return [*rows, *((f"MiB {role}", [str(run.memory_mib.get(role, "")) for run in runs]) for role in roles)]


def _exactness(run: LoadRun) -> str:
    exact = run.accepted - run.repeated == run.stored
    return f"{run.accepted:,} - {run.repeated:,} {'=' if exact else '!='} {run.stored:,}"
