"""How activities reach workflows: a port, because workflows are a layer above them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from activities.billing_run_states import Kind
from activities.states import ClockState, DisputeState, InvoiceState, RefundState, SubscriptionState
from models.scope import Scope


class WorkflowGate(Protocol):
    """Starts workflows under their business ids (already started counts as done) and moves them along a test clock."""

    async def start_subscription(self, state: SubscriptionState, clock: datetime | None) -> None:
        """Start the subscription's workflow."""

    async def start_invoice(self, state: InvoiceState, clock: datetime | None) -> None:
        """Start the invoice's workflow."""

    async def start_test_clock(self, state: ClockState) -> None:
        """Start the test clock's workflow."""

    async def start_delivery(
        self, scope: Scope, delivery_id: str, event_id: str, endpoint_id: str, event_type: str, url: str
    ) -> None:
        """Start (or, for a replay, start again) the delivery of one event to one endpoint."""

    async def start_webhook_queue(self, scope: Scope, endpoint_id: str, url: str) -> None:
        """Have what is pending for an endpoint that wants order delivered one after the other."""

    async def tell_subscription(self, scope: Scope, subscription_id: str) -> None:
        """Have the subscription look at Postgres; one whose workflow has ended needs no telling."""

    async def tell_invoice(self, scope: Scope, invoice_id: str) -> bool:
        """Have the invoice look at what Postgres knows of its payment; False when no workflow runs for it."""

    async def tell_refund(self, state: RefundState) -> None:
        """Start the refund's workflow, or have the one that runs look at Postgres."""

    async def tell_dispute(self, state: DisputeState) -> None:
        """Start the dispute's workflow, or have the one that runs look at Postgres."""

    async def advance_subscription(self, state: SubscriptionState, to: datetime) -> None:
        """Returns once the subscription has done everything due at or before `to`."""

    async def advance_invoice(self, state: InvoiceState, to: datetime) -> None:
        """Returns once the invoice has done everything due at or before `to`."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What Temporal knows of a workflow. `ended` names how its last run ended (`TERMINATED`, ...); null: it runs."""

    workflow_id: str
    ended: str | None = None


@dataclass(frozen=True, slots=True)
class RunningWorkflow:
    """A workflow that runs, and the row that it says it is of."""

    workflow_id: str
    tenant_id: str
    row_id: str


class WorkflowWatch(Protocol):
    """What reconciliation asks of Temporal, to compare it with Postgres."""

    @property
    def wake_spread(self) -> timedelta:
        """By how much a wake-up may be later than its boundary, on purpose."""

    async def standing_of_subscription(self, scope: Scope, subscription_id: str) -> Standing | None:
        """How the subscription's workflow stands; None when there is none, or none any more."""

    def running_workflows(self) -> AsyncIterator[Sequence[RunningWorkflow]]:
        """The workflows of subscriptions and invoices that run, page by page; what has just started may be missing."""


class WatchingGate(WorkflowGate, WorkflowWatch, Protocol):
    """Both: reconciliation compares, and sets going what stands still."""


class Waker(Protocol):
    """What a billing run does to the workflows of what is due."""

    async def wake_subscription(self, state: SubscriptionState, *, restart: bool) -> None:
        """Start the subscription's workflow, or have the one that runs do what is due.

        One that has ended, as by somebody's hand, is started again only with `restart`.
        """

    async def wake_invoice(self, state: InvoiceState, *, restart: bool) -> None:
        """The same for an invoice."""

    async def standing(self, kind: Kind, tenant_id: str, entity_id: str) -> str:
        """In words: why the workflow has not done yet what is due."""
