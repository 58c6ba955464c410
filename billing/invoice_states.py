"""States of invoices and of their payment, as tables. Owns what may follow what; the SQL compare-and-set uses the same.

Statuses as the wire names them (flexprice.md 1.6 and 3.7).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from billing.errors import Conflict


class InvoiceStatus(StrEnum):
    """SKIPPED: nothing to bill; takes no number and is listed."""

    DRAFT = "DRAFT"
    FINALIZED = "FINALIZED"
    VOIDED = "VOIDED"
    SKIPPED = "SKIPPED"


class InvoiceCommand(StrEnum):
    """What can be asked of an invoice."""

    finalize = "finalize"
    skip = "skip"
    void = "void"


class PaymentStatus(StrEnum):
    """Of an invoice and of a payment. PENDING: nothing tried, or waiting for the customer's action."""

    INITIATED = "INITIATED"
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    OVERPAID = "OVERPAID"
    FAILED = "FAILED"
    REFUNDED = "REFUNDED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    VOIDED = "VOIDED"


class PaymentCommand(StrEnum):
    """What can happen to the payment of an invoice."""

    attempt = "attempt"
    succeed = "succeed"
    decline = "decline"
    require_action = "require_action"
    void = "void"


INVOICE_TRANSITIONS: Final[Mapping[tuple[InvoiceStatus, InvoiceCommand], InvoiceStatus]] = {
    (InvoiceStatus.DRAFT, InvoiceCommand.finalize): InvoiceStatus.FINALIZED,
    (InvoiceStatus.DRAFT, InvoiceCommand.skip): InvoiceStatus.SKIPPED,
    (InvoiceStatus.DRAFT, InvoiceCommand.void): InvoiceStatus.VOIDED,
    (InvoiceStatus.FINALIZED, InvoiceCommand.void): InvoiceStatus.VOIDED,
    (InvoiceStatus.SKIPPED, InvoiceCommand.void): InvoiceStatus.VOIDED,
}

# A success is accepted from PENDING (an invoice of 0, or an action that the customer completed) and from FAILED (the
# provider's answer came after we had given up on it). What was paid goes back when a paid invoice is voided.
PAYMENT_TRANSITIONS: Final[Mapping[tuple[PaymentStatus, PaymentCommand], PaymentStatus]] = {
    (PaymentStatus.PENDING, PaymentCommand.attempt): PaymentStatus.PROCESSING,
    (PaymentStatus.FAILED, PaymentCommand.attempt): PaymentStatus.PROCESSING,
    (PaymentStatus.PROCESSING, PaymentCommand.succeed): PaymentStatus.SUCCEEDED,
    (PaymentStatus.PENDING, PaymentCommand.succeed): PaymentStatus.SUCCEEDED,
    (PaymentStatus.FAILED, PaymentCommand.succeed): PaymentStatus.SUCCEEDED,
    (PaymentStatus.PROCESSING, PaymentCommand.decline): PaymentStatus.FAILED,
    (PaymentStatus.PENDING, PaymentCommand.decline): PaymentStatus.FAILED,
    (PaymentStatus.PROCESSING, PaymentCommand.require_action): PaymentStatus.PENDING,
    (PaymentStatus.PENDING, PaymentCommand.void): PaymentStatus.VOIDED,
    (PaymentStatus.FAILED, PaymentCommand.void): PaymentStatus.VOIDED,
    (PaymentStatus.SUCCEEDED, PaymentCommand.void): PaymentStatus.REFUNDED,
    (PaymentStatus.OVERPAID, PaymentCommand.void): PaymentStatus.REFUNDED,
    (PaymentStatus.PARTIALLY_REFUNDED, PaymentCommand.void): PaymentStatus.REFUNDED,
    (PaymentStatus.REFUNDED, PaymentCommand.void): PaymentStatus.REFUNDED,
}

PAID: Final = frozenset(
    {PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID, PaymentStatus.REFUNDED, PaymentStatus.PARTIALLY_REFUNDED}
)
"""Of an invoice of which nothing is owed any more; what was given back is not asked for again."""
BY_ITSELF: Final[frozenset[StrEnum]] = frozenset({InvoiceCommand.skip})
"""Commands that nobody gives."""

State = TypeVar("State", bound=StrEnum)
Command = TypeVar("Command", bound=StrEnum)


def is_closed(status: InvoiceStatus, payment: PaymentStatus) -> bool:
    """Whether nothing will ever happen to an invoice by itself: paid, voided or skipped."""
    return status in (InvoiceStatus.VOIDED, InvoiceStatus.SKIPPED) or (
        status is InvoiceStatus.FINALIZED and payment in PAID
    )


def next_invoice_status(status: InvoiceStatus, command: InvoiceCommand) -> InvoiceStatus:
    """The status after `command`. Raises Conflict naming the status and what is possible."""
    return _next(INVOICE_TRANSITIONS, status, command, "invoice_status")


def next_payment_status(status: PaymentStatus, command: PaymentCommand) -> PaymentStatus:
    """The payment status after `command`. Raises Conflict naming the status and what is possible."""
    return _next(PAYMENT_TRANSITIONS, status, command, "payment_status")


def possible_now(status: InvoiceStatus, payment: PaymentStatus) -> tuple[str, ...]:
    """What can be asked of an invoice: finalize, void, attempt_payment, pay. Nothing while the provider is at work."""
    if status is not InvoiceStatus.FINALIZED:
        return tuple(known.value for state, known in INVOICE_TRANSITIONS if state is status and known not in BY_ITSELF)
    if payment is PaymentStatus.PROCESSING:
        return ()
    return ("void",) if payment in PAID else ("attempt_payment", "pay", "void")


def require_draft(status: InvoiceStatus, payment: PaymentStatus, command: str) -> None:
    """Only a draft can be finalized; raises Conflict with what is possible."""
    if status is not InvoiceStatus.DRAFT:
        possible = possible_now(status, payment)
        raise Conflict(
            f"{command} is not possible: the invoice is {status}; it must be a DRAFT; possible now:"
            f" {', '.join(possible) or 'nothing'}",
            state=status,
            possible=possible,
            field="invoice_status",
        )


def require_unpaid(status: InvoiceStatus, payment: PaymentStatus, command: str) -> None:
    """Only a FINALIZED invoice of which something is owed can be paid; raises Conflict with what is possible."""
    if status is InvoiceStatus.FINALIZED and payment not in PAID:
        return
    possible = possible_now(status, payment)
    state = "paid" if status is InvoiceStatus.FINALIZED else status.value
    raise Conflict(
        f"{command} is not possible: the invoice is {state}; it must be FINALIZED and unpaid; possible now:"
        f" {', '.join(possible) or 'nothing'}",
        state=payment.value if status is InvoiceStatus.FINALIZED else status.value,
        possible=possible,
        field="invoice_status",
    )


def require_finalized(status: InvoiceStatus, command: str) -> None:
    """Only a FINALIZED invoice can be credited; raises Conflict otherwise."""
    if status is not InvoiceStatus.FINALIZED:
        raise Conflict(
            f"{command} is not possible: the invoice is {status}, it must be FINALIZED",
            state=status,
            possible=possible_now(status, PaymentStatus.PENDING),
            field="invoice_status",
        )


def _next(table: Mapping[tuple[State, Command], State], state: State, command: Command, field: str) -> State:
    after = table.get((state, command))
    if after is None:
        possible = tuple(known.value for at, known in table if at is state and known not in BY_ITSELF)
        choice = ", ".join(possible) or "nothing"
        raise Conflict(
            f"{command} is not possible: {field} is {state}; possible now: {choice}", state.value, possible, field
        )
    return after
