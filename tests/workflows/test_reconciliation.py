"""What a crash or a hand has left undone is found, set going where that is safe, and gone with the next pass."""

import uuid
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlmodel import col, select
from temporalio.client import WorkflowHandle

from activities.findings import (
    INVOICE_WITHOUT_DOCUMENT,
    OVERDUE_ACTION,
    SUBSCRIPTION_WITHOUT_WORKFLOW,
    WORKFLOW_WITHOUT_SUBSCRIPTION,
)
from activities.outbox import START_SUBSCRIPTION
from activities.subscriptions import subscription_state
from models.ids import new_id
from models.tables import FindingRow, SubscriptionRow
from tests.world import World, until
from workflows.checks import Pass
from workflows.contracts import BILLING, SubscriptionInput, subscription_workflow_id

DAY = timedelta(days=1)


async def passed(world: World, name: str) -> Pass:
    """One pass, made now."""
    made: Pass = await world.temporal.execute_workflow(
        name, id=f"pass/{uuid.uuid4()}", task_queue=BILLING, result_type=Pass
    )
    return made


async def passed_as(world: World, name: str) -> str:
    """One pass, made now; the id of its workflow."""
    workflow_id = f"pass/{uuid.uuid4()}"
    await world.temporal.execute_workflow(name, id=workflow_id, task_queue=BILLING, result_type=Pass)
    return workflow_id


async def open_findings(world: World) -> dict[tuple[str, str], FindingRow]:
    """The tenant's open findings, by name and what they are about."""
    query = select(FindingRow).where(FindingRow.tenant_id == world.scope.tenant_id, col(FindingRow.closed_at).is_(None))
    async with world.database.system_transaction() as session:
        return {(row.name, row.reference): row for row in (await session.exec(query)).all()}


async def change(world: World, statement: str, **values: object) -> None:
    """A hand in the database."""
    async with world.database.system_transaction() as session:
        await session.execute(text(statement), values)


async def running(world: World) -> SubscriptionRow:
    """A monthly subscription in real time whose workflow sleeps, and whose first invoice is paid."""
    await world.sell()
    subscription = await world.subscribe(await world.customer("acme"), datetime.now(UTC))
    await world.until_started(subscription.id)
    (invoice,) = await world.invoices(subscription.id)

    async def invoiced() -> bool:
        return await world.is_running(world.invoice_workflow(invoice.id)) or bool(
            (await world.invoice(invoice.id)).paid_at
        )

    await until(invoiced)
    await world.closed(invoice.id)
    return subscription


async def terminated(world: World, workflow: WorkflowHandle[object, object]) -> None:
    """Ended by a hand."""
    await workflow.terminate("a test")

    async def gone() -> bool:
        return not await world.is_running(workflow)

    await until(gone)


async def test_a_subscription_without_a_workflow_gets_one(world: World) -> None:
    """As when a database is restored beside a Temporal that is new: the outbox row was carried on, into nothing."""
    await world.stop_workers()
    await world.sell()
    subscription = await world.subscribe(await world.customer("acme"), datetime.now(UTC))
    await change(
        world,
        "UPDATE outbox SET relayed_at = now() WHERE kind = :kind AND reference = :id",
        kind=START_SUBSCRIPTION,
        id=subscription.id,
    )
    await change(
        world, "UPDATE subscriptions SET created_at = created_at - interval '1 hour' WHERE id = :id", id=subscription.id
    )
    await world.start_workers()
    assert not await world.is_running(world.subscription_workflow(subscription.id))

    made = await passed(world, "ReconciliationWorkflow")

    key = (SUBSCRIPTION_WITHOUT_WORKFLOW, subscription.id)
    finding = (await open_findings(world))[key]
    assert finding.repaired
    assert finding.sentence == "It had no workflow, which has been started. Nothing to do; it catches up by itself."
    assert made.repaired[SUBSCRIPTION_WITHOUT_WORKFLOW] >= 1
    assert await world.is_running(world.subscription_workflow(subscription.id))

    await passed(world, "ReconciliationWorkflow")
    assert key not in await open_findings(world)


async def test_a_subscription_whose_workflow_was_terminated_stays_a_finding_until_it_is_reset(world: World) -> None:
    subscription = await running(world)
    await change(
        world, "UPDATE subscriptions SET created_at = created_at - interval '3 days' WHERE id = :id", id=subscription.id
    )
    await terminated(world, world.subscription_workflow(subscription.id))
    key = (SUBSCRIPTION_WITHOUT_WORKFLOW, subscription.id)

    await passed(world, "ReconciliationWorkflow")
    assert key not in await open_findings(world)  # neither new nor due: the nightly pass looks at everything

    await passed(world, "AuditWorkflow")
    await passed(world, "ReconciliationWorkflow")  # what is open is looked at again
    finding = (await open_findings(world))[key]
    assert (finding.repaired, finding.times_seen) == (False, 2)
    assert "ended (TERMINATED) although it has something to do" in finding.sentence
    assert "Reset that workflow in the Temporal UI" in finding.sentence


async def test_what_is_overdue_is_told_once_and_then_a_persons_to_look_at(world: World) -> None:
    """The boundary was moved behind the workflow's back, which sleeps until the old one: telling it mends that."""
    subscription = await running(world)
    await change(
        world,
        "UPDATE subscriptions SET current_period_start = current_period_start - interval '40 days',"
        " current_period_end = current_period_end - interval '40 days',"
        " next_action_at = next_action_at - interval '40 days' WHERE id = :id",
        id=subscription.id,
    )
    key = (OVERDUE_ACTION, subscription.id)

    await passed(world, "ReconciliationWorkflow")
    finding = (await open_findings(world))[key]
    assert finding.repaired
    assert "Its workflow has been told to look at it again." in finding.sentence

    async def acted() -> bool:
        row = await world.subscription(subscription.id)
        return row.next_action_at is not None and row.next_action_at > datetime.now(UTC)

    await until(acted)
    await passed(world, "ReconciliationWorkflow")
    assert key not in await open_findings(world)


async def test_what_does_not_act_when_told_is_said_so(world: World) -> None:
    subscription = await running(world)
    await terminated(world, world.subscription_workflow(subscription.id))
    await change(
        world,
        "UPDATE subscriptions SET next_action_at = now() - interval '1 hour', created_at = now() - interval '1 hour'"
        " WHERE id = :id",
        id=subscription.id,
    )

    await passed(world, "ReconciliationWorkflow")
    await passed(world, "ReconciliationWorkflow")

    found = await open_findings(world)
    assert "Telling its workflow did not help" in found[OVERDUE_ACTION, subscription.id].sentence
    assert "TERMINATED" in found[SUBSCRIPTION_WITHOUT_WORKFLOW, subscription.id].sentence


async def test_an_invoice_without_its_document_gets_one(world: World) -> None:
    subscription = await running(world)
    (invoice,) = await world.invoices(subscription.id)
    before = (await world.invoice(invoice.id)).document_sha256
    assert before
    await change(
        world,
        "UPDATE invoices SET document_key = NULL, document_sha256 = NULL, updated_at = updated_at - interval '1 hour'"
        " WHERE id = :id",
        id=invoice.id,
    )

    await passed(world, "ReconciliationWorkflow")

    key = (INVOICE_WITHOUT_DOCUMENT, invoice.id)
    assert (await open_findings(world))[key].repaired
    assert (await world.invoice(invoice.id)).document_sha256 == before
    await passed(world, "ReconciliationWorkflow")
    assert key not in await open_findings(world)


async def test_a_workflow_without_a_subscription_is_reported_and_left_alone(world: World) -> None:
    subscription = await running(world)
    state = subscription_state(await world.subscription(subscription.id))
    nobodys = new_id("subs")
    workflow = await world.temporal.start_workflow(
        "SubscriptionWorkflow",
        SubscriptionInput(state),
        id=subscription_workflow_id(world.scope, nobodys),
        task_queue=BILLING,
    )

    async def found() -> bool:  # visibility follows a moment later
        await passed(world, "AuditWorkflow")
        return (WORKFLOW_WITHOUT_SUBSCRIPTION, workflow.id) in await open_findings(world)

    await until(found)
    finding = (await open_findings(world))[WORKFLOW_WITHOUT_SUBSCRIPTION, workflow.id]
    assert "Postgres has no subscription of that id" in finding.sentence
    assert not finding.repaired
    assert await world.is_running(workflow)

    await terminated(world, workflow)

    async def closed() -> bool:
        await passed(world, "AuditWorkflow")
        return (WORKFLOW_WITHOUT_SUBSCRIPTION, workflow.id) not in await open_findings(world)

    await until(closed)


async def test_where_nothing_is_amiss_nothing_is_found(world: World) -> None:
    await running(world)

    await passed(world, "ReconciliationWorkflow")
    await passed(world, "AuditWorkflow")

    assert await open_findings(world) == {}
