"""The embedded stack: real engines on loopback ports over one data folder, remembered in a state file.

Owns which part runs where. How each part is started is the business of the module of its name.
"""

import fcntl
import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from deploy.embedded import clickhouse, kafka, ports, postgres, s3, temporal
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.process import Running, is_alive, stop

PartName = Literal["postgres", "clickhouse", "temporal", "kafka", "s3"]
ALWAYS: tuple[PartName, ...] = ("postgres", "clickhouse", "temporal")
EVERYTHING: tuple[PartName, ...] = (*ALWAYS, "kafka", "s3")
DATA = Path(".durabill")
_GENTLY: Mapping[str, signal.Signals] = {
    "postgres": postgres.GENTLY,
    "clickhouse": clickhouse.GENTLY,
    "temporal": temporal.GENTLY,
    "kafka": kafka.GENTLY,
    "s3": s3.GENTLY,
}
_WISHES: Mapping[str, tuple[int, ...]] = {
    "postgres": (54320, 54321),
    "clickhouse": (18123, 18124),
    "temporal": (7233, 17233),
    "temporal_ui": (8233, 18233),
    "kafka": (19092, 19093),
    "s3": (17070, 17071),
}
"""Ports that are tried first, so that they are the same every day; Temporal's are its own defaults."""


@dataclass(frozen=True)
class Endpoints:
    """Where the parts are reached; None for a part that was not asked for."""

    postgres_dsn: str
    clickhouse_dsn: str
    temporal_address: str
    temporal_ui_url: str
    kafka_brokers: str | None = None
    s3_endpoint: str | None = None
    s3_bucket: str | None = None
    s3_access_key: str | None = None
    s3_secret_key: str | None = None
    s3_region: str | None = None

    def as_env(self) -> dict[str, str]:
        """The settings of durabill's processes that point at these parts."""
        settings = {
            "DURABILL_POSTGRES_DSN": self.postgres_dsn,
            "DURABILL_CLICKHOUSE_DSN": self.clickhouse_dsn,
            "TEMPORAL_ADDRESS": self.temporal_address,
            "DURABILL_TEMPORAL_UI_URL": self.temporal_ui_url,
            "DURABILL_KAFKA_BROKERS": self.kafka_brokers,
            "DURABILL_S3_ENDPOINT": self.s3_endpoint,
            "DURABILL_S3_BUCKET": self.s3_bucket,
            "AWS_ACCESS_KEY_ID": self.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": self.s3_secret_key,
            "AWS_DEFAULT_REGION": self.s3_region,
        }
        return {name: value for name, value in settings.items() if value is not None}


class Stack:
    """The parts over one data folder. Two commands on the same folder wait for each other."""

    def __init__(
        self,
        data: Path = DATA,
        search_attributes: Mapping[str, str] | None = None,
        fixed_ports: Mapping[str, int] | None = None,
        temporal_settings: Sequence[str] = (),
        external: Mapping[PartName, str] | None = None,
    ) -> None:
        """search_attributes: name -> type, registered with Temporal. fixed_ports: part (or `temporal_ui`) -> port.

        external: part -> DSN or address of a server of the user's own, which is used and never started or stopped.
        """
        self.data = data.resolve()
        self._search_attributes = dict(search_attributes or {})
        self._fixed_ports = dict(fixed_ports or {})
        self._temporal_settings = tuple(temporal_settings)
        self._external = dict(external or {})
        unknown = set(self._fixed_ports) - set(_WISHES)
        if unknown:
            raise EmbeddedError(f"no part is called {sorted(unknown)[0]}: ports can be set for {', '.join(_WISHES)}")

    def up(self, parts: Sequence[PartName] = ALWAYS) -> Endpoints:
        """Brings up `parts` (the always needed ones included), using what runs already.

        Raises EmbeddedError; whatever this call had started is then stopped again.
        """
        wanted = [part for part in EVERYTHING if (part in parts or part in ALWAYS) and part not in self._external]
        with self._locked():
            running = self.running()
            started = []
            try:
                for part in wanted:
                    if part not in running:
                        running[part] = self._start(part)
                        started.append(part)
                        self._save(running)
            except BaseException:
                for part in reversed(started):
                    self._stop(running.pop(part))
                self._save(running)
                raise
        elsewhere: dict[str, Running] = {part: Running(part, 0, 0, 0, url) for part, url in self._external.items()}
        return endpoints({**elsewhere, **{part: running[part] for part in wanted}})

    def down(self) -> list[str]:
        """Stops every part that runs and tells which; the data stays."""
        with self._locked():
            running = self.running()
            with ThreadPoolExecutor(len(EVERYTHING)) as together:
                list(together.map(self._stop, running.values()))
            self._save({})
        return list(running)

    def running(self) -> dict[str, Running]:
        """The parts whose processes are alive, by name; a stale entry of a killed run is left out."""
        return {name: part for name, part in self._load().items() if is_alive(part.pid, part.started)}

    def _start(self, part: PartName) -> Running:
        folder = self.data / part
        log = self.data / "logs" / f"{part}.log"
        port = self._port(part)
        if part == "temporal":
            ui_port = self._port("temporal_ui")
            settings = self._temporal_settings
            return temporal.start(folder, port, ui_port, log, self._search_attributes, settings=settings)
        starters: Mapping[str, Callable[[Path, int, Path], Running]] = {
            "postgres": postgres.start,
            "clickhouse": clickhouse.start,
            "kafka": kafka.start,
            "s3": s3.start,
        }
        return starters[part](folder, port, log)

    def _stop(self, part: Running) -> None:
        stop(part.pid, part.started, _GENTLY[part.name])

    def _port(self, name: str) -> int:
        """A fixed port, else the one of the last run (so that DSNs stay the same), else a usual one, else any."""
        earlier = self._load().get(name.removesuffix("_ui"))
        wishes = _WISHES[name]
        if earlier is not None:
            port = int(earlier.extra["ui_port"]) if name == "temporal_ui" else earlier.port
            wishes = (port, *wishes)
            if psutil.pid_exists(earlier.pid):  # it was killed a moment ago and still lets go
                ports.wait_until_free(port, seconds=5)
        return ports.choose(name, self._fixed_ports.get(name), wishes)

    @property
    def _state_file(self) -> Path:
        return self.data / "state.json"

    def _load(self) -> dict[str, Running]:
        try:
            stored = json.loads(self._state_file.read_text())
            return {name: Running(**values) for name, values in stored.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError) as error:
            raise EmbeddedError(
                f"{self._state_file} is damaged ({error}): delete it, after ending leftover servers of that folder"
            ) from error

    def _save(self, running: Mapping[str, Running]) -> None:
        """Writes the state in one move. Parts that no longer run keep their entry: it remembers their ports."""
        entries = {**self._load(), **running}
        scratch = self._state_file.with_suffix(".partial")
        scratch.write_text(json.dumps({name: asdict(part) for name, part in entries.items()}, indent=2))
        scratch.chmod(0o600)
        scratch.replace(self._state_file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            lock = (self.data / "lock").open("w")
        except OSError as error:
            raise EmbeddedError(f"cannot write {self.data} ({error.strerror}): run from a folder of yours") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def endpoints(running: Mapping[str, Running]) -> Endpoints:
    """The endpoints of running parts; PostgreSQL, ClickHouse and Temporal must be among them."""
    broker = running.get("kafka")
    store = running.get("s3")
    return Endpoints(
        postgres_dsn=running["postgres"].url,
        clickhouse_dsn=running["clickhouse"].url,
        temporal_address=running["temporal"].url,
        temporal_ui_url=running["temporal"].extra.get("ui_url", ""),
        kafka_brokers=broker.url if broker else None,
        s3_endpoint=store.url if store else None,
        s3_bucket=store.extra.get("bucket") if store else None,
        s3_access_key=store.extra.get("access_key") if store else None,
        s3_secret_key=store.extra.get("secret_key") if store else None,
        s3_region=store.extra.get("region") if store else None,
    )


def prepare(parts: Sequence[PartName] = EVERYTHING) -> None:
    """Fetches or builds the executables that `parts` need, with progress, and starts nothing. Raises EmbeddedError."""
    makers: Mapping[str, Callable[[], object]] = {
        "temporal": temporal.executable,
        "kafka": kafka.jars,
        "s3": s3.executable,
    }
    for part in parts:
        if part in makers:
            makers[part]()
