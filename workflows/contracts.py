"""What others need to know to start or steer a workflow: queues, ids, inputs, updates and signals. No I/O."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from activities.billing_run_states import BillingRunReport, Kind
from activities.states import ClockState, DisputeState, InvoiceState, RefundState, SubscriptionState
from models.scope import Scope

BILLING: Final = "billing"
DOCUMENTS: Final = "documents"
WEBHOOKS: Final = "webhooks"
INGEST: Final = "ingest"
RUNS: Final = "runs"
"""Billing runs: short workflows that stay on the build they began on, and their scans of Postgres."""
PAYMENT_PROVIDERS: Final = ("sandbox", "stripe", "razorpay")

COMMAND_LIFETIME: Final = timedelta(seconds=12)
"""How long a caller waits for a command, and after which a worker that comes back refuses it."""

RETRY: Final = "retry"
"""Type of the refusal that means: nothing is wrong, send the same command again."""
EXPIRED: Final = "expired"
"""Type of the refusal that means: nobody waits for this command any more."""


def payments_queue(provider: str) -> str:
    """The task queue of one payment provider, so that a slow or limited one delays only itself."""
    return f"payments-{provider}"


QUEUES: Final = (
    BILLING,
    DOCUMENTS,
    WEBHOOKS,
    INGEST,
    RUNS,
    *(payments_queue(provider) for provider in PAYMENT_PROVIDERS),
)


def subscription_workflow_id(scope: Scope, subscription_id: str) -> str:
    """`subscription/{tenant}/{id}`."""
    return f"subscription/{scope.tenant_id}/{subscription_id}"


def invoice_workflow_id(scope: Scope, invoice_id: str) -> str:
    """`invoice/{tenant}/{id}`."""
    return f"invoice/{scope.tenant_id}/{invoice_id}"


def delivery_workflow_id(event_id: str, endpoint_id: str) -> str:
    """`webhook/{event}/{endpoint}`."""
    return f"webhook/{event_id}/{endpoint_id}"


def webhook_queue_workflow_id(endpoint_id: str) -> str:
    """`webhook-queue/{endpoint}`."""
    return f"webhook-queue/{endpoint_id}"


def refund_workflow_id(scope: Scope, refund_id: str) -> str:
    """`refund/{tenant}/{id}`."""
    return f"refund/{scope.tenant_id}/{refund_id}"


def dispute_workflow_id(scope: Scope, dispute_id: str) -> str:
    """`dispute/{tenant}/{id}`."""
    return f"dispute/{scope.tenant_id}/{dispute_id}"


def ingestion_workflow_id(lane: str) -> str:
    """`ingestion/{topic}`."""
    return f"ingestion/{lane}"


def clock_workflow_id(clock_id: str) -> str:
    """`test-clock/{id}`."""
    return f"test-clock/{clock_id}"


def billing_run_workflow_id(
    as_of: datetime, tenant_id: str | None = None, customer_id: str | None = None, *, dry_run: bool = False
) -> str:
    """`billing-run/{tenant or all}/{as_of}`, then `/{customer}` for one; `billing-preview/...` for a dry run."""
    name = "billing-preview" if dry_run else "billing-run"
    of_customer = "" if customer_id is None else f"/{customer_id}"
    return f"{name}/{tenant_id or 'all'}/{as_of.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}{of_customer}"


@dataclass(frozen=True, slots=True)
class BillingRunInput:
    """Starts or continues a billing run over what is due at `as_of`, or (None) has been due for `overdue_seconds`."""

    as_of: datetime | None = None
    tenant_id: str | None = None
    customer_id: str | None = None
    dry_run: bool = False
    per_second: int = 20
    """So many are woken in a second at most."""
    patience_seconds: int = 60
    """How long a run waits when nothing gets done any more, before it reports what is left."""
    overdue_seconds: int = 3600
    progress: "BillingRunProgress | None" = None


@dataclass(frozen=True, slots=True)
class BillingRunProgress:
    """Where a run is when it continues as new: the kind of work, and the id behind which it goes on."""

    report: BillingRunReport
    known_by: datetime
    kind: Kind
    after: str


@dataclass(frozen=True, slots=True)
class SubscriptionInput:
    """Starts or continues a subscription. `clock` is the time of the test clock that it lives by, if any."""

    state: SubscriptionState
    clock: datetime | None = None
    wake_spread_seconds: int = 0
    """Wake-ups are spread over so many seconds by a hash of the id, so that the first of the month is no stampede."""


@dataclass(frozen=True, slots=True)
class InvoiceInput:
    """Starts or continues an invoice's way to being paid."""

    state: InvoiceState
    clock: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClockInput:
    """Starts or continues a test clock."""

    state: ClockState


@dataclass(frozen=True, slots=True)
class RefundInput:
    """Starts a refund's way to the provider."""

    state: RefundState


@dataclass(frozen=True, slots=True)
class DisputeInput:
    """Starts a dispute's way to its end."""

    state: DisputeState


@dataclass(frozen=True, slots=True)
class IngestionInput:
    """Keeps `consumers` sinks of one lane alive. The numbers so far are carried from run to run."""

    lane: str
    consumers: int = 1
    stored: int = 0
    duplicates: int = 0
    dead_lettered: int = 0


@dataclass(frozen=True, slots=True)
class DeliveryInput:
    """One event on its way to one endpoint; names the delivery row."""

    scope: Scope
    delivery_id: str
    event_type: str
    endpoint_url: str


@dataclass(frozen=True, slots=True)
class WebhookQueueInput:
    """The events of one endpoint, in order."""

    scope: Scope
    endpoint_id: str
    endpoint_url: str


@dataclass(frozen=True, slots=True)
class Command:
    """What every command carries: a name for the intent, and the real instant after which it must not act."""

    command_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Cancel(Command):
    """Cancel a subscription: `immediate`, `end_of_period`, or `scheduled_date` with `cancel_at`."""

    cancellation_type: str
    cancel_at: datetime | None = None
    proration_behavior: str | None = None
    final_usage: str = "bill"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChangePaymentMethod(Command):
    """Collect a subscription's invoices from now on by `payment_method`, the token of `provider`."""

    provider: str
    payment_method: str


@dataclass(frozen=True, slots=True)
class AdvanceClock(Command):
    """The test clock has moved: do everything that is due at or before `to`, then answer."""

    to: datetime


@dataclass(frozen=True, slots=True)
class InvoiceCommand(Command):
    """Do to an invoice what the update's name says."""

    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CreditNoteCommand(Command):
    """Do to a credit note of the invoice what the update's name says."""

    credit_note_id: str
