"""Each saved view finds, on the real server, what it promises, and nothing of those who are well."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowExecutionStatus,
    WorkflowHandle,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from starter.saved_views import VIEWS
from tests.adapters.servers import Answer, Receiver
from tests.workflows.test_reconciliation import change, running, terminated
from tests.workflows.test_webhook_order import endpoint, tell
from tests.world import World, until
from workflows.search_attributes import NEXT_ACTION_AT, TENANT_ID

HOUR = timedelta(hours=1)


async def found(world: World, view: str, now: datetime | None = None) -> set[str]:
    """The ids that the view shows at `now`."""
    query = VIEWS[view].at(now or datetime.now(UTC))
    return {each.id async for each in world.temporal.list_workflows(query)}


async def until_shown(world: World, view: str, workflow_id: str, now: datetime | None = None) -> None:
    """Visibility follows a moment later."""

    async def shown() -> bool:
        return workflow_id in await found(world, view, now)

    await until(shown)


async def test_what_waits_for_a_person(world: World) -> None:
    well = await running(world)
    await world.stop_workers()
    bad = await world.subscribe(await world.customer("bad"), datetime.now(UTC) - timedelta(days=40))
    await change(world, "UPDATE subscriptions SET timezone = 'Mars/Olympus' WHERE id = :id", id=bad.id)
    await world.start_workers()

    await until_shown(world, "waits-for-a-person", world.subscription_workflow(bad.id).id)

    assert world.subscription_workflow(well.id).id not in await found(world, "waits-for-a-person")


async def test_which_invoices_failed_to_collect_today(world: World) -> None:
    well = await running(world)
    declined = await world.subscribe(await world.customer("poor"), datetime.now(UTC), card="pm_card_declines_soft")
    (invoice,) = await world.invoices(declined.id)
    workflow_id = world.invoice_workflow(invoice.id).id

    await until_shown(world, "failed-to-collect-today", workflow_id)
    await until_shown(world, "past-due", workflow_id)

    (paid,) = await world.invoices(well.id)
    for view in ("failed-to-collect-today", "past-due"):
        assert world.invoice_workflow(paid.id).id not in await found(world, view)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert workflow_id not in await found(world, "failed-to-collect-today", tomorrow)
    assert workflow_id in await found(world, "past-due", tomorrow)


async def test_which_subscriptions_are_stuck(world: World) -> None:
    """Nobody serves their queue while their boundary passes; those of test clocks are never late."""
    well = await running(world)
    stuck = world.subscription_workflow(f"subs_{uuid.uuid4().hex}").id
    attributes = TypedSearchAttributes(
        [
            SearchAttributePair(TENANT_ID, world.scope.tenant_id),
            SearchAttributePair(NEXT_ACTION_AT, datetime.now(UTC) - 2 * HOUR),
        ]
    )
    handle = await world.temporal.start_workflow(
        "SubscriptionWorkflow", id=stuck, task_queue=f"nobody-{stuck}", search_attributes=attributes
    )
    other = await world.another_tenant()
    await other.sell()
    await other.clock(datetime(2025, 1, 1, tzinfo=UTC))
    on_clock = await other.subscribe(await other.customer("acme"), datetime(2025, 1, 1, tzinfo=UTC))
    await other.until_started(on_clock.id)

    await until_shown(world, "stuck-subscriptions", stuck)

    shown = await found(world, "stuck-subscriptions")
    assert world.subscription_workflow(well.id).id not in shown
    assert other.subscription_workflow(on_clock.id).id not in shown
    await handle.terminate()


@workflow.defn(name="SubscriptionWorkflow")
class Broken:
    """A build with a defect."""

    @workflow.run
    async def run(self) -> None:
        """Fails its task, again and again."""
        raise AttributeError("a defect")


async def test_what_a_defect_has_parked(world: World) -> None:
    queue = f"broken-{uuid.uuid4()}"
    async with Worker(
        world.temporal, task_queue=queue, workflows=[Broken], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        handle: WorkflowHandle[Any, Any] = await world.temporal.start_workflow(
            "SubscriptionWorkflow", id=f"subscription/broken/{uuid.uuid4()}", task_queue=queue
        )
        await until_shown(world, "parked-by-a-defect", handle.id)
    await handle.terminate()


async def test_what_was_ended_by_hand(world: World) -> None:
    subscription = await running(world)
    workflow_id = world.subscription_workflow(subscription.id).id
    assert workflow_id not in await found(world, "ended-by-hand")

    await terminated(world, world.subscription_workflow(subscription.id))

    await until_shown(world, "ended-by-hand", workflow_id)


@pytest.mark.parametrize("ordered", [False, True])
async def test_which_webhooks_do_not_arrive(world: World, ordered: bool) -> None:
    receiver = Receiver()
    receiver.answers = [Answer(status=500)] * 20
    row = await endpoint(world, receiver, ordered=ordered)
    (event,) = await tell(world, "invoice.update.finalized")
    await receiver.next()

    workflow_id = f"webhook-queue/{row.id}" if ordered else f"webhook/{event}/{row.id}"
    await until_shown(world, "webhooks-not-arriving", workflow_id, datetime.now(UTC) + 2 * HOUR)

    assert workflow_id not in await found(world, "webhooks-not-arriving")
    await world.temporal.get_workflow_handle(workflow_id).terminate()
    receiver.close()


async def test_which_passes_have_failed(world: World) -> None:
    name = f"pass-{uuid.uuid4()}"
    schedule = await world.temporal.create_schedule(
        name,
        Schedule(ScheduleActionStartWorkflow("AuditWorkflow", id=name, task_queue=f"nobody-{name}"), ScheduleSpec()),
        trigger_immediately=True,
    )
    started = ""

    async def terminated_it() -> bool:
        nonlocal started
        async for each in world.temporal.list_workflows(f'TemporalScheduledById = "{name}"'):
            started = each.id
            if each.status is WorkflowExecutionStatus.RUNNING:
                await world.temporal.get_workflow_handle(each.id).terminate()
            return True
        return False

    await until(terminated_it)

    await until_shown(world, "failed-passes", started)
    await schedule.delete()


def test_the_page_for_operators_has_every_view_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")

    for name, view in VIEWS.items():
        assert f"`{name}`" in page
        assert view.question in page
        assert view.query.replace("{today}", "TODAY").replace("{an_hour_ago}", "AN HOUR AGO") in page
