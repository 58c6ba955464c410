"""Records the histories that the replay tests play again: `python -m tests.replay.record [STORY...]`, all by default.

Record anew only with a change that needs no history of before, and say so in the commit: a workflow that runs in
production has the old history. Everything that names a machine is left out.
"""

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlmodel import select
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle

from activities.credit_notes import NewCreditNote, NoteLine, create_credit_note
from activities.ingestion.supervision import USUAL, SinkReport
from activities.outbox import emit
from activities.refunds import cancel_refund
from activities.webhook_endpoints import NewWebhookEndpoint, create_webhook_endpoint
from billing.credit_notes import CreditNoteReason
from billing.periods import BillingPeriod
from models.tables import CreditNoteRow, InvoiceRow, SubscriptionRow, WebhookDeliveryRow
from starter.credit_note_commands import CreditNoteCommands
from tests.adapters.servers import Answer
from tests.parts import Parts
from tests.workflows.test_billing_runs import lost, started
from tests.workflows.test_catching_up import runs_of
from tests.workflows.test_refunds import disputed, given_back_elsewhere, refund, until_status, workflow_of
from tests.world import Servers, World, open_world, until, utc
from workflows.contracts import (
    BILLING,
    INGEST,
    IngestionInput,
    clock_workflow_id,
    delivery_workflow_id,
    webhook_queue_workflow_id,
)

HISTORIES = Path(__file__).parent / "histories"
OF_A_MACHINE = ("identity", "stackTrace", "binaryChecksum")
UNDER_WAY = (
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
)
DAY = timedelta(days=1)


async def keep(name: str, workflow: WorkflowHandle[Any, Any]) -> None:
    """Writes the workflow's history to `histories/NAME.json`, once it is at rest: its id beside its events."""

    async def at_rest() -> bool:
        return (await workflow.fetch_history()).events[-1].event_type not in UNDER_WAY

    await until(at_rest)
    history = json.loads((await workflow.fetch_history()).to_json())
    path = HISTORIES / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"workflow_id": workflow.id, "history": _cleaned(history)}, indent=1) + "\n")


async def keep_runs(name: str, world: World, subscription_id: str) -> None:
    """One file for each of the subscription's runs."""
    for number, run in enumerate(await runs_of(world, subscription_id), 1):
        await keep(f"{name}_{number}", world.temporal.get_workflow_handle(run.workflow_id, run_id=run.run_id))


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cleaned(each) for key, each in value.items() if key not in OF_A_MACHINE}
    return [_cleaned(each) for each in value] if isinstance(value, list) else value


async def record(world: World, names: Sequence[str]) -> None:
    """Every story once, or those that are named."""
    stories = (
        in_real_time, under_a_test_clock, looking_back, commanded, with_an_action, with_a_problem, delivered, released,
        expired, counted, given_back, taken_back, supervised, reconciled, audited, run_over, delivered_in_order,
        aggregated, credited,
    )  # fmt: skip
    for story in stories:
        if not names or story.__name__ in names:
            await story(await world.another_tenant())


async def subscribed(world: World, start: datetime, *, card: str = "pm_card_succeeds") -> SubscriptionRow:
    """A daily subscription on the world's clock, if it has one."""
    await world.sell(BillingPeriod.DAILY)
    customer = await world.customer("acme")
    now = start if world.clock_id else datetime.now(UTC)
    subscription = await world.subscribe(customer, start, card=card, now=now)
    await world.until_started(subscription.id)
    return subscription


async def in_real_time(world: World) -> None:
    """Missed boundaries caught up, a period closed by its timer, its invoice paid after the grace."""
    await world.configure(finalization_delay_seconds=1, late_usage="ignore")  # it ends when it is cancelled
    end = datetime.now(UTC) + timedelta(seconds=4)
    subscription = await subscribed(world, end - 15 * DAY)

    async def closed() -> bool:
        return len(await world.invoices(subscription.id)) == 16

    await until(closed)
    last = (await world.invoices(subscription.id))[-1]
    await world.closed(last.id)
    await keep("invoice/paid_after_grace", world.invoice_workflow(last.id))
    ended = await world.commands.cancel_subscription(world.scope, subscription.id, "immediate")
    assert ended.cancelled_at
    await world.subscription_workflow(subscription.id).result()
    await keep_runs("subscription/real_time", world, subscription.id)


async def under_a_test_clock(world: World) -> None:
    """A decline and its retry, moved by a test clock."""
    await world.clock(utc("2025-01-01"))
    subscription = await subscribed(world, utc("2025-01-01"), card="pm_script_soft_ok")
    await world.advance(utc("2025-01-03"))
    opening = (await world.invoices(subscription.id))[0]
    await world.closed(opening.id)
    await keep("invoice/recovered_under_a_test_clock", world.invoice_workflow(opening.id))
    await keep_runs("subscription/test_clock", world, subscription.id)
    await keep("test_clock/advanced", world.temporal.get_workflow_handle(clock_workflow_id(world.clock_id)))


async def looking_back(world: World) -> None:
    """Cancelled at once, with calls that come late: an adjustment invoice when the look-back ends."""
    await world.clock(utc("2025-01-01"))
    subscription = await subscribed(world, utc("2025-01-01"))
    customer = await world.customer_named("acme")
    await world.advance(utc("2025-01-02T12:00"))
    await world.commands.cancel_subscription(world.scope, subscription.id, "immediate")
    await world.advance(utc("2025-01-03"))
    await world.use(customer, utc("2025-01-02T01:00"), "50", received=utc("2025-01-03"))
    await world.advance(utc("2025-04-01"))
    await world.subscription_workflow(subscription.id).result()
    await world.closed((await world.invoices(subscription.id))[-1].id)
    await keep_runs("subscription/looking_back", world, subscription.id)


async def commanded(world: World) -> None:
    """Drafts finalized and voided by command."""
    await world.clock(utc("2025-01-01"))
    subscription = await subscribed(world, utc("2025-01-01"))
    await world.advance(utc("2025-01-03T01:00"))
    first, second = (await world.invoices(subscription.id))[1:]
    await world.advance(utc("2025-01-03T01:30"))
    await world.commands.void_invoice(world.scope, second.id, "recorded")
    await world.closed(second.id)
    await keep("invoice/voided", world.invoice_workflow(second.id))
    assert first.payment_status == "SUCCEEDED"
    await world.advance(utc("2025-01-04T01:00"))
    third = (await world.invoices(subscription.id))[-1]
    await world.commands.finalize_invoice(world.scope, third.id)
    await world.closed(third.id)
    await keep("invoice/finalized_by_command", world.invoice_workflow(third.id))


async def credited(world: World) -> None:
    """A credit note that is voided again while the invoice waits for its next attempt, and one that settles it."""
    await world.clock(utc("2025-01-01"))
    subscription = await subscribed(world, utc("2025-01-01"), card="pm_card_declines_soft")
    await world.advance(utc("2025-01-01T00:01"))
    (invoice,) = await world.invoices(subscription.id)
    first, last = [await note_of(world, invoice, amount) for amount in ("4", "10")]
    notes = CreditNoteCommands(world.commands, world.database)
    await notes.finalize(world.scope, first.id)
    await notes.void(world.scope, first.id)
    await notes.finalize(world.scope, last.id)
    await world.closed(invoice.id)
    await keep("invoice/credited", world.invoice_workflow(invoice.id))


async def note_of(world: World, invoice: InvoiceRow, amount: str) -> CreditNoteRow:
    """A draft of a credit note."""
    new = NewCreditNote(invoice.id, CreditNoteReason.DUPLICATE, (NoteLine(Decimal(amount)),))
    async with world.database.transaction(world.scope) as session:
        return await create_credit_note(session, world.scope, new, datetime.now(UTC))


async def with_an_action(world: World) -> None:
    """A payment that waits for the customer; the news come by signal."""
    await world.clock(utc("2025-01-01"))
    subscription = await subscribed(world, utc("2025-01-01"), card="pm_card_needs_action")
    await world.advance(utc("2025-01-01T00:01"))
    (invoice,) = await world.invoices(subscription.id)
    await world.commands.tell_facts_changed(world.scope, invoice.id)
    await world.commands.void_invoice(world.scope, invoice.id)
    await world.closed(invoice.id)
    await keep("invoice/needs_action", world.invoice_workflow(invoice.id))


async def taken_back(world: World) -> None:
    """A payment that waits for the customer while the invoice is voided: the company is told to forget it."""
    await world.clock(utc("2025-01-01"))
    subscription = await subscribed(world, utc("2025-01-01"), card="pm_card_needs_action")
    await world.advance(utc("2025-01-01T00:01"))
    (invoice,) = await world.invoices(subscription.id)
    await world.commands.void_invoice(world.scope, invoice.id)
    await world.closed(invoice.id)
    await keep("invoice/taken_back", world.invoice_workflow(invoice.id))


async def with_a_problem(world: World) -> None:
    """A close that fails, needs attention, stops a test clock, and is mended."""
    await world.clock(utc("2025-01-01"))
    subscription = await subscribed(world, utc("2025-01-01"))
    statement = text("UPDATE subscriptions SET timezone = :zone WHERE id = :id")

    async def set_zone(zone: str) -> None:
        async with world.database.transaction(world.scope) as session:
            await session.execute(statement, {"zone": zone, "id": subscription.id})

    async def stopped() -> bool:
        return (await world.clock_row()).clock_status == "internal_failure"

    await set_zone("Mars/Olympus")
    await world.commands.advance_clock(world.scope, world.clock_id, utc("2025-01-02"))
    await until(stopped)
    await set_zone("UTC")
    await world.advance(utc("2025-01-02"))
    await keep_runs("subscription/mended", world, subscription.id)
    await keep("test_clock/stopped_and_sent_on", world.temporal.get_workflow_handle(clock_workflow_id(world.clock_id)))


async def delivered(world: World) -> None:
    """A webhook that arrives."""
    await world.endpoint()
    await world.clock(utc("2025-01-01"))
    await subscribed(world, utc("2025-01-01"))

    async def has_arrived() -> bool:
        async with world.database.transaction(world.scope) as session:
            rows = (await session.exec(select(WebhookDeliveryRow))).all()
        return any(row.delivery_status == "delivered" for row in rows)

    await until(has_arrived)
    async with world.database.transaction(world.scope) as session:
        rows = (await session.exec(select(WebhookDeliveryRow))).all()
    row = next(row for row in rows if row.delivery_status == "delivered")
    workflow = world.temporal.get_workflow_handle(delivery_workflow_id(row.event_id, row.endpoint_id))
    await workflow.result()
    await keep("webhook_delivery/delivered", workflow)


async def delivered_in_order(world: World) -> None:
    """Two webhooks for an endpoint that wants order; the first is refused once."""
    async with world.database.transaction(world.scope) as session:
        new = NewWebhookEndpoint(world.receiver.url, ordered=True)
        endpoint = await create_webhook_endpoint(session, world.scope, new)
    world.receiver.answers = [Answer(status=503, headers={"retry-after": "1"})]
    async with world.database.transaction(world.scope) as session:
        for event_type in ("invoice.update.finalized", "invoice.update.payment"):
            await emit(session, world.scope, event_type, "inv_1", {}, datetime.now(UTC))
    workflow = world.temporal.get_workflow_handle(webhook_queue_workflow_id(endpoint.id))

    async def begun() -> bool:
        return await world.is_running(workflow)

    await until(begun)
    await workflow.result()
    await keep("webhook_queue/delivered", workflow)


async def released(world: World) -> None:
    """The Schedule's pass over deferred revenue."""
    workflow = await world.temporal.start_workflow(
        "RevenueReleaseWorkflow", id=f"release/{world.scope.tenant_id}", task_queue=BILLING
    )
    await workflow.result()
    await keep("revenue_release/passed", workflow)


async def expired(world: World) -> None:
    """The Schedule's pass over credits."""
    workflow = await world.temporal.start_workflow(
        "WalletWorkflow", id=f"wallets/{world.scope.tenant_id}", task_queue=BILLING
    )
    await workflow.result()
    await keep("wallets/passed", workflow)


async def supervised(world: World) -> None:
    """Two consumers that have no broker and are tried again until nobody wants them; one report of an earlier one."""
    workflow = await world.temporal.start_workflow(
        "IngestionWorkflow", IngestionInput(USUAL, 2), id=f"ingestion/{world.scope.tenant_id}", task_queue=INGEST
    )
    await workflow.signal("report", SinkReport(1, stored=5, lag_ms=250, per_second=2))
    await asyncio.sleep(1)
    await workflow.cancel()
    with suppress(WorkflowFailureError):
        await workflow.result()
    await keep("ingestion/cancelled", workflow)


async def reconciled(world: World) -> None:
    """The Schedule's pass over what is due or new, with a document to draw."""
    await world.clock(utc("2025-01-01"))
    subscription = await subscribed(world, utc("2025-01-01"))
    await world.advance(utc("2025-01-01T00:01"))
    (invoice,) = await world.invoices(subscription.id)
    lost = text(
        "UPDATE invoices SET document_key = NULL, document_sha256 = NULL, updated_at = updated_at - interval '1 hour'"
        " WHERE id = :id"
    )
    async with world.database.transaction(world.scope) as session:
        await session.execute(lost, {"id": invoice.id})
    workflow = await world.temporal.start_workflow(
        "ReconciliationWorkflow", id=f"reconciliation/{world.scope.tenant_id}", task_queue=BILLING
    )
    await workflow.result()
    await keep("reconciliation/with_charges", workflow)


async def audited(world: World) -> None:
    """The Schedule's pass over everything."""
    workflow = await world.temporal.start_workflow(
        "AuditWorkflow", id=f"audit/{world.scope.tenant_id}", task_queue=BILLING
    )
    await workflow.result()
    await keep("audit/with_charges_and_snapshots", workflow)


async def run_over(world: World) -> None:
    """A preview of a lost subscription's boundary, and the run that has it crossed."""
    await lost(world, 1)
    for name, dry_run in (("previewed", True), ("done", False)):
        workflow = await started(world, dry_run=dry_run)
        await workflow.result()
        await keep(f"billing_run/{name}", workflow)


async def given_back(world: World) -> None:
    """A refund that the company makes, one that it refuses until somebody gives it up, and a dispute that is won."""
    await world.clock(utc("2025-01-01"))
    subscription = await subscribed(world, utc("2025-01-01"))
    await world.advance(utc("2025-01-01T00:01"))
    (invoice,) = await world.invoices(subscription.id)
    made = await refund(world, invoice, "4")
    await until_status(world, made, "SUCCEEDED")
    await keep("refund/made", workflow_of(world, made))
    await given_back_elsewhere(world, invoice, "3")
    refused = await refund(world, invoice, "6")
    await until_status(world, refused, "FAILED")
    async with world.database.transaction(world.scope) as session:
        await cancel_refund(session, refused.id, datetime.now(UTC))
    await workflow_of(world, refused).result()
    await keep("refund/given_up", workflow_of(world, refused))
    await keep("dispute/won", await disputed(world, invoice, "won"))


async def counted(world: World) -> None:
    """The Schedule's pass over accepted events."""
    workflow = await world.temporal.start_workflow(
        "UsageReconciliationWorkflow", id=f"counts/{world.scope.tenant_id}", task_queue=BILLING
    )
    await workflow.result()
    await keep("usage_reconciliation/passed", workflow)


async def aggregated(world: World) -> None:
    """The Schedule's pass over usage that can be sealed."""
    workflow = await world.temporal.start_workflow(
        "UsageAggregationWorkflow", id=f"sealing/{world.scope.tenant_id}", task_queue=BILLING
    )
    await workflow.result()
    await keep("usage_aggregation/passed", workflow)


async def main(names: Sequence[str]) -> None:
    """Starts engines of its own in a temporary folder, plays, and ends them."""
    if not names:
        shutil.rmtree(HISTORIES, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(Path(folder))
        try:
            postgres, clickhouse, temporal = (parts.start(name) for name in ("postgres", "clickhouse", "temporal"))
            servers = Servers(
                postgres.running.url, clickhouse.running.url, temporal.running.url, Path(folder) / "durabill"
            )
            async with open_world(servers) as world:
                await world.start_workers()
                await record(world, names)
        finally:
            parts.close()
    print(f"{len(list(HISTORIES.rglob('*.json')))} histories in {HISTORIES.relative_to(Path.cwd())}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
