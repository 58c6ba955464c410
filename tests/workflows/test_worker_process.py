"""The worker as a process of its own: its queues, its end, its health, its place in a Worker Deployment."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmodel import select

from models.tables import WebhookDeliveryRow
from starter.saved_views import VIEWS
from tests.adapters.servers import Answer
from tests.parts import Parts
from tests.workflows.worker_process import durabill, promoted, working
from tests.world import Servers, World, open_world, until
from workflows.contracts import BILLING, WEBHOOKS


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
        await promoted(apart.temporal, "durabill-test", "build-7")
        await apart.sell()
        customer = await apart.customer("acme")
        subscription = await apart.subscribe(customer, datetime.now(UTC))
        (invoice,) = await apart.invoices(subscription.id)
        await apart.until_started(subscription.id)

        async def is_paid() -> bool:
            return (await apart.invoice(invoice.id)).payment_status == "SUCCEEDED"

        await until(is_paid)
        described = await apart.subscription_workflow(subscription.id).describe()

        shown = await durabill(address, "deployment", "show", "--json", TEMPORAL_DEPLOYMENT_NAME="durabill-test")
        waited = await durabill(address, "deployment", "wait", "build-7", "--name", "durabill-test")
        ramped = await durabill(address, "deployment", "ramp", "build-8", "--percent", "5", "--name", "durabill-test")
        unknown = await durabill(address, "deployment", "show", "--name", "nobody")
        views = await durabill(address, "views", "--json")

    version = described.raw_info.versioning_info.deployment_version
    assert (version.deployment_name, version.build_id) == ("durabill-test", "build-7")
    (build,) = json.loads(shown.out)
    assert (build["build_id"], build["status"], build["pinned"]) == ("build-7", "current", 0)
    assert (waited.code, "build-7 is current: promote another build first" in waited.err) == (1, True)
    assert (ramped.code, "build-8" in ramped.err) == (1, True)
    assert (unknown.code, "no worker has joined the deployment 'nobody'" in unknown.err) == (1, True)
    assert {each["view"]: each["found"] for each in json.loads(views.out)} == dict.fromkeys(VIEWS, 0)


async def tries_that_failed(world: World) -> list[str]:
    """What went wrong with deliveries so far."""
    async with world.database.transaction(world.scope) as session:
        rows = (await session.exec(select(WebhookDeliveryRow))).all()
    return [row.last_error for row in rows if row.last_error]


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
