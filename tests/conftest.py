"""Fixtures for all tests: the real engines, started when first asked for and ended with the run.

`postgres`, `clickhouse`, `temporal`, `kafka` and `s3` are the parts themselves (`.kill()`, `.stop()`, `.restart()` over
the same data and port); a test that kills one starts its own by `parts.start(name)`, so that no other test feels it.
"""

import gc
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import asyncpg
import clickhouse_connect
import pytest
import structlog
from hypothesis import HealthCheck, settings

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.process import Part
from tests import parts as engines

# A loaded machine must not turn a law into a flaky test: examples are bounded by number, not by time.
settings.register_profile("durabill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("durabill")

# Tracebacks with pictures take seconds each on a loaded machine, and tests make many.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

# An environment of the developer's own must not leak into tests.
for name in [name for name in os.environ if name.startswith(("DURABILL_", "TEMPORAL_")) and name != "TEMPORAL_CLI"]:
    del os.environ[name]


def pytest_sessionstart() -> None:
    """SIGTERM ends a run as Ctrl-C does, with its fixtures torn down."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        signal.signal(signal.SIGINT, _interrupted_once)
        signal.signal(signal.SIGTERM, _interrupted_once)
    else:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    engines.end_leftovers()
    sys.unraisablehook = partial(_unless_interrupted, sys.unraisablehook)


def _unless_interrupted(
    told: "Callable[[sys.UnraisableHookArgs], object]", unraisable: "sys.UnraisableHookArgs", /
) -> None:
    """On a machine that stood still for two seconds the SDK interrupts a workflow task wherever it is, and has the
    server hand it out again. Where that is a callback of the garbage collector, Python can only tell of it."""
    if unraisable.exc_type.__name__ != "_InterruptDeadlockError":
        told(unraisable)


def pytest_collection_finish() -> None:
    """What is imported stays: the garbage collector, which halts a workflow task for as long, need not look at it."""
    gc.collect()
    gc.freeze()


def _interrupted_once(number: int, frame: FrameType | None) -> None:
    """Ctrl-C reaches a side of a parallel run twice, from the terminal and from the run: the second must not end its
    tidying up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def pytest_keyboard_interrupt() -> None:
    """The sides of a parallel run are killed soon after it ends: they tidy up before."""
    engines.interrupt_sides()


def pytest_sessionfinish() -> None:
    """Nothing is left running, even where a teardown failed."""
    engines.forget()


@pytest.fixture(scope="session")
def _session_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Parts]:
    started = engines.Parts(tmp_path_factory.mktemp("engines"))
    yield started
    started.close()


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[engines.Parts]:
    """Engines of this test alone: `parts.start("postgres")`, to be killed and restarted at will."""
    started = engines.Parts(tmp_path)
    yield started
    started.close()


def _started(all_parts: engines.Parts, name: str) -> Part:
    try:
        return all_parts.start(name)
    except EmbeddedError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def postgres(_session_parts: engines.Parts) -> Part:
    """The PostgreSQL server of this run."""
    return _started(_session_parts, "postgres")


@pytest.fixture(scope="session")
def clickhouse(_session_parts: engines.Parts) -> Part:
    """The ClickHouse server of this run."""
    return _started(_session_parts, "clickhouse")


@pytest.fixture(scope="session")
def temporal(_session_parts: engines.Parts) -> Part:
    """The Temporal server of this run, with our search attributes registered."""
    return _started(_session_parts, "temporal")


@pytest.fixture(scope="session")
def kafka(_session_parts: engines.Parts) -> Part:
    """The Kafka broker of this run."""
    return _started(_session_parts, "kafka")


@pytest.fixture(scope="session")
def s3(_session_parts: engines.Parts) -> Part:
    """The S3 server of this run."""
    return _started(_session_parts, "s3")


@pytest.fixture(scope="session")
def postgres_dsn(postgres: Part) -> str:
    """An empty database, the same for the whole run: `postgresql://...`, owned by a role that is no superuser."""
    return postgres.running.url


@pytest.fixture
async def new_postgres_dsn(postgres: Part) -> str:
    """A new and empty database for this test alone."""
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres.running.url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return f"{postgres.running.url.rpartition('/')[0]}/{name}"


@pytest.fixture(scope="session")
def clickhouse_dsn(clickhouse: Part) -> str:
    """An empty database, the same for the whole run: `http://default@host:port/default`."""
    return clickhouse.running.url


@pytest.fixture
def new_clickhouse_dsn(clickhouse: Part) -> str:
    """A new and empty database for this test alone."""
    name = f"test_{uuid.uuid4().hex}"
    with clickhouse_connect.get_client(dsn=clickhouse.running.url) as client:
        client.command(f"CREATE DATABASE {name}")
    return f"{clickhouse.running.url.rpartition('/')[0]}/{name}"


@pytest.fixture(scope="session")
def temporal_address(temporal: Part) -> str:
    """`host:port` of the Temporal server; its namespace is `default`."""
    return temporal.running.url


@pytest.fixture(scope="session")
def temporal_ui_url(temporal: Part) -> str:
    """Where the Temporal Web UI answers."""
    return temporal.running.extra["ui_url"]


@pytest.fixture(scope="session")
def kafka_brokers(kafka: Part) -> str:
    """`host:port` of the broker. Topics are not created by use."""
    return kafka.running.url


@dataclass(frozen=True)
class S3Server:
    """Where the S3 server of this run is, and how to sign in."""

    endpoint: str
    bucket: str
    region: str
    access_key: str
    secret_key: str

    def as_env(self) -> dict[str, str]:
        """The variables by which durabill and boto3 find it."""
        return {
            "DURABILL_S3_ENDPOINT": self.endpoint,
            "DURABILL_S3_BUCKET": self.bucket,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
        }


@pytest.fixture(scope="session")
def s3_server(s3: Part) -> S3Server:
    """The S3 server of this run, with an empty bucket."""
    return S3Server(endpoint=s3.running.url, **s3.running.extra)


@pytest.fixture(scope="session")
def s3_endpoint(s3_server: S3Server) -> str:
    """URL of the S3 server."""
    return s3_server.endpoint
