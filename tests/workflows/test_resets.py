"""Resets in the Temporal UI's way: money state is Postgres', so nothing happens twice and the workflow heals."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType, ResetReapplyType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowContinuedAsNewError

from models.tables import SubscriptionRow
from tests.workflows.test_catching_up import closes_in, runs_of, subscribed_since
from tests.world import PATIENCE_SECONDS, World, until, utc


async def reset(
    world: World, workflow_id: str, run_id: str, *, workflow_task: int = 0, without: Sequence[int] = ()
) -> str:
    """What the UI's "Reset" does: to the end of the run's n-th workflow task. Returns the new run's id."""
    history = await world.temporal.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
    tasks = [e.event_id for e in history.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    answer = await world.temporal.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=world.temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            reason="an operator's test",
            workflow_task_finish_event_id=tasks[workflow_task],
            request_id=str(uuid.uuid4()),
            reset_reapply_type=ResetReapplyType.RESET_REAPPLY_TYPE_ALL_ELIGIBLE,
            reset_reapply_exclude_types=without,  # type: ignore[arg-type]  # its stubs know enums by a private type
        )
    )
    return answer.run_id


async def money(world: World, subscription_id: str) -> dict[str, tuple[int, str, list[str], int]]:
    """For every invoice: its version, its status, the charges in the company's books, what was told of it."""
    found = {}
    for invoice in await world.invoices(subscription_id):
        charges = [charge["attempt_id"] for charge in await world.charges(invoice.id)]
        found[invoice.id] = (invoice.version, invoice.payment_status, charges, len(await world.events(invoice.id)))
    return found


async def billed(world: World, days: int) -> SubscriptionRow:
    """A daily subscription whose missed boundaries have been closed and paid."""
    subscription = await subscribed_since(world, days)

    async def caught_up() -> bool:
        return (await world.subscription(subscription.id)).current_period_end > datetime.now(UTC)

    await until(caught_up)
    for invoice in await world.invoices(subscription.id):
        await world.closed(invoice.id)
    return subscription


async def test_a_subscription_reset_to_an_earlier_run_goes_on_from_what_postgres_knows(world: World) -> None:
    subscription = await billed(world, 14)
    before = await money(world, subscription.id)
    first = (await runs_of(world, subscription.id))[0]
    assert closes_in(first) == 12
    workflow = world.subscription_workflow(subscription.id)

    new_run = await reset(world, workflow.id, first.run_id)
    with pytest.raises(WorkflowContinuedAsNewError):
        await world.temporal.get_workflow_handle(workflow.id, run_id=new_run).result(follow_runs=False)

    row = await world.subscription(subscription.id)
    ended = await world.commands.cancel_subscription(world.scope, subscription.id, "end_of_period")
    assert (ended.current_period_end, ended.cancel_at) == (row.current_period_end, row.current_period_end)
    assert await world.is_running(workflow)
    assert await money(world, subscription.id) == before


@pytest.mark.parametrize("task", [0, 1, -1])
async def test_a_paid_invoice_that_is_reset_is_not_charged_again(world: World, task: int) -> None:
    subscription = await billed(world, 1)
    before = await money(world, subscription.id)
    invoice_id = next(iter(before))
    workflow = world.invoice_workflow(invoice_id)
    run_id = (await workflow.describe()).run_id
    assert run_id

    new_run = await reset(world, workflow.id, run_id, workflow_task=task)
    async with asyncio.timeout(PATIENCE_SECONDS):
        state = await world.temporal.get_workflow_handle(workflow.id, run_id=new_run).result()

    assert state["payment_status"] == "SUCCEEDED"
    assert await money(world, subscription.id) == before


async def test_an_invoice_on_a_test_clock_that_is_reset_heals_when_told_to_look(world: World) -> None:
    """Its clock stands where it stood at the start, so nothing is due; the signal makes it read Postgres."""
    await world.sell()
    await world.clock(utc("2025-01-31"))
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, utc("2025-01-31"))
    await world.use(customer, utc("2025-02-03T10:00"), "7")
    await world.advance(utc("2025-02-28T03:00"))
    invoice = (await world.invoices(subscription.id))[-1]
    before = await money(world, subscription.id)
    workflow = world.invoice_workflow(invoice.id)
    run_id = (await workflow.describe()).run_id
    assert run_id

    await reset(world, workflow.id, run_id, without=[ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE])
    await workflow.signal("retry")

    await world.closed(invoice.id)
    assert await money(world, subscription.id) == before
