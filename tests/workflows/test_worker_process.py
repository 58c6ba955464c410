"""The worker as a process of its own: its queues, its end, its health, its place in a Worker Deployment."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlmodel import select
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from models.tables import WebhookDeliveryRow
from tests.adapters.servers import ROOT, Answer, free_port
from tests.parts import Parts
from tests.world import PATIENCE_SECONDS, Servers, World, open_world, until
from workflows.contracts import BILLING, WEBHOOKS

DRAIN_SECONDS = 10


class WorkerProcess:
    """`python worker.py` over a world's servers."""

    def __init__(self, world: World, address: str, log: Path, **more: str) -> None:
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
                [sys.executable, "worker.py"],
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
def working(world: World, address: str, log: Path, **more: str) -> Iterator[WorkerProcess]:
    """A worker process, ended with the block at the latest."""
    process = WorkerProcess(world, address, log, **more)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()


@pytest.fixture
def address(parts: Parts) -> str:
    """A Temporal server of this test alone: the folder's workers serve the queues of the other one."""
    return parts.start("temporal").running.url


@pytest.fixture
async def apart(address: str, new_postgres_dsn: str, new_clickhouse_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    """A durabill without workers."""
    servers = Servers(new_postgres_dsn, new_clickhouse_dsn, address, tmp_path)
    async with open_world(servers) as opened:
        yield opened


async def test_it_serves_chosen_queues_and_finishes_what_runs_when_told_to_stop(
    apart: World, address: str, tmp_path: Path
) -> None:
    apart.receiver.answers = [Answer(silent=True)]
    with working(apart, address, tmp_path / "worker.log", DURABILL_WORKER_QUEUES=f"{BILLING},{WEBHOOKS}") as one:
        await one.ready()
        assert [await one.get(path) for path in ("/healthz", "/metrics")] == [200, 200]
        await apart.endpoint()
        await apart.sell()
        customer = await apart.customer("acme")
        subscription = await apart.subscribe(customer, datetime.now(UTC))
        (invoice,) = await apart.invoices(subscription.id)

        async def is_finalized() -> bool:
            return (await apart.invoice(invoice.id)).invoice_status == "FINALIZED"

        await until(is_finalized)
        await apart.receiver.next()  # a delivery is under way, and the receiver keeps silent
        assert await tries_that_failed(apart) == []

        one.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for_line, one.log, "worker.draining")
        assert await one.get("/readyz") in (503, None)
        apart.receiver.released.set()

        assert await one.ended() == 0
    assert "worker.stopped" in one.log.read_text()
    (error,) = await tries_that_failed(apart)  # the delivery came to its end, and it was written down
    assert "disconnected" in error
    after = await apart.invoice(invoice.id)
    assert (after.payment_status, after.document_key) == ("PENDING", None)  # nobody serves their queues


async def test_a_queue_that_does_not_exist_is_refused_with_a_sentence(
    apart: World, address: str, tmp_path: Path
) -> None:
    with working(apart, address, tmp_path / "worker.log", DURABILL_WORKER_QUEUES="biling") as one:
        assert await one.ended() == 2

    assert "'biling' is not a task queue; there are: billing, documents, webhooks" in one.log.read_text()


async def test_a_deployment_runs_workflows_once_its_build_is_current(
    apart: World, address: str, tmp_path: Path
) -> None:
    names = {"TEMPORAL_DEPLOYMENT_NAME": "durabill-test", "TEMPORAL_WORKER_BUILD_ID": "build-7"}
    with working(apart, address, tmp_path / "worker.log", **names) as one:
        await one.ready()
        await make_current(address, "durabill-test", "build-7")
        await apart.sell()
        customer = await apart.customer("acme")
        subscription = await apart.subscribe(customer, datetime.now(UTC))
        (invoice,) = await apart.invoices(subscription.id)
        await apart.until_started(subscription.id)

        async def is_paid() -> bool:
            return (await apart.invoice(invoice.id)).payment_status == "SUCCEEDED"

        await until(is_paid)
        described = await apart.subscription_workflow(subscription.id).describe()

    version = described.raw_info.versioning_info.deployment_version
    assert (version.deployment_name, version.build_id) == ("durabill-test", "build-7")


async def tries_that_failed(world: World) -> list[str]:
    """What went wrong with deliveries so far."""
    async with world.database.transaction(world.scope) as session:
        rows = (await session.exec(select(WebhookDeliveryRow))).all()
    return [row.last_error for row in rows if row.last_error]


async def make_current(address: str, deployment: str, build: str) -> None:
    """What an operator does by `temporal worker deployment set-current-version`."""
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace, deployment_name=deployment, build_id=build, ignore_missing_task_queues=True
    )

    async def is_current() -> bool:
        try:
            await client.workflow_service.set_worker_deployment_current_version(request)
        except RPCError:
            return False  # the server has not heard of the build yet
        return True

    await until(is_current)


def wait_for_line(log: Path, word: str) -> None:
    """Until the log has a line with that word."""
    tail = subprocess.Popen(["tail", "-n", "+1", "-F", str(log)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert tail.stdout
    try:
        next(line for line in tail.stdout if word in line.decode())
    finally:
        tail.kill()
        tail.wait()
        tail.stdout.close()
