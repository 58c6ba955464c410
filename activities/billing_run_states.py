"""What a billing run is asked for and what it reports. Pure values without I/O, so that contracts may carry them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Kind = Literal["invoice", "subscription"]
KINDS: tuple[Kind, ...] = ("invoice", "subscription")
"""Invoices first: those that a subscription's close makes are then on their way by themselves."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Work due at or before `as_of`, which was there at the real instant `known_by`. None does not filter."""

    as_of: datetime
    known_by: datetime
    tenant_id: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class DueCounts:
    """How many subscriptions and invoices are due and not done."""

    subscriptions: int = 0
    invoices: int = 0

    @property
    def both(self) -> int:
        """All that is due."""
        return self.subscriptions + self.invoices


@dataclass(frozen=True, slots=True)
class NotDone:
    """A subscription or invoice that is still due, and why."""

    kind: Kind
    id: str
    tenant_id: str
    customer_id: str
    due_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class PreviewedInvoice:
    """An invoice as the run would make it, with the usage that is there now. Amounts: decimal text, major units."""

    tenant_id: str
    customer_id: str
    subscription_id: str | None
    period_start: datetime
    period_end: datetime
    billing_reason: str
    currency: str
    subtotal: str
    total_tax: str
    total: str
    finalize_at: datetime
    invoice_id: str | None = None
    """The draft's id, where it is there already."""


@dataclass(frozen=True, slots=True)
class CurrencyTotal:
    """What a preview comes to in one currency; decimal text in major units."""

    currency: str
    invoices: int
    subtotal: str
    total_tax: str
    total: str


@dataclass(frozen=True, slots=True)
class BillingRunReport:
    """What was due, what has been woken and done, and what not, with the reason.

    `not_done` and `invoices` show the first of many; the counts are of all. `phase` is counting, waking, previewing,
    waiting or finished.
    """

    as_of: datetime
    dry_run: bool
    phase: str = "counting"
    due: DueCounts = DueCounts()
    woken: int = 0
    remaining: int = 0
    not_done: tuple[NotDone, ...] = ()
    invoice_count: int = 0
    invoices: tuple[PreviewedInvoice, ...] = ()
    totals: tuple[CurrencyTotal, ...] = field(default=())

    @property
    def done(self) -> int:
        """How much of what was due has been done."""
        return self.due.both - self.remaining
