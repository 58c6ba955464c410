"""Where an invoice stands, for its workflow and for the operator who reads along."""

from activities.bookkeeping import scope_of
from activities.payloads import amount_remaining
from activities.states import InvoiceState
from billing.invoice_states import PAID
from billing.money import decimal_text
from models.tables import InvoiceRow


def invoice_state(row: InvoiceRow, *, attempts: int = 0, provider: str | None = None) -> InvoiceState:
    """The state of an invoice; `attempts` and `provider` are what collection knows."""
    return InvoiceState(
        scope=scope_of(row),
        invoice_id=row.id,
        customer_id=row.customer_id,
        subscription_id=row.subscription_id,
        invoice_status=row.invoice_status,
        payment_status=row.payment_status,
        currency=row.currency,
        amount_remaining=decimal_text(amount_remaining(row)),
        next_action_at=row.next_action_at,
        number=row.invoice_number,
        attempts=attempts,
        provider=provider,
        uncollectible=row.uncollectible,
        waiting_for=waiting_for(row),
        test_clock_id=row.test_clock_id,
        seen_commands=tuple(row.seen_commands),
    )


def waiting_for(row: InvoiceRow) -> str:
    """In words: what has to happen next."""
    if row.invoice_status == "DRAFT":
        return "the end of the grace for late usage"
    if row.invoice_status != "FINALIZED" or row.payment_status in PAID:
        return ""
    if row.payment_status == "PROCESSING":
        return "the bank, which works on the payment"
    if row.next_action_at is not None:
        return "the next payment attempt"
    if row.payment_status == "PENDING" and row.needs_attention:
        return row.needs_attention
    return "a payment method, a payment or a person's decision"
