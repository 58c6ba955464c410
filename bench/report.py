"""A measurement as a table for people and as JSON for comparing; figures are medians over the runs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.figures import BillingRun, CatchUp, Machine, Options
from bench.sampled_worker import SDK

GOALS: Final = {
    "periods/s, paid and drawn": "6 (stretch 10)",
    "Temporal actions a period": "10 (stretch 9)",
    "history events a period": "50 (stretch 45)",
    "CPU of Temporal, server and SDK": "130",
}
_ROLES: Final = {"temporal": "Temporal server", "postgres": "PostgreSQL", "clickhouse": "ClickHouse"}


def temporal_cpu(run: BillingRun) -> float:
    """Milliseconds a period of Temporal's server, unless it is one's own, and of the SDK's part of the workers."""
    return run.cpu.get("temporal", 0.0) + sum(run.worker_places.get(place, 0.0) for place in SDK)


def rows_of(run: BillingRun) -> dict[str, float]:
    """The lines of the table, in their order."""
    rows = {
        "periods/s, paid and drawn": run.periods / run.seconds,
        "seconds from boundary to paid, p50": run.p50,
        "seconds from boundary to paid, p99": run.p99,
        "Temporal actions a period": run.cost.total_actions,
        "history events a period": run.cost.events,
        "workflow tasks a period": run.cost.workflow_tasks,
        "activity retries a period": run.cost.retries,
        "reads of ClickHouse a period": run.statements,
        "CPU ms a period": sum(run.cpu.values()),
        "CPU of Temporal, server and SDK": temporal_cpu(run),
    }
    rows |= {f"CPU of {_ROLES.get(role, role)}": value for role, value in sorted(run.cpu.items())}
    places = sorted(run.worker_places.items(), key=lambda item: -item[1])
    rows |= {f"  worker, {place}": value for place, value in places}
    rows |= {"cores busy with other things": run.others_cpu, "load of the machine": run.load}
    return rows


def medians(runs: Sequence[BillingRun]) -> dict[str, float]:
    """Each line's median; a place that a run did not meet counts 0 there."""
    tables = [rows_of(run) for run in runs]
    return {name: median(table.get(name, 0.0) for table in tables) for name in max(tables, key=len)}


def print_table(
    console: Console, options: Options, machine: Machine, runs: Sequence[BillingRun], catch_ups: Sequence[CatchUp]
) -> None:
    """One column a sandbox mode."""
    title = f"{options.subscriptions} subscriptions due at once, {options.processes} worker process(es)"
    table = Table("", *(_mode(sandbox) for sandbox in options.sandboxes), "goal", title=title)
    columns = [medians([run for run in runs if run.sandbox is sandbox]) for sandbox in options.sandboxes]
    for name in columns[0]:
        table.add_row(name, *(_figure(column.get(name, 0.0)) for column in columns), GOALS.get(name, ""))
    if catch_ups:
        name = f"seconds over {catch_ups[0].boundaries} missed boundaries"
        table.add_row(f"{name}, closed", *_catch_up(options, catch_ups, lambda one: one.closed), "")
        table.add_row(f"{name}, paid and drawn", *_catch_up(options, catch_ups, lambda one: one.paid), "")
    console.print(table)
    console.print(
        f"Medians of {options.runs} run(s), {options.events} usage events and {options.grace_seconds} s of grace"
        f"; {machine.cores} cores, {machine.processor}"
    )
    console.print(", ".join(f"{name} {version}" for name, version in machine.versions.items()))


def _mode(sandbox: bool) -> str:
    return f"sandbox {'on' if sandbox else 'off'}"


def _figure(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _catch_up(options: Options, found: Sequence[CatchUp], pick: Callable[[CatchUp], float]) -> list[str]:
    return [_figure(median(pick(one) for one in found if one.sandbox is sandbox)) for sandbox in options.sandboxes]


def as_json(
    options: Options, machine: Machine, runs: Sequence[BillingRun], catch_ups: Sequence[CatchUp]
) -> dict[str, Any]:
    """Medians by sandbox mode, and every run."""
    return {
        "options": asdict(options),
        "machine": asdict(machine),
        "medians": {
            _mode(sandbox): medians([run for run in runs if run.sandbox is sandbox]) for sandbox in options.sandboxes
        },
        "runs": [asdict(run) | {"actions": run.cost.total_actions} for run in runs],
        "catch_ups": [asdict(one) for one in catch_ups],
    }
