"""Brings the embedded stack and durabill's processes up, remembers them in a file, watches them and stops them."""

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.process import is_alive, spawn, stop, surroundings, tail, wait_until_ready
from deploy.embedded.progress import step
from deploy.embedded.stack import ALWAYS, DATA, Endpoints, PartName, Stack
from starter.dev.processes import REPOSITORY, Ports, Service, choose_ports, command, kept_secrets, services, settings
from workflows.search_attributes import TYPES

READY_SECONDS = 90
WATCH_SECONDS = 0.5
_EXTERNAL: Mapping[PartName, str] = {
    "postgres": "DURABILL_POSTGRES_DSN",
    "clickhouse": "DURABILL_CLICKHOUSE_DSN",
    "kafka": "DURABILL_KAFKA_BROKERS",
}
"""Servers of the user's own take the place of ours."""
_STOP_ORDER = ("lazy-consumer", "consumer", "api", "worker", "sandbox-provider")
_CODE = ("billing", "models", "activities", "workflows", "starter")


@dataclass(frozen=True)
class Child:
    """A process of ours that was started: enough to find it again, and to know that it is still the same one."""

    name: str
    pid: int
    started: float
    log: str
    address: str

    def is_alive(self) -> bool:
        """Whether this very process runs."""
        return is_alive(self.pid, self.started)


@dataclass(frozen=True)
class Dev:
    """A running `durabill dev`: its addresses, the settings of its processes, and the processes."""

    api_url: str
    temporal_ui_url: str
    settings: Mapping[str, str]
    ports: Ports
    children: tuple[Child, ...]
    supervisor: tuple[int, float] | None = None
    """Pid and start time of the `durabill dev` in whose terminal it all runs; None when it is detached."""


@dataclass
class Supervisor:
    """`durabill dev` over one data folder."""

    data: Path = DATA
    kafka: bool = False
    s3: bool = False
    _stack: Stack = field(init=False)

    def __post_init__(self) -> None:
        self.data = self.data.resolve()
        external = {part: os.environ[name] for part, name in _EXTERNAL.items() if os.environ.get(name)}
        self._stack = Stack(self.data, TYPES, external=external)

    def up(self, attached: bool = False) -> Dev:
        """Brings up whatever does not run yet and returns when all of it is ready.

        attached: this process stays and watches. Raises EmbeddedError; what this call had started is then stopped.
        """
        with self._locked():
            earlier = self._load()
            watcher = _alive_supervisor(earlier)
            if attached and watcher:
                raise EmbeddedError(
                    f"it runs here already, as process {watcher}: use it, or end it: `durabill dev stop`"
                )
            nothing_ran = not self._stack.running()
            try:
                with step("Starting the servers"):
                    endpoints = self._stack.up(self._parts())
                dev = self._processes_up(endpoints, earlier, watcher)
            except BaseException:
                if nothing_ran:
                    self._stack.down()
                raise
            if attached:
                dev = replace(dev, supervisor=(os.getpid(), psutil.Process().create_time()))
                self._save(dev)
            return dev

    def watch(self, dev: Dev) -> None:
        """Returns never; raises EmbeddedError with the end of its log as soon as a process or a server has died."""
        servers = self._stack.running()
        logs = {name: (part.pid, part.started, self.data / "logs" / f"{name}.log") for name, part in servers.items()}
        logs |= {child.name: (child.pid, child.started, Path(child.log)) for child in dev.children}
        while True:
            for name, (pid, started, log) in logs.items():
                if not is_alive(pid, started):
                    raise EmbeddedError(f"{name} has stopped; {tail(log)}")
            time.sleep(WATCH_SECONDS)

    def down(self) -> list[str]:
        """Stops our processes, then the servers, and tells which ran; the data stays."""
        with self._locked():
            earlier = self._load()
            stopped = self._stop_children(earlier)
            if earlier:
                self._save(replace(earlier, children=(), supervisor=None))
            return stopped + self._stack.down()

    def end_supervisor(self) -> list[str]:
        """Asks a `durabill dev` in another terminal to end, waits until it has, and tells what ran there."""
        earlier = self._load()
        if earlier is None or earlier.supervisor is None or not _alive_supervisor(earlier):
            return []
        ran = [child.name for child in self.status() if child.is_alive()]
        stop(*earlier.supervisor, seconds=60)
        return ran

    def running(self) -> Dev | None:
        """What runs here, if all of it does."""
        earlier = self._load()
        alive = earlier is not None and earlier.children and all(child.is_alive() for child in earlier.children)
        return earlier if alive else None

    def status(self) -> list[Child]:
        """Everything that was started here, servers and processes, whether it is alive or not."""
        earlier = self._load()
        servers = [
            Child(name, part.pid, part.started, str(self.data / "logs" / f"{name}.log"), part.url.rpartition("@")[2])
            for name, part in self._stack.running().items()
        ]
        return servers + (list(earlier.children) if earlier else [])

    def _parts(self) -> list[PartName]:
        optional: list[PartName] = []
        if self.kafka:
            optional.append("kafka")
        if self.s3:
            optional.append("s3")
        return [*ALWAYS, *optional]

    def _processes_up(self, endpoints: Endpoints, earlier: Dev | None, watcher: int | None) -> Dev:
        if earlier and self._serves(earlier, endpoints):
            return earlier
        if watcher:
            raise EmbeddedError(
                f"process {watcher} runs here with other options or older code: `durabill dev stop` first"
            )
        self._stop_children(earlier)
        ports = choose_ports(earlier.ports if earlier else None)
        chosen = settings(endpoints, ports, kept_secrets(self.data), self.data)
        self._migrate(chosen)
        dev = Dev(chosen["DURABILL_PUBLIC_URL"], endpoints.temporal_ui_url, chosen, ports, ())
        children: list[Child] = []
        try:
            with step("Starting API and worker"):
                started = []
                for service in services(chosen, ports, self.data):
                    started.append((service, spawn(service.spec)))
                    children.append(_child(*started[-1]))
                    self._save(replace(dev, children=tuple(children)))
                for service, process in started:
                    wait_until_ready(service.spec, process, service.is_ready, READY_SECONDS)
        except BaseException:
            self._stop_children(replace(dev, children=tuple(children)))
            raise
        return replace(dev, children=tuple(children))

    def _serves(self, earlier: Dev, endpoints: Endpoints) -> bool:
        """Whether the processes of an earlier call do exactly what this call wants, with today's code."""
        wanted = [service.name for service in services(dict(earlier.settings), earlier.ports, self.data)]
        return (
            [child.name for child in earlier.children] == wanted
            and all(child.is_alive() for child in earlier.children)
            and settings(endpoints, earlier.ports, kept_secrets(self.data), self.data) == dict(earlier.settings)
            and min(child.started for child in earlier.children) > _code_changed_at()
        )

    def _migrate(self, chosen: Mapping[str, str]) -> None:
        spec = command("migrate", ["migrate"], chosen, self.data)
        with step("Migrating the databases"), spec.log.open("ab") as log:
            done = subprocess.run(
                list(spec.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=surroundings(spec.env),
                check=False,
            )
        if done.returncode:
            raise EmbeddedError(f"`durabill migrate` failed with exit code {done.returncode}; {tail(spec.log)}")

    def _stop_children(self, dev: Dev | None) -> list[str]:
        """In the order of dependence: first who calls, then who is called."""
        alive = [child for child in (dev.children if dev else ()) if child.is_alive()]
        for child in sorted(alive, key=lambda child: _STOP_ORDER.index(child.name)):
            stop(child.pid, child.started, seconds=30)
        return [child.name for child in alive]

    @property
    def _file(self) -> Path:
        return self.data / "dev.json"

    def _load(self) -> Dev | None:
        try:
            stored = json.loads(self._file.read_text())
            children = tuple(Child(**child) for child in stored.pop("children"))
            supervisor = stored.pop("supervisor")
            ports = Ports(**stored.pop("ports"))
            return Dev(**stored, ports=ports, children=children, supervisor=tuple(supervisor) if supervisor else None)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise EmbeddedError(f"{self._file} is damaged ({error}): delete it, and end leftover processes") from error

    def _save(self, dev: Dev) -> None:
        scratch = self._file.with_suffix(".partial")
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps(asdict(dev), indent=2))
        scratch.replace(self._file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            (self.data / "logs").mkdir(parents=True, exist_ok=True)
            lock = (self.data / "dev.lock").open("w")
        except OSError as error:
            raise EmbeddedError(f"cannot write {self.data} ({error.strerror}): run from a folder of yours") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _child(service: Service, process: psutil.Popen) -> Child:
    address = service.ready_url.rpartition("/")[0] if service.ready_url else ""
    return Child(service.name, process.pid, process.create_time(), str(service.spec.log), address)


def _alive_supervisor(dev: Dev | None) -> int | None:
    """The pid of the `durabill dev` that watches these processes from a terminal, if it still runs."""
    if dev is None or dev.supervisor is None:
        return None
    pid, started = dev.supervisor
    return pid if is_alive(pid, started) else None


def _code_changed_at() -> float:
    """When a source file of ours was last written, in seconds since 1970: processes that are older run old code."""
    files = [REPOSITORY / "worker.py", *(file for folder in _CODE for file in (REPOSITORY / folder).rglob("*.py"))]
    return max(file.stat().st_mtime for file in files)
