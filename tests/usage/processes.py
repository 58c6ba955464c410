"""Processes of the path of usage, to be killed from outside: `python -m tests.usage.processes api|consume ...`."""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import httpx
import uvicorn
from starlette.responses import PlainTextResponse

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse
from activities.adapters.kafka_producer import KafkaEventLog
from activities.adapters.kafka_settings import KafkaSettings
from activities.ingestion.counts import AcceptanceCounts
from activities.ingestion.direct_writer import DirectWriter
from activities.ingestion.known_ids import KnownIds
from activities.ingestion.lease import PostgresWriterLease
from activities.ingestion.sink import Sink
from deploy.embedded.ports import free_port
from models.scope import Scope
from starter.cli.api_server import serve_to_the_end
from starter.consume import consume
from starter.ingest.app import Ingest
from tests.usage.pauses import STEPS, Pause

TENANT = Scope("tenant_faults", "env_faults")


async def authenticate(headers: Mapping[str, str]) -> Scope:
    """Everybody is who they say they are; who says nothing is the one tenant."""
    return Scope(headers.get("x-api-key", TENANT.tenant_id), TENANT.environment_id)


async def clocks_of(
    tenant_id: str, environment_id: str, external_customer_ids: Collection[str]
) -> Mapping[str, datetime]:
    """The wall clock."""
    return dict.fromkeys(external_customer_ids, datetime.now(UTC))


class Child:
    """A process of this module that can be killed and started again; ended with its test at the latest."""

    _started: ClassVar[list["Child"]] = []

    def __init__(self, log: Path, *arguments: str) -> None:
        self._log = log
        self._arguments = arguments
        self.kills = 0
        self._process = self._spawn()
        self._started.append(self)

    @classmethod
    def end_all(cls) -> None:
        """SIGKILL for all that still run, whatever became of their test."""
        while cls._started:
            cls._started.pop().kill()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "tests.usage.processes", *self._arguments]
            return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": os.getcwd()})

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()
        self.kills += 1

    def kill_and_restart(self) -> None:
        """SIGKILL, then a new process with the same arguments."""
        self.kill()
        self._process = self._spawn()

    def stall(self) -> None:
        """SIGSTOP: it keeps its connections and does nothing, as on a machine that swaps."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT after `stall`."""
        self._process.send_signal(signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process.poll() is None

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)


async def answers(url: str, seconds: float = 120) -> None:
    """Waits until something speaks HTTP at `url`."""
    until = time.monotonic() + seconds
    async with httpx.AsyncClient() as client:
        while time.monotonic() < until:
            with suppress(httpx.TransportError):
                await client.get(url)
                return
            await asyncio.sleep(0.05)
    raise TimeoutError(f"nothing answers at {url}")


async def serve(options: argparse.Namespace) -> None:
    """The ingest routes over either path."""
    acceptor: DirectWriter | KafkaEventLog
    counts = AcceptanceCounts(await connect_clickhouse(options.clickhouse))
    counts.start()
    if options.kafka:
        acceptor = KafkaEventLog(KafkaSettings(options.kafka, topic=options.topic), counts=counts)
        await acceptor.start()
    else:
        lease = PostgresWriterLease(options.postgres)
        connection = await connect_clickhouse(options.clickhouse)
        acceptor = DirectWriter(Sink(connection, KnownIds(connection)), lease, counts=counts)
        acceptor.start()
    app = Ingest(PlainTextResponse("the rest"), acceptor, authenticate, clocks_of)
    await serve_to_the_end(uvicorn.Server(uvicorn.Config(app, port=options.port, lifespan="off", log_level="warning")))
    await acceptor.close()
    await counts.close()


async def carry(options: argparse.Namespace) -> None:
    """The consumer."""
    if options.session_ms:
        shorten_sessions(options.session_ms)
    settings = KafkaSettings(options.kafka, topic=options.topic, dead_letter_topic=f"{options.topic}_dlq", partitions=3)
    print(await consume(options.clickhouse, settings, lazy=options.lazy))


def shorten_sessions(session_ms: int) -> None:
    """A consumer that falls silent is given up sooner, so that a test need not wait."""
    common = KafkaSettings.common

    def shorter(self: KafkaSettings, **more: Any) -> dict[str, Any]:
        if "session_timeout_ms" in more:
            more |= {"session_timeout_ms": session_ms, "heartbeat_interval_ms": session_ms // 4}
        return common(self, **more)

    KafkaSettings.common = shorter  # type: ignore[method-assign]


def linger_between_steps(seconds: float) -> None:
    """Waits between `events` and `event_ids`, and after it, so that a kill from outside falls between two steps."""
    insert = ClickHouseConnection.insert

    async def lingering(
        self: ClickHouseConnection, table: str, columns: Mapping[str, str], values: Sequence[Sequence[Any]]
    ) -> None:
        await asyncio.sleep(seconds if table == "event_ids" else 0)
        await insert(self, table, columns, values)
        await asyncio.sleep(seconds if table == "event_ids" else 0)

    ClickHouseConnection.insert = lingering  # type: ignore[method-assign]


def main() -> None:
    """One process until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["api", "consume"])
    for name in ("clickhouse", "postgres", "kafka", "topic"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--lazy", action="store_true")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--linger", type=float, default=0)
    parser.add_argument("--session-ms", type=int)
    parser.add_argument("--stop-at", choices=STEPS)
    parser.add_argument("--block", type=int, default=2)
    parser.add_argument("--reached", type=Path)
    options = parser.parse_args()
    if options.stop_at:
        Pause(options.stop_at, options.reached, options.block).install()
    if options.linger:
        linger_between_steps(options.linger)
    asyncio.run(serve(options) if options.what == "api" else carry(options))


def api_child(log: Path, *arguments: str) -> tuple[Child, str]:
    """An API process and its URL."""
    port = free_port()
    return Child(log, "api", "--port", str(port), *arguments), f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    main()
