"""The port of `activities.gate` on a Temporal client: workflows are started under their business ids, moved in time."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.billing_run_states import Kind
from activities.gate import RunningWorkflow, Standing
from activities.states import ClockState, DisputeState, InvoiceState, RefundState, SubscriptionState
from models.scope import Scope
from workflows import search_attributes
from workflows.contracts import (
    BILLING,
    WEBHOOKS,
    AdvanceClock,
    ClockInput,
    DeliveryInput,
    DisputeInput,
    InvoiceInput,
    RefundInput,
    SubscriptionInput,
    WebhookQueueInput,
    clock_workflow_id,
    delivery_workflow_id,
    dispute_workflow_id,
    invoice_workflow_id,
    refund_workflow_id,
    subscription_workflow_id,
    webhook_queue_workflow_id,
)
from workflows.messaging import WorkflowGone, send_command
from workflows.standing import workflow_standing

STEP_LIFETIME = timedelta(minutes=10)
"""How long a test clock waits for one customer: long enough for retries of every step, but not for ever."""


ENTITIES_AT_WORK = "WorkflowType IN ('SubscriptionWorkflow', 'InvoiceWorkflow') AND ExecutionStatus = 'Running'"
LISTED_AT_ONCE = 500


class TemporalGate:
    """Starts are idempotent: a workflow that runs, or has run, under its id counts as started."""

    def __init__(self, client: Client, *, wake_spread_seconds: int = 0) -> None:
        self._client = client
        self._wake_spread_seconds = wake_spread_seconds

    @property
    def wake_spread(self) -> timedelta:
        """By how much a wake-up may be later than its boundary, on purpose."""
        return timedelta(seconds=self._wake_spread_seconds)

    async def standing_of_subscription(self, scope: Scope, subscription_id: str) -> Standing | None:
        """How `subscription/{tenant}/{id}` stands; None when Temporal knows of none."""
        workflow_id = subscription_workflow_id(scope, subscription_id)
        try:
            found = await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None
        running = found.status is WorkflowExecutionStatus.RUNNING
        return Standing(workflow_id, None if running or found.status is None else found.status.name)

    async def running_workflows(self) -> AsyncIterator[Sequence[RunningWorkflow]]:
        """`subscription/{tenant}/{id}` and `invoice/{tenant}/{id}` that run, a page at a time."""
        page: list[RunningWorkflow] = []
        async for found in self._client.list_workflows(ENTITIES_AT_WORK, page_size=LISTED_AT_ONCE):
            _, tenant_id, row_id = (*found.id.split("/", 2), "", "")[:3]
            page.append(RunningWorkflow(found.id, tenant_id, row_id))
            if len(page) == LISTED_AT_ONCE:
                yield page
                page = []
        yield page

    async def start_subscription(self, state: SubscriptionState, clock: datetime | None) -> None:
        """Starts `subscription/{tenant}/{id}`; one that has ended already needs none."""
        if state.next_action_at is None:
            return
        await self._start(
            "SubscriptionWorkflow",
            SubscriptionInput(state, clock, 0 if clock else self._wake_spread_seconds),
            subscription_workflow_id(state.scope, state.subscription_id),
            attributes=search_attributes.of_subscription(state),
            summary=f"{state.subscription_id} of {state.customer_id}",
        )

    async def start_invoice(self, state: InvoiceState, clock: datetime | None) -> None:
        """Starts `invoice/{tenant}/{id}`; one that is closed already needs none."""
        if state.is_closed:
            return
        await self._start(
            "InvoiceWorkflow",
            InvoiceInput(state, clock),
            invoice_workflow_id(state.scope, state.invoice_id),
            attributes=search_attributes.of_invoice(state),
            summary=f"{state.invoice_id} of {state.customer_id}",
        )

    async def start_test_clock(self, state: ClockState) -> None:
        """Starts `test-clock/{id}`."""
        await self._start("TestClockWorkflow", ClockInput(state), clock_workflow_id(state.clock_id))

    async def start_delivery(
        self, scope: Scope, delivery_id: str, event_id: str, endpoint_id: str, event_type: str, url: str
    ) -> None:
        """Starts `webhook/{event}/{endpoint}`; after it has ended it may be started again, as a replay."""
        await self._start(
            "WebhookDeliveryWorkflow",
            DeliveryInput(scope, delivery_id, event_type, url),
            delivery_workflow_id(event_id, endpoint_id),
            queue=WEBHOOKS,
            reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            summary=event_type,
        )

    async def start_webhook_queue(self, scope: Scope, endpoint_id: str, url: str) -> None:
        """Starts `webhook-queue/{endpoint}`, or has the one that runs look once more."""
        await self._start(
            "WebhookQueueWorkflow",
            WebhookQueueInput(scope, endpoint_id, url),
            webhook_queue_workflow_id(endpoint_id),
            reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            summary=url,
            signal="more",
        )

    async def tell_invoice(self, scope: Scope, invoice_id: str) -> bool:
        """Signals `invoice/{tenant}/{id}`; False when it has ended, or has not been started yet."""
        return await self._tell(invoice_workflow_id(scope, invoice_id))

    async def tell_subscription(self, scope: Scope, subscription_id: str) -> None:
        """Signals `subscription/{tenant}/{id}`."""
        await self._tell(subscription_workflow_id(scope, subscription_id))

    async def _tell(self, workflow_id: str, signal: str = "facts_changed") -> bool:
        handle: WorkflowHandle[Any, Any] = self._client.get_workflow_handle(workflow_id)
        try:
            await handle.signal(signal)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def tell_refund(self, state: RefundState) -> None:
        """Starts `refund/{tenant}/{id}` or signals the one that runs; one that has ended needs no telling."""
        await self._start(
            "RefundWorkflow",
            RefundInput(state),
            refund_workflow_id(state.scope, state.refund_id),
            attributes=search_attributes.of_refund(state),
            summary=f"{state.amount} {state.currency} of {state.payment_id}",
            signal="facts_changed",
        )

    async def tell_dispute(self, state: DisputeState) -> None:
        """Starts `dispute/{tenant}/{id}` or signals the one that runs; one that has ended needs no telling."""
        await self._start(
            "DisputeWorkflow",
            DisputeInput(state),
            dispute_workflow_id(state.scope, state.dispute_id),
            attributes=search_attributes.of_dispute(state),
            summary=f"{state.amount} {state.currency} of {state.payment_id}",
            signal="facts_changed",
        )

    async def advance_subscription(self, state: SubscriptionState, to: datetime) -> None:
        """Starts the workflow should it be missing, and returns once it has caught up with `to`."""
        workflow_id = subscription_workflow_id(state.scope, state.subscription_id)
        await self.start_subscription(state, to)
        await self._advance(workflow_id, to, SubscriptionState)

    async def advance_invoice(self, state: InvoiceState, to: datetime) -> None:
        """Starts the workflow should it be missing, and returns once it has caught up with `to`."""
        workflow_id = invoice_workflow_id(state.scope, state.invoice_id)
        await self.start_invoice(state, to)
        await self._advance(workflow_id, to, InvoiceState)

    async def wake_subscription(self, state: SubscriptionState, *, restart: bool) -> None:
        """Postgres says that something is due: safe whatever has become of the workflow, as its first step reads it."""
        workflow_id = subscription_workflow_id(state.scope, state.subscription_id)
        await self._start(
            "SubscriptionWorkflow",
            SubscriptionInput(state, None, self._wake_spread_seconds),
            workflow_id,
            attributes=search_attributes.of_subscription(state),
            reuse=_reuse(restart),
            summary=f"{state.subscription_id} of {state.customer_id}",
            signal="facts_changed",
        )
        await self._tell(workflow_id, "retry")  # the hour's wait of a step that failed ends, too

    async def wake_invoice(self, state: InvoiceState, *, restart: bool) -> None:
        """The same for an invoice; the news end the wait of a step that failed."""
        await self._start(
            "InvoiceWorkflow",
            InvoiceInput(state, None),
            invoice_workflow_id(state.scope, state.invoice_id),
            attributes=search_attributes.of_invoice(state),
            reuse=_reuse(restart),
            summary=f"{state.invoice_id} of {state.customer_id}",
            signal="facts_changed",
        )

    async def standing(self, kind: Kind, tenant_id: str, entity_id: str) -> str:
        """What Temporal knows of the workflow, in words."""
        return await workflow_standing(self._client, f"{kind}/{tenant_id}/{entity_id}")

    async def _advance(self, workflow_id: str, to: datetime, answer: type[Any]) -> None:
        command = AdvanceClock(f"clock-{to.isoformat()}-{uuid4()}", to, to)
        try:
            await send_command(self._client, workflow_id, "advance_clock", command, answer, lifetime=STEP_LIFETIME)
        except WorkflowGone:
            return  # it has ended in the meantime, so it has nothing left to do

    async def _start(
        self,
        workflow: str,
        argument: Any,
        workflow_id: str,
        *,
        queue: str = BILLING,
        attributes: TypedSearchAttributes | None = None,
        reuse: WorkflowIDReusePolicy = WorkflowIDReusePolicy.REJECT_DUPLICATE,
        summary: str | None = None,
        signal: str | None = None,
    ) -> None:
        try:
            await self._client.start_workflow(
                workflow,
                argument,
                id=workflow_id,
                task_queue=queue,
                id_reuse_policy=reuse,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                search_attributes=attributes or TypedSearchAttributes([]),
                static_summary=summary,
                start_signal=signal,
            )
        except WorkflowAlreadyStartedError:
            return  # it ran to its end before; the business id is used once


def _reuse(restart: bool) -> WorkflowIDReusePolicy:
    return WorkflowIDReusePolicy.ALLOW_DUPLICATE if restart else WorkflowIDReusePolicy.REJECT_DUPLICATE
