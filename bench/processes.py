"""The real processes of a measurement: embedded servers, payment sandbox and workers, started and stopped together.

Owns their folder, which is thrown away afterwards, and their CPU clocks.
"""

import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import LOOPBACK, free_port
from deploy.embedded.process import Spec, launch, spawn, stop, wait_until_ready
from deploy.embedded.stack import ALWAYS, Stack
from starter.dev.processes import Ports, Service, command, environment, kept_secrets, settings
from workflows.search_attributes import TYPES

DATA: Final = Path(tempfile.gettempdir()) / f"durabill-bench-{os.getuid()}"
"""Not below .durabill, where `make clean` would take it away in the middle of a measurement."""
READY_SECONDS: Final = 60


@dataclass
class Processes:
    """What runs for a measurement, by role: postgres, clickhouse, temporal, provider, worker."""

    data: Path
    settings: dict[str, str]
    stack: Stack
    provider: psutil.Popen
    workers: list[psutil.Popen] = field(default_factory=list)
    _started: int = 0

    def start_workers(self, count: int, sandbox: bool) -> None:
        """`count` workers that serve every queue; returns once all are ready."""
        begun = [self._spawn_worker(sandbox) for _ in range(count)]
        for service, process in begun:
            wait_until_ready(service.spec, process, service.is_ready, READY_SECONDS)

    def stop_workers(self) -> None:
        """Lets what runs finish, then ends them."""
        for process in self.workers:
            process.terminate()
        for process in self.workers:
            stop(process.pid, process.create_time() if process.is_running() else 0)
        self.workers.clear()
        self._note()

    def replace_worker(self) -> None:
        """Ends the first worker by kill -9 and starts another; returns once that is ready."""
        killed = self.workers.pop(0)
        killed.kill()
        killed.wait()
        self.start_workers(1, sandbox=False)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU used so far, by role; children that have ended count for their parents."""
        roots: dict[str, Sequence[psutil.Process]] = {
            name: [psutil.Process(part.pid)] for name, part in self.stack.running().items()
        }
        roots |= {"provider": [self.provider], "worker": self.workers}
        return {role: sum(map(_cpu_of_tree, processes)) for role, processes in roots.items()}

    def begin_sampling(self) -> None:
        """The workers start to put down where their CPU goes."""
        for process in self.workers:
            _places_file(self.data, process.pid).unlink(missing_ok=True)
            process.send_signal(signal.SIGUSR1)

    def end_sampling(self) -> dict[str, float]:
        """CPU seconds of all workers since `begin_sampling`, by place in the code."""
        places: dict[str, float] = {}
        for process in self.workers:
            process.send_signal(signal.SIGUSR2)
        for process in self.workers:
            for place, seconds in _read_places(_places_file(self.data, process.pid)).items():
                places[place] = places.get(place, 0) + seconds
        return places

    def _spawn_worker(self, sandbox: bool) -> tuple[Service, psutil.Popen]:
        self._started += 1
        port = free_port()
        mode = {"DURABILL_WORKER_HEALTH_PORT": str(port), "DURABILL_SANDBOX": "on" if sandbox else "off"}
        spec = Spec(
            "the worker",
            [sys.executable, "-m", "bench.sampled_worker", str(self.data)],
            self.data / "logs" / f"worker-{self._started}.log",
            env=environment({**self.settings, **mode}),
        )
        process = spawn(spec)
        self.workers.append(process)
        self._note()
        return Service("worker", spec, f"http://{LOOPBACK}:{port}/readyz"), process

    def _note(self) -> None:
        """Writes down what was started, so that a measurement after one that was killed can clean up."""
        alive = [(each.pid, each.create_time()) for each in (self.provider, *self.workers) if each.is_running()]
        (self.data / "processes.json").write_text(json.dumps(alive))


def _places_file(data: Path, pid: int) -> Path:
    return data / f"places-{pid}.json"


def _read_places(file: Path, seconds: int = 10) -> Mapping[str, float]:
    until = time.monotonic() + seconds
    while not file.exists():
        if time.monotonic() > until:
            raise EmbeddedError(f"a worker did not write {file.name} within {seconds} s")
        time.sleep(0.05)
    found: dict[str, float] = json.loads(file.read_text())
    return found


def _cpu_of_tree(root: psutil.Process) -> float:
    used = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # its parent has taken its times over
        used += times.user + times.system + times.children_user + times.children_system
    return used


@contextmanager
def running(data: Path = DATA) -> Iterator[Processes]:
    """Servers and provider over a fresh folder, migrated; everything is stopped and deleted on leaving.

    With `TEMPORAL_ADDRESS` in the environment, that Temporal server is measured instead of one over a file; its CPU is
    not known. Raises EmbeddedError, also while another measurement runs over the same folder.
    """
    data = data.resolve()
    with _alone(data):
        elsewhere = os.environ.get("TEMPORAL_ADDRESS")
        stack = Stack(data, TYPES, external={"temporal": elsewhere} if elsewhere else None)
        _clean_up(data, stack)
        try:
            endpoints = stack.up(ALWAYS)
            ports = Ports(free_port(), free_port(), free_port())
            chosen = settings(endpoints, ports, kept_secrets(data), data)
            # Nobody listens: the provider's answers are enough, and webhooks are counted apart.
            del chosen["DURABILL_SANDBOX_WEBHOOK_URL"], chosen["DURABILL_SANDBOX_WEBHOOK_SECRET"]
            processes = Processes(data, chosen, stack, _start_provider(ports.provider, chosen, data))
            processes._note()
            yield processes
        finally:
            _clean_up(data, stack)


def _start_provider(port: int, chosen: Mapping[str, str], data: Path) -> psutil.Popen:
    books = data / "books.sqlite"
    spec = command("sandbox-provider", ["sandbox-provider", "--port", str(port), "--books", str(books)], chosen, data)
    return launch(spec, Service("provider", spec, f"http://{LOOPBACK}:{port}/healthz").is_ready)


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    data.parent.mkdir(parents=True, exist_ok=True)
    with data.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(f"another measurement runs over {data}: wait for its end") from None
        yield


def _clean_up(data: Path, stack: Stack) -> None:
    """Ends what this measurement, or one that was killed, has started, and deletes its folder."""
    noted = data / "processes.json"
    for pid, started in json.loads(noted.read_text()) if noted.exists() else []:
        stop(pid, started, seconds=5)
    if data.exists():
        stack.down()
    shutil.rmtree(data, ignore_errors=True)
    os.sync()
