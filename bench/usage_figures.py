"""The figures of reads of stored usage, and their table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.figures import Machine
from bench.ingest_figures import Disk

GOALS: Final = {
    "one customer's 10 meters, p99": "50 ms (stretch 25 ms)",
    "close of {customers:,} subscriptions": "1 s at 1 M, 8 s at 10 M events (stretch 0.5 s, 1 s)",
    "bytes an event on disk, ids included": "55 (stretch 45)",
}


@dataclass(frozen=True)
class Read:
    """One kind of read: milliseconds at the median and at p99, ClickHouse's CPU for each, and the machine's load."""

    p50_ms: float
    p99_ms: float
    cpu_ms: float
    load: float


@dataclass
class SizeFigures:
    """What was measured with so many events stored. By way: from events, from cells, from a table without revisions."""

    events: int
    disk: Disk
    sealing: Read | None = None
    """The first seal of the month, of everybody's days and the large customer's hours."""

    resealing: Read | None = None
    """A pass after half a day."""

    typical: dict[str, Read] = field(default_factory=dict)
    large: dict[str, Read] = field(default_factory=dict)
    loaded: dict[int, Read] = field(default_factory=dict)
    """A typical customer's, from events, by how many read at once; CPU for each of their reads, about."""

    crossing: dict[int, dict[str, Read]] = field(default_factory=dict)
    """By how many customers one statement reads."""

    close: dict[str, Read] = field(default_factory=dict)
    cells: int = 0
    cell_bytes: int = 0
    memory_mib: int = 0
    own_memory_mib: int = 0


def print_table(console: Console, machine: Machine, sizes: Sequence[SizeFigures], customers: int) -> None:
    """A column a size."""
    table = Table("", *(f"{size.events:,} events" for size in sizes), "goal", title="Reads of stored usage")
    for label, reads in (
        ("one customer's 10 meters", [size.typical for size in sizes]),
        ("the largest customer's 10 meters", [size.large for size in sizes]),
        (f"close of {customers:,} subscriptions", [size.close for size in sizes]),
    ):
        for way in ("events", "cells", "plain table"):
            goal = _goal(label, way, customers)
            table.add_row(f"{label}, from {way}", *(_read(each, way) for each in reads), goal)
    for callers in sorted({callers for size in sizes for callers in size.loaded}):
        label = f"one customer's 10 meters, {callers} at once"
        table.add_row(label, *(_read(size.loaded, callers) for size in sizes), "")
    for count in sorted({count for size in sizes for count in size.crossing}):
        for way in ("events", "cells"):
            label = f"{count:,} customers in one statement, from {way}"
            table.add_row(label, *(_read(size.crossing.get(count, {}), way) for size in sizes), "")
    table.add_row("first seal of the month", *(_span(size.sealing) for size in sizes), "")
    table.add_row("seal after half a day", *(_span(size.resealing) for size in sizes), "")
    table.add_row("cells", *(f"{size.cells:,} ({size.cell_bytes / 2**20:.0f} MiB)" for size in sizes), "")
    goal = GOALS["bytes an event on disk, ids included"]
    table.add_row("bytes an event, of these the id", *(_disk(size.disk) for size in sizes), goal)
    table.add_row("ClickHouse's memory, MiB", *(str(size.memory_mib) for size in sizes), "")
    table.add_row("the reader's memory, MiB", *(str(size.own_memory_mib) for size in sizes), "")
    console.print(table)
    console.print(f"{machine.cores} cores, {machine.processor}; " + ", ".join(map(" ".join, machine.versions.items())))


def _goal(label: str, way: str, customers: int) -> str:
    if way == "plain table":
        return "for comparison"
    if label.startswith("close"):
        return GOALS["close of {customers:,} subscriptions"]
    return GOALS["one customer's 10 meters, p99"] if label.startswith("one") and way == "events" else ""


def _read(found: Mapping[Any, Read], way: int | str) -> str:
    read = found.get(way)
    if read is None:
        return ""
    return f"p50 {read.p50_ms:,.0f}, p99 {read.p99_ms:,.0f} ms; CPU {read.cpu_ms:,.0f} ms (load {read.load:.1f})"


def _span(read: Read | None) -> str:
    return "" if read is None else f"{read.p50_ms / 1000:.1f} s; CPU {read.cpu_ms / 1000:.1f} s (load {read.load:.1f})"


def _disk(disk: Disk) -> str:
    return f"{disk.bytes_an_event:.1f}, {disk.bytes_of_ids:.1f} ({disk.parts} parts)"
