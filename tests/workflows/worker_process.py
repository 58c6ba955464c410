"""Worker processes of their own over a world's servers: started, asked for their health, ended."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from temporalio.client import Client

from starter.deployments import DeploymentRefused, make_current
from tests.adapters.servers import ROOT, free_port
from tests.world import PATIENCE_SECONDS, World, until

DRAIN_SECONDS = 10


class WorkerProcess:
    """`python worker.py`, or another `program`, over a world's servers."""

    def __init__(
        self, world: World, address: str, log: Path, program: Sequence[str] = ("worker.py",), **more: str
    ) -> None:
        self.health = f"http://127.0.0.1:{(port := free_port())}"
        self.log = log
        settings = world.settings
        secrets = {
            "DURABILL_POSTGRES_DSN": settings.require("postgres_dsn"),
            "DURABILL_CLICKHOUSE_DSN": settings.require("clickhouse_dsn"),
            "DURABILL_DOCUMENTS_SECRET": settings.require("documents_secret"),
        }
        plain = {
            "DURABILL_DOCUMENTS_DIR": str(settings.documents_dir),
            "DURABILL_SANDBOX_PROVIDER_URL": world.provider.url,
            "DURABILL_WEBHOOKS_ALLOW_PRIVATE": "on",
            "DURABILL_WORKER_HEALTH_PORT": str(port),
            "DURABILL_WORKER_DRAIN_SECONDS": str(DRAIN_SECONDS),
            "DURABILL_LOG_FORMAT": "json",
            "TEMPORAL_ADDRESS": address,
        }
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *program],
                cwd=ROOT,
                env=os.environ | secrets | plain | more,
                stdout=output,
                stderr=output,
            )

    async def ready(self) -> None:
        """It takes work."""

        async def says_so() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return await self.get("/readyz") == 200

        await until(says_so)

    async def get(self, path: str) -> int | None:
        """The status of one of its three routes; None while nobody listens."""
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"{self.health}{path}")).status_code
            except httpx.TransportError:
                return None

    async def ended(self) -> int:
        """Its exit code."""
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), PATIENCE_SECONDS)


@contextmanager
def working(
    world: World, address: str, log: Path, program: Sequence[str] = ("worker.py",), **more: str
) -> Iterator[WorkerProcess]:
    """A worker process, ended with the block at the latest."""
    process = WorkerProcess(world, address, log, program, **more)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


async def durabill(address: str, *arguments: str, **more: str) -> Said:
    """`durabill ...` as a process, against that Temporal server."""
    code = "import sys; from starter import cli; cli.leave(cli.run())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, cwd=ROOT, env=os.environ | {"TEMPORAL_ADDRESS": address} | more,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return Said(process.returncode or 0, out.decode(), err.decode())


async def promoted(client: Client, deployment: str, build: str) -> None:
    """The build is current, once the server has heard of its workers."""

    async def is_current() -> bool:
        try:
            await make_current(client, deployment, build)
        except DeploymentRefused:
            return False  # its workers have only begun to poll
        return True

    await until(is_current)
