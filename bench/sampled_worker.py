"""A durabill worker that can tell where its CPU went: `python -m bench.sampled_worker FOLDER`.

SIGUSR1 begins a measurement, SIGUSR2 ends it and writes `{place: CPU seconds}` to FOLDER/places-PID.json. Twenty
times a second each thread's CPU clock is read, and what it used since the last look is put down to the place where the
thread stands. So a place's figure is an estimate; the sum of all, and that of the SDK's Rust core, are exact.
"""

import json
import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import worker

PAUSE_SECONDS: Final = 0.05
TASKS: Final = Path("/proc/self/task")
NANOSECONDS: Final = 1_000_000_000

CORE: Final = "Temporal SDK: core"
WORKFLOWS: Final = "Temporal SDK: workflow tasks"
PYTHON: Final = "Temporal SDK: Python"
LOOP: Final = "event loop"
SAMPLER: Final = "this sampler"
SDK: Final = (CORE, WORKFLOWS, PYTHON)
"""What counts as Temporal's part of the worker. Workflow tasks include durabill's own workflow code."""

_PLACES: Final = {
    "sqlalchemy": "Postgres client",
    "sqlmodel": "Postgres client",
    "asyncpg": "Postgres client",
    "clickhouse_connect": "ClickHouse client",
    "aiohttp": "ClickHouse client",
    "httpx": "payment client",
    "httpcore": "payment client",
    "h11": "payment client",
    "reportlab": "drawing",
    "uharfbuzz": "drawing",
    "activities.documents": "drawing",
    "activities.outbox_relay": "outbox relay",
    "activities": "activities",
    "models": "activities",
    "billing": "activities",
    "temporalio": PYTHON,
    "structlog": "logging",
    "logging": "logging",
}


class Sampler(threading.Thread):
    """Puts down the CPU of this process's threads to places, between `begin` and `end`."""

    def __init__(self) -> None:
        super().__init__(name=SAMPLER, daemon=True)
        self._measuring = threading.Event()
        self._used: dict[str, int] = defaultdict(int)
        self._clocks: dict[int, int] = {}

    def begin(self) -> None:
        """Forgets what was measured before and starts."""
        self._used.clear()
        self._clocks = dict(_clocks())
        self._measuring.set()

    def end(self, file: Path) -> None:
        """Stops, and writes what was measured to `file` in one move."""
        self._measuring.clear()
        scratch = file.with_suffix(".partial")
        scratch.write_text(json.dumps({place: used / NANOSECONDS for place, used in self._used.items()}))
        scratch.replace(file)

    def run(self) -> None:
        """Looks until the process ends."""
        pause = threading.Event()
        while True:
            self._measuring.wait()
            pause.wait(PAUSE_SECONDS)
            self._look()

    def _look(self) -> None:
        threads = {thread.native_id: thread for thread in threading.enumerate()}
        frames = sys._current_frames()
        for number, clock in _clocks():
            used = clock - self._clocks.get(number, 0)
            self._clocks[number] = clock
            thread = threads.get(number)
            if used > 0:
                self._used[_place(thread, frames.get(thread.ident or 0)) if thread else CORE] += used


def _clocks() -> Iterator[tuple[int, int]]:
    """Nanoseconds of CPU of each thread, by its number; a thread that ends meanwhile is left out."""
    for task in TASKS.iterdir():
        try:
            yield int(task.name), int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue


def _place(thread: threading.Thread, frame: FrameType | None) -> str:
    """The innermost place that has a name."""
    if thread.name == SAMPLER:
        return SAMPLER
    if thread.name.startswith("temporal_workflow"):
        return WORKFLOWS
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        found = _PLACES.get(".".join(module.split(".")[:2])) or _PLACES.get(module.split(".")[0])
        if found is not None:
            return found
        frame = frame.f_back
    return LOOP


def main() -> None:
    """Runs the worker, ready to be measured."""
    sampler = Sampler()
    file = Path(sys.argv[1]) / f"places-{os.getpid()}.json"
    signal.signal(signal.SIGUSR1, lambda *_: sampler.begin())
    signal.signal(signal.SIGUSR2, lambda *_: sampler.end(file))
    sampler.start()
    worker.main()


if __name__ == "__main__":
    main()
