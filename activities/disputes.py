"""Disputes: charges that a customer has taken to the bank. Recorded as the provider reports them, for a person to act.

Evidence is given at the provider; durabill says that it is wanted, until when, and books what is lost.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.bookkeeping import new_columns, scope_of, touch
from activities.outbox import TELL_DISPUTE, emit, enqueue
from activities.ports import Disputed
from activities.refund_payloads import dispute_payload
from activities.states import DisputeState
from billing.disputes import CLOSED, Report, is_news, taken_twice
from billing.invoice_states import InvoiceStatus
from billing.ledger import post_dispute_lost
from billing.money import decimal_text
from models.database import Database
from models.ids import new_id
from models.queries.ledger import insert_posting
from models.queries.refunds import find_dispute, get_dispute
from models.scope import Scope
from models.tables import DisputeRow, InvoiceRow, PaymentAttemptRow


@dataclass(frozen=True, slots=True)
class ReadDispute:
    """Where the dispute stands."""

    scope: Scope
    dispute_id: str


class DisputeActivities:
    """What `DisputeWorkflow` shows to operators."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="disputes.read")
    async def read(self, command: ReadDispute) -> DisputeState:
        """The dispute as it stands."""
        async with self._database.transaction(command.scope) as session:
            return dispute_state(await get_dispute(session, command.dispute_id))


async def record_dispute(
    session: AsyncSession, invoice: InvoiceRow, attempt: PaymentAttemptRow, told: Disputed, now: datetime
) -> DisputeRow:
    """Takes in a report about a charge of a locked invoice; one older than the last, or a repeat, changes nothing."""
    row = await find_dispute(session, attempt.payment_gateway, told.provider_dispute_id)
    is_new = row is None
    if row is None:
        row = _new_row(invoice, attempt, told, now)
        session.add(row)
    elif not is_news(Report(row.dispute_status, row.told_at), Report(told.state, told.reported_at)):
        return row
    row.dispute_status, row.told_at, row.respond_by = told.state, told.reported_at, told.respond_by or row.respond_by
    closed = told.state in CLOSED
    row.closed_at = now if closed else None
    invoice.needs_attention = _taken_twice(invoice, row) if closed else _wanted(row)
    for changed in (row, invoice):
        touch(changed)
    if told.state == "lost":
        posting = post_dispute_lost(row.id, row.payment_gateway, row.amount, row.currency)
        await insert_posting(
            session, scope_of(row), posting, now, invoice_id=invoice.id, customer_id=invoice.customer_id
        )
    await session.flush()
    event = f"dispute.{told.state}" if closed else "dispute.created" if is_new else "dispute.updated"
    await emit(session, scope_of(row), event, row.id, {"dispute": dispute_payload(row)}, now)
    await enqueue(session, scope_of(row), TELL_DISPUTE, row.id)
    return row


def dispute_state(row: DisputeRow) -> DisputeState:
    """Where the dispute stands, for its workflow."""
    return DisputeState(
        scope=scope_of(row),
        dispute_id=row.id,
        customer_id=row.customer_id,
        invoice_id=row.invoice_id,
        payment_id=row.payment_id,
        provider=row.payment_gateway,
        gateway_dispute_id=row.gateway_dispute_id,
        amount=decimal_text(row.amount),
        currency=row.currency,
        reason=row.reason,
        status=row.dispute_status,
        respond_by=row.respond_by,
        is_closed=row.dispute_status in CLOSED,
    )


def _new_row(invoice: InvoiceRow, attempt: PaymentAttemptRow, told: Disputed, now: datetime) -> DisputeRow:
    return DisputeRow(
        id=new_id("dispute"),
        **new_columns(scope_of(invoice)),
        payment_id=attempt.payment_id,
        invoice_id=invoice.id,
        customer_id=invoice.customer_id,
        attempt_id=attempt.id,
        payment_gateway=attempt.payment_gateway,
        gateway_payment_id=told.provider_payment_id,
        gateway_dispute_id=told.provider_dispute_id,
        amount=told.amount,
        currency=told.currency,
        reason=told.reason,
        dispute_status=told.state,
        respond_by=told.respond_by,
        opened_at=now,
        told_at=told.reported_at,
    )


def _taken_twice(invoice: InvoiceRow, row: DisputeRow) -> str | None:
    """A bank that takes back what a void has given to the wallet already leaves a person to take that out."""
    if not taken_twice(row.dispute_status, InvoiceStatus(invoice.invoice_status), invoice.refunded_amount):
        return None
    return (
        f"{decimal_text(row.amount)} {row.currency} of payment {row.payment_id} went back by dispute {row.id} after the"
        " void of the invoice had given it to the customer's wallet: debit what is left of it there"
    )


def _wanted(row: DisputeRow) -> str:
    until = "" if row.respond_by is None else f" before {row.respond_by:%Y-%m-%d %H:%M} UTC"
    return (
        f"{decimal_text(row.amount)} {row.currency} of payment {row.payment_id} is disputed ({row.reason}): answer"
        f" {row.gateway_dispute_id} at {row.payment_gateway}{until}"
    )
