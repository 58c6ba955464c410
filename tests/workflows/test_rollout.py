"""One build of the workers takes over from another in mid-month: nothing breaks, nothing is doubled.

Two real worker processes in one Worker Deployment; the new one has a changed SubscriptionWorkflow.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlmodel import col, select
from temporalio.client import WorkflowHandle

from activities.webhook_endpoints import NewWebhookEndpoint, create_webhook_endpoint
from models.tables import (
    CustomerRow,
    OutboxRow,
    SubscriptionRow,
    WebhookDeliveryRow,
    WebhookEndpointRow,
    WebhookEventRow,
)
from starter.deployments import DeploymentRefused, draining, list_builds, make_current, ramp
from tests.adapters.servers import Answer, Receiver
from tests.parts import Parts
from tests.workflows.worker_process import WorkerProcess, promoted, working
from tests.world import PATIENCE_SECONDS, Servers, World, open_world, until, utc
from workflows.contracts import delivery_workflow_id

NAME, OLD, NEW = "durabill", "build-1", "build-2"
DRAINS_QUICKLY = (
    'matching.wv.VersionDrainageStatusVisibilityGracePeriod="1s"',
    'matching.wv.VersionDrainageStatusRefreshInterval="1s"',
)
"""How long the server waits before it looks whether a build is still needed: minutes by default."""
NEXT_BUILD = ("-m", "tests.workflows.next_build")
FEBRUARY, MARCH, APRIL = utc("2025-02-01"), utc("2025-03-01"), utc("2025-04-01")


@dataclass
class Month:
    """Subscribers of a plan of 10 a month and 0.02 a call, and what each must have been billed."""

    subscriptions: dict[str, SubscriptionRow]
    customers: dict[str, CustomerRow]


@pytest.fixture
async def apart(parts: Parts, new_postgres_dsn: str, new_clickhouse_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    """A durabill without workers, over a Temporal server of its own."""
    address = parts.start("temporal", DRAINS_QUICKLY).running.url
    async with open_world(Servers(new_postgres_dsn, new_clickhouse_dsn, address, tmp_path)) as opened:
        yield opened


@pytest.fixture
def slow() -> Iterator[Receiver]:
    """An endpoint that keeps silent until it is released."""
    receiver = Receiver()
    receiver.answers = [Answer(silent=True)] * 30
    yield receiver
    receiver.close()


async def subscribed(world: World, slow: Receiver) -> Month:
    """One who pays, one whose card works again later, one who will cancel, since the first of January."""
    await world.endpoint()
    async with world.database.transaction(world.scope) as session:
        await create_webhook_endpoint(
            session, world.scope, NewWebhookEndpoint(slow.url, enabled_events=("subscription.created",))
        )
    await world.sell()
    await world.clock(utc("2025-01-01"))
    cards = {"pays": "pm_card_succeeds", "declined": "pm_script_soft_ok", "cancels": "pm_card_succeeds"}
    month = Month({}, {})
    for name, card in cards.items():
        month.customers[name] = await world.customer(name)
        month.subscriptions[name] = await world.subscribe(month.customers[name], utc("2025-01-01"), card=card)
        await world.until_started(month.subscriptions[name].id)
    return month


async def build_of(workflow: WorkflowHandle[object, object]) -> str:
    """The build on which the workflow's last task ran."""
    described = await workflow.describe()
    return described.raw_info.versioning_info.deployment_version.build_id


async def status_of(world: World, build: str) -> str:
    """`current`, `draining`, ..."""
    return next(each.status for each in await list_builds(world.temporal, NAME) if each.build_id == build)


async def held_up(world: World, slow: Receiver) -> WorkflowHandle[object, object]:
    """The delivery whose receiver keeps silent; others may be on their way at this moment."""
    async with world.database.transaction(world.scope) as session:
        silent = (await session.exec(select(WebhookEndpointRow).where(WebhookEndpointRow.url == slow.url))).one()
        of_silent = select(WebhookDeliveryRow).where(WebhookDeliveryRow.endpoint_id == silent.id)
        rows = (await session.exec(of_silent)).all()
    for row in rows:
        workflow = world.temporal.get_workflow_handle(delivery_workflow_id(row.event_id, row.endpoint_id))
        if row.delivery_status == "pending" and await world.is_running(workflow):
            return workflow
    raise AssertionError("every delivery has ended")


async def roll_on(world: World, month: Month, slow: Receiver, old: WorkerProcess, new: WorkerProcess) -> None:
    """Ramp, a day and a command under both, everything to the new one; the old one ends when it is drained."""
    await new.ready()

    async def half() -> bool:
        try:
            await ramp(world.temporal, NAME, NEW, 50)
        except DeploymentRefused:  # its workers have only begun to poll
            return False
        return True

    await until(half)
    assert {each.build_id: each.status for each in await list_builds(world.temporal, NAME)} == {
        OLD: "current",
        NEW: "ramping",
    }
    await world.advance(utc("2025-01-20"))  # the declined one is tried again meanwhile
    await world.commands.cancel_subscription(world.scope, month.subscriptions["cancels"].id, "end_of_period")

    await make_current(world.temporal, NAME, NEW)
    january = world.subscription_workflow(month.subscriptions["pays"].id)
    january = world.temporal.get_workflow_handle(january.id, run_id=(await january.describe()).run_id)
    await world.advance(FEBRUARY + timedelta(hours=3))
    silent = await held_up(world, slow)
    assert (await build_of(silent), await status_of(world, OLD)) == (OLD, "draining")

    # January's run took a step on the old build and ended on the new one, without the step that it did not know.
    assert await build_of(january) == NEW
    assert (await steps_of(january))["subscriptions.read"] == 0

    slow.released.set()
    slow.answers = []
    async with asyncio.timeout(PATIENCE_SECONDS * 3):
        seen = [each async for each in draining(world.temporal, NAME, OLD)]
    assert (seen[-1].status, seen[-1].pinned) == ("drained", 0)
    assert await build_of(silent) == OLD  # a delivery ends on the build on which it began
    old.process.send_signal(signal.SIGTERM)
    assert await old.ended() == 0


async def test_a_month_that_begins_on_one_build_ends_on_the_next(apart: World, slow: Receiver, tmp_path: Path) -> None:
    world = apart
    address = world.temporal.service_client.config.target_host
    names = {"TEMPORAL_DEPLOYMENT_NAME": NAME, "DURABILL_SANDBOX": "off"}
    with (
        working(world, address, tmp_path / "old.log", TEMPORAL_WORKER_BUILD_ID=OLD, **names) as old,
        working(world, address, tmp_path / "new.log", NEXT_BUILD, TEMPORAL_WORKER_BUILD_ID=NEW, **names) as new,
    ):
        await old.ready()
        await promoted(world.temporal, NAME, OLD)
        month = await subscribed(world, slow)
        for customer in month.customers.values():
            await world.use(customer, utc("2025-01-10"), "100")
        await world.advance(utc("2025-01-02"))
        pays = month.subscriptions["pays"].id
        await world.commands.change_payment_method(world.scope, pays, "pm_card_succeeds", "sandbox", ["sandbox"])

        await roll_on(world, month, slow, old, new)
        assert (await steps_of(world.subscription_workflow(pays)))[
            "subscriptions.read"
        ] >= 1  # February's run began on the new build

        for customer in month.customers.values():
            await world.use(customer, utc("2025-02-10"), "200")
        await world.advance(APRIL + timedelta(hours=3))
        await everybody_is_billed_once(world, month)
        await every_webhook_has_arrived(world)
        await nobody_is_left_behind(world, month)


async def everybody_is_billed_once(world: World, month: Month) -> None:
    """By hand: 10 at each beginning; 100 calls are 2 on 1 February, 200 calls are 4 on 1 March."""
    expected = {
        "pays": [Decimal(10), Decimal(12), Decimal(14), Decimal(10)],
        "declined": [Decimal(10), Decimal(12), Decimal(14), Decimal(10)],
        "cancels": [Decimal(10), Decimal(2)],
    }
    for name, totals in expected.items():
        invoices = await world.invoices(month.subscriptions[name].id)
        assert [invoice.total for invoice in invoices] == totals, name
        for invoice in invoices:
            assert (await world.closed(invoice.id)).payment_status == "SUCCEEDED"
            charges = Counter(charge["status"] for charge in await world.charges(invoice.id))
            assert charges["succeeded"] == 1, (name, charges)


async def every_webhook_has_arrived(world: World) -> None:
    """Each event exactly once, since no worker was killed."""

    async def delivered() -> bool:
        async with world.database.transaction(world.scope) as session:
            waiting = (await session.exec(select(OutboxRow).where(col(OutboxRow.relayed_at).is_(None)))).all()
            rows = (await session.exec(select(WebhookDeliveryRow))).all()
        return not waiting and all(row.delivery_status == "delivered" for row in rows)

    await until(delivered)
    async with world.database.transaction(world.scope) as session:
        events = (await session.exec(select(col(WebhookEventRow.id)))).all()
    queue = world.receiver.received
    arrived = [queue.get_nowait().headers["webhook-id"] for _ in range(queue.qsize())]
    assert Counter(each for each in arrived if each in set(events)) == Counter(events)


async def steps_of(workflow: WorkflowHandle[object, object]) -> Counter[str]:
    """The activities of the workflow's latest run, by name."""
    events = (await workflow.fetch_history()).events
    return Counter(e.activity_task_scheduled_event_attributes.activity_type.name for e in events) - Counter([""])


async def nobody_is_left_behind(world: World, month: Month) -> None:
    """All that runs is on the new build, and none of it has been parked by a defect."""
    for name in ("pays", "declined"):
        assert await build_of(world.subscription_workflow(month.subscriptions[name].id)) == NEW
    expected = {
        world.subscription_workflow(month.subscriptions[name].id).id
        for name in ("pays", "declined", "cancels")  # who has cancelled is looked back on for late usage
    }

    async def shown() -> bool:
        """The server's lists follow what happens: a run that has just been continued may be missing in them."""
        running = 'ExecutionStatus = "Running" AND WorkflowType = "SubscriptionWorkflow"'
        here = {each.id async for each in world.temporal.list_workflows(running)}
        parked = [each async for each in world.temporal.list_workflows("TemporalReportedProblems IS NOT NULL")]
        return here == expected and not parked

    await until(shown)
