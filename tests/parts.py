"""Real engines for tests: parts of the embedded stack over temporary folders and free ports, never left behind."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.embedded import clickhouse, kafka, postgres, s3, temporal
from deploy.embedded.ports import free_port
from deploy.embedded.process import Part, Running, stop
from workflows.search_attributes import TYPES

REGISTER = Path(tempfile.gettempdir()) / f"durabill-tests-{os.getuid()}"
"""One file a test run with the processes that it started: a run that was killed is cleaned up by the next one."""
TIDY_SECONDS = 60


@dataclass
class Parts:
    """Starts parts of one kind and another below `folder`, and ends them all in `close`."""

    folder: Path
    _ending: ExitStack = field(default_factory=ExitStack)
    _count: int = 0

    def start(self, name: str, temporal_settings: tuple[str, ...] = ()) -> Part:
        """A new part (postgres, clickhouse, temporal, kafka or s3) over a folder of its own.

        temporal_settings: dynamic-config values `KEY=JSON` of a Temporal server, for example a low history limit.
        """
        self._count += 1
        data = self.folder / f"{name}-{self._count}"
        log = self.folder / "logs" / f"{name}-{self._count}.log"
        part = Part(_noted(_starter(name, data, log, temporal_settings)), _GENTLY[name])
        self._ending.enter_context(part)
        return part

    def start_other(self, start: Callable[[], Running]) -> Part:
        """A process of another kind, over what `start` starts; noted, and ended by SIGTERM in `close`."""
        part = Part(_noted(start))
        self._ending.enter_context(part)
        return part

    def close(self) -> None:
        """Ends every part that was started here."""
        self._ending.close()


_GENTLY = {
    "postgres": postgres.GENTLY,
    "clickhouse": clickhouse.GENTLY,
    "temporal": temporal.GENTLY,
    "kafka": kafka.GENTLY,
    "s3": s3.GENTLY,
}


def _starter(name: str, data: Path, log: Path, temporal_settings: tuple[str, ...]) -> Callable[[], Running]:
    port = free_port()
    if name == "temporal":
        ui_port = free_port()
        return lambda: temporal.start(data, port, ui_port, log, TYPES, settings=temporal_settings)
    starters: Mapping[str, Callable[[Path, int, Path], Running]] = {
        "postgres": postgres.start,
        "clickhouse": clickhouse.start,
        "kafka": kafka.start,
        "s3": s3.start,
    }
    return lambda: starters[name](data, port, log)


def _noted(start: Callable[[], Running]) -> Callable[[], Running]:
    def starting() -> Running:
        running = start()
        with _own_file().open("a") as file:
            file.write(json.dumps([running.pid, running.started]) + "\n")
        return running

    return starting


def _own_file() -> Path:
    REGISTER.mkdir(mode=0o700, exist_ok=True)
    return REGISTER / str(os.getpid())


def end_leftovers() -> None:
    """Ends the engines of earlier test runs whose own process is gone."""
    for file in REGISTER.glob("*"):
        if not psutil.pid_exists(int(file.name)):
            forget(file)


def interrupt_sides() -> None:
    """Interrupts the processes that a parallel run has split into, and waits until they have ended their engines."""
    sides = {REGISTER / str(child.pid): child for child in psutil.Process().children()}
    noted = [file for file in sides if file.exists()]
    for file in noted:
        sides[file].terminate()
    until = time.monotonic() + TIDY_SECONDS
    while any(file.exists() for file in noted) and time.monotonic() < until:
        time.sleep(0.1)


def forget(file: Path | None = None) -> None:
    """Ends what a test run (this one when none is named) still has running, and removes its note.

    Several runs that begin at once may all end the leftovers of one: whoever comes later finds nothing to do.
    """
    noted = file or _own_file()
    try:
        lines = noted.read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        pid, started = json.loads(line)
        stop(pid, started)
    noted.unlink(missing_ok=True)
