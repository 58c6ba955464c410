"""The machine under the measurement: whose CPU time it is, and what runs on it in which version."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Final

import psutil
from sqlalchemy import text
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client

from bench.figures import Machine
from bench.processes import Processes
from starter.clients import Clients, required

PACKAGES: Final = ("temporalio", "sqlalchemy", "asyncpg", "clickhouse-connect", "reportlab", "pydantic")


@dataclass(frozen=True)
class Usage:
    """CPU seconds between the two looks, by role and by place in the workers; `others` in cores."""

    cpu: dict[str, float]
    places: dict[str, float]
    others: float
    ended_at: datetime


class Meter:
    """Reads the CPU clocks when it is made, and again when it is stopped."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        processes.begin_sampling()
        self._cpu = processes.cpu_seconds()
        self._busy = _busy_seconds()
        self._own = _own_seconds()
        self._began = monotonic()

    def stop(self) -> Usage:
        """What was used since."""
        ended_at = datetime.now(UTC)
        seconds = monotonic() - self._began
        now = self._processes.cpu_seconds()
        cpu = {role: now[role] - before for role, before in self._cpu.items()}
        ours = sum(cpu.values()) + _own_seconds() - self._own
        others = (_busy_seconds() - self._busy - ours) / seconds
        return Usage(cpu, self._processes.end_sampling(), max(others, 0.0), ended_at)


def _busy_seconds() -> float:
    """CPU seconds of the whole machine that were not idle."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _own_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


async def look_at_machine(clients: Clients, temporal: Client) -> Machine:
    """Asks everybody for their version."""
    async with clients.database.system_transaction() as session:
        postgres = str((await session.execute(text("SHOW server_version"))).scalar_one())
    [[clickhouse]] = await required(clients.clickhouse, "clickhouse").query("SELECT version()")
    server = await temporal.workflow_service.get_system_info(GetSystemInfoRequest())
    versions = {
        "durabill": _commit(),
        "Python": platform.python_version(),
        "PostgreSQL": postgres,
        "ClickHouse": str(clickhouse),
        "Temporal": server.server_version,
        **{package: version(package) for package in PACKAGES},
    }
    return Machine(_processor(), os.cpu_count() or 1, versions)


def _commit() -> str:
    """The commit that was measured, with a + when files differ from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude", "*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or version("durabill")


def _processor() -> str:
    """The processor's name as Linux tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
