"""Where a subscription, an invoice or a test clock stands: what activities return to the workflows that drive them.

Pure values without I/O. Postgres is the authority; a workflow only keeps the last of these that it was given, so a
reset or restarted run corrects itself with its next step.
"""

from dataclasses import dataclass
from datetime import datetime

from billing.invoice_states import InvoiceStatus, PaymentStatus, is_closed
from models.scope import Scope


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """A subscription between two steps. Instants are business time in UTC."""

    scope: Scope
    subscription_id: str
    customer_id: str
    plan_id: str
    status: str
    period_start: datetime
    period_end: datetime
    next_action_at: datetime | None
    """The next boundary, or the end of the look-back on late usage once it has ended; null when nothing is left."""
    test_clock_id: str | None = None
    last_invoice_id: str | None = None
    seen_commands: tuple[str, ...] = ()
    """Ids of the latest commands that took effect: a command that is sent again acts once."""

    @property
    def is_over(self) -> bool:
        """No period runs: what is left to do is to look back on late usage."""
        return self.status in {"cancelled", "paused"}


@dataclass(frozen=True, slots=True)
class InvoiceState:
    """An invoice between two steps. Amounts are decimal text in major units; instants are business time in UTC."""

    scope: Scope
    invoice_id: str
    customer_id: str
    subscription_id: str | None
    invoice_status: str
    payment_status: str
    currency: str
    amount_remaining: str
    next_action_at: datetime | None
    """The end of the grace, or the next payment attempt; null when nothing happens by itself."""
    number: str | None = None
    attempts: int = 0
    provider: str | None = None
    """The payment provider that collects; null when nothing is to be collected by one."""
    by_wallet: bool = False
    """Without a provider: whether a POST_PAID wallet may pay."""
    uncollectible: bool = False
    waiting_for: str = ""
    """In words, for the operator: what has to happen next."""
    test_clock_id: str | None = None
    seen_commands: tuple[str, ...] = ()
    to_withdraw: str | None = None
    """The provider where an attempt waits for the customer that must not be paid any more; null when there is none."""
    as_of: datetime | None = None
    """The business time at which it was read, where that may be later than its workflow was told."""

    @property
    def is_draft(self) -> bool:
        """Still in its grace: usage may arrive and nothing is owed."""
        return self.invoice_status == "DRAFT"

    @property
    def is_closed(self) -> bool:
        """Nothing will ever happen to it by itself: paid, voided or skipped."""
        return is_closed(InvoiceStatus(self.invoice_status), PaymentStatus(self.payment_status))


@dataclass(frozen=True, slots=True)
class ClockState:
    """A test clock between two steps."""

    scope: Scope
    clock_id: str
    frozen_time: datetime
    target_time: datetime
    status: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class RefundState:
    """A refund between two steps. `amount` is decimal text in major units."""

    scope: Scope
    refund_id: str
    payment_id: str
    invoice_id: str
    customer_id: str
    provider: str
    amount: str
    currency: str
    status: str
    attempt: int = 1
    failure: str | None = None

    @property
    def is_settled(self) -> bool:
        """The money has gone back, or somebody has given it up."""
        return self.status in {"SUCCEEDED", "CANCELLED"}


@dataclass(frozen=True, slots=True)
class DisputeState:
    """A dispute between two reports. `amount` is decimal text in major units."""

    scope: Scope
    dispute_id: str
    customer_id: str
    invoice_id: str
    payment_id: str
    provider: str
    gateway_dispute_id: str
    amount: str
    currency: str
    reason: str
    status: str
    respond_by: datetime | None = None
    is_closed: bool = False
