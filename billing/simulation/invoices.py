"""The invoices of a story: each as billing computed it last, with its states, attempts and what was credited of it.

Owns bookkeeping only; sums are billing.invoices's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from billing.collection import remaining
from billing.credit_notes import InvoiceBalance
from billing.invoice_states import InvoiceCommand, InvoiceStatus, PaymentStatus, next_invoice_status
from billing.invoices import (
    Invoice,
    InvoiceInputs,
    billed_line,
    build_final_invoice,
    build_invoice,
    is_deferred,
)
from billing.money import ZERO, negated, total
from billing.terms import BilledLine, Terms
from billing.terms_history import TermsInForce
from billing.top_ups import TopUp
from billing.voids import CreditGiven, credits_given


@dataclass(frozen=True, slots=True)
class Attempt:
    """One charge at the provider and what it came to."""

    at: datetime
    amount: Decimal
    outcome: str


@dataclass(frozen=True, slots=True)
class Purchase:
    """Credits that wallet `wallet` (its key) gets when their invoice is paid."""

    wallet: str
    asked: TopUp


@dataclass(slots=True)
class PlayedInvoice:
    """An invoice as it stands. `next_at` is when it is finalized or charged next; None when nothing happens.

    `purchase` is what an invoice for credits of a wallet sells; it belongs to no subscription.
    `history` and `known_end` (the subscription's end) are as they were when it was drafted; `terms` are those whose
    period it closes.
    """

    position: int
    inputs: InvoiceInputs
    status: InvoiceStatus
    finalize_at: datetime
    next_at: datetime | None
    terms: Terms
    history: tuple[TermsInForce, ...]
    known_end: datetime | None = None
    number: str | None = None
    payment_status: PaymentStatus = PaymentStatus.PENDING
    finalized_at: datetime | None = None
    paid_at: datetime | None = None
    amount_paid: Decimal = ZERO
    paid_by_wallet: Decimal = ZERO
    attempts: list[Attempt] = field(default_factory=list)
    failures: int = 0
    first_failed_at: datetime | None = None
    gives_up: bool = False
    uncollectible: bool = False
    adjusted: Decimal = ZERO
    refunded: Decimal = ZERO
    purchase: "Purchase | None" = None
    _invoice: Invoice | None = None

    @property
    def invoice(self) -> Invoice:
        """As it was finalized; before that as a draft without usage, computed only if somebody asks."""
        if self._invoice is None:
            self._invoice = build_invoice(self.inputs)
        return self._invoice

    def finalize(self, inputs: InvoiceInputs, at: datetime, number: str) -> None:
        """Freezes it. Raises InvariantBroken when usage is missing."""
        self._invoice = build_final_invoice(inputs)
        self.inputs, self.finalized_at, self.number = inputs, at, number
        self.status = next_invoice_status(self.status, InvoiceCommand.finalize)

    @property
    def id(self) -> str:
        """How the result names it: its place in the list."""
        return f"invoices[{self.position}]"

    @property
    def amount_remaining(self) -> Decimal:
        """What is still owed."""
        return self.remaining_of(self.invoice.amount_due)

    @property
    def is_pending(self) -> bool:
        """Whether it can still be paid."""
        return self.paid_at is None and self.status is not InvoiceStatus.VOIDED

    @property
    def balance(self) -> InvoiceBalance:
        """What happened to its total."""
        return InvoiceBalance(self.invoice.total, self.amount_paid, self.adjusted, self.refunded)

    def remaining_of(self, amount_due: Decimal) -> Decimal:
        """The same, of another amount due (a draft's as it would be finalized)."""
        return remaining(self.status, amount_due, self.amount_paid, self.adjusted)


def billed_beyond(invoices: Iterable[PlayedInvoice], at: datetime) -> tuple[BilledLine, ...]:
    """What was billed in advance for time after `at`, with what was credited of it before."""
    known = list(invoices)
    live = [played for played in known if played.status is not InvoiceStatus.VOIDED]
    reaching = [played for played in live if any(due.period.end > at for due in played.inputs.due.lines)]
    return tuple(
        billed_line(played.id, line_id(played, position), line, _credited(known, line_id(played, position)))
        for played in reaching
        for position, line in enumerate(played.invoice.lines)
        if is_deferred(line) and line.period.end > at
    )


def credits_of(invoices: Iterable[PlayedInvoice], credited: PlayedInvoice) -> list[CreditGiven]:
    """What other invoices gave back of the lines of `credited`; voided ones too, whose credits stay given."""
    given = [each for played in invoices for each in credits_given(played.invoice)]
    return [each for each in given if each.billed.invoice_id == credited.id]


def line_id(played: PlayedInvoice, position: int) -> str:
    """A line by its invoice and its place on it."""
    return f"{played.id}.lines[{position}]"


def _credited(invoices: Iterable[PlayedInvoice], wanted: str) -> Decimal:
    """What invoices credited of a line, drafts included (positive); a credit on a voided one stays given."""
    return total(
        negated(line.amount)
        for played in invoices
        for line in played.invoice.lines
        if line.derivation.credit_of is not None and line.derivation.credit_of.invoice_line_id == wanted
    )
