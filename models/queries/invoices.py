"""Reading, locking and numbering invoices."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, text
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.errors import NotFound
from models.scope import Scope
from models.tables import InvoiceLineRow, InvoiceRow, InvoiceTaxRow, UsageSnapshotRow

_TAKE_NUMBER = text(
    "INSERT INTO invoice_sequences (tenant_id, environment_id, month, value) VALUES (:tenant, :environment, :month, 1)"
    " ON CONFLICT (tenant_id, environment_id, month) DO UPDATE SET value = invoice_sequences.value + 1 RETURNING value"
)


async def get_invoice(session: AsyncSession, invoice_id: str, *, lock: bool = False) -> InvoiceRow:
    """The invoice; `lock` keeps other writers out until the transaction ends. Raises NotFound."""
    query = select(InvoiceRow).where(InvoiceRow.id == invoice_id)
    row = (await session.exec(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFound(f"no invoice has the id {invoice_id!r}", field="invoice_id")
    return row


async def lock_invoices(session: AsyncSession, invoice_ids: Sequence[str]) -> None:
    """Keeps other writers of these invoices out until the transaction ends, and reads them as they are then."""
    query = select(InvoiceRow).where(col(InvoiceRow.id).in_(invoice_ids)).order_by(col(InvoiceRow.id))
    await session.exec(query.with_for_update().execution_options(populate_existing=True))


async def list_lines(session: AsyncSession, invoice_id: str) -> Sequence[InvoiceLineRow]:
    """The invoice's lines in their order."""
    query = select(InvoiceLineRow).where(InvoiceLineRow.invoice_id == invoice_id)
    return (await session.exec(query.order_by(col(InvoiceLineRow.position)))).all()


async def list_taxes(session: AsyncSession, invoice_id: str) -> Sequence[InvoiceTaxRow]:
    """What each tax rate came to on the invoice."""
    query = select(InvoiceTaxRow).where(InvoiceTaxRow.invoice_id == invoice_id)
    return (await session.exec(query.order_by(col(InvoiceTaxRow.position)))).all()


async def list_snapshots(session: AsyncSession, invoice_id: str) -> Sequence[UsageSnapshotRow]:
    """The usage that the invoice was computed from."""
    return (await session.exec(select(UsageSnapshotRow).where(UsageSnapshotRow.invoice_id == invoice_id))).all()


async def delete_lines(session: AsyncSession, invoice_id: str) -> dict[str, Decimal]:
    """Takes a draft's lines and taxes away, to be written anew; the database refuses it for a finalized invoice.

    Returns what had been credited of each line, by the line's id.
    """
    lines = delete(InvoiceLineRow).where(col(InvoiceLineRow.invoice_id) == invoice_id)
    gone = await session.execute(lines.returning(col(InvoiceLineRow.id), col(InvoiceLineRow.credited_amount)))
    await session.exec(delete(InvoiceTaxRow).where(col(InvoiceTaxRow.invoice_id) == invoice_id))
    return {line_id: credited for line_id, credited in gone.all()}


async def find_live_invoice(
    session: AsyncSession, subscription_id: str, start: datetime, end: datetime, reason: str
) -> InvoiceRow | None:
    """The invoice of a subscription for a period and reason that is not voided; there is at most one."""
    query = select(InvoiceRow).where(
        InvoiceRow.subscription_id == subscription_id,
        InvoiceRow.period_start == start,
        InvoiceRow.period_end == end,
        InvoiceRow.billing_reason == reason,
        InvoiceRow.invoice_status != "VOIDED",
    )
    return (await session.exec(query)).one_or_none()


async def list_drafts_of(session: AsyncSession, subscription_id: str) -> Sequence[InvoiceRow]:
    """The subscription's invoices that are still in their grace."""
    query = select(InvoiceRow).where(
        InvoiceRow.subscription_id == subscription_id, InvoiceRow.invoice_status == "DRAFT"
    )
    return (await session.exec(query.order_by(col(InvoiceRow.drafted_at)))).all()


async def list_awaiting_money(
    session: AsyncSession, customer_id: str, subscription_id: str | None = None
) -> Sequence[InvoiceRow]:
    """Finalized invoices of which something is still owed, oldest first."""
    query = select(InvoiceRow).where(
        InvoiceRow.customer_id == customer_id,
        InvoiceRow.invoice_status == "FINALIZED",
        col(InvoiceRow.amount_paid) + col(InvoiceRow.adjustment_amount) < col(InvoiceRow.amount_due),
    )
    if subscription_id is not None:
        query = query.where(InvoiceRow.subscription_id == subscription_id)
    return (await session.exec(query.order_by(col(InvoiceRow.drafted_at), col(InvoiceRow.id)))).all()


async def list_lines_reaching_beyond(
    session: AsyncSession, subscription_id: str, at: datetime
) -> Sequence[InvoiceLineRow]:
    """Lines of a price whose time is not over at `at`, on invoices that are not voided, in order of their periods."""
    query = (
        select(InvoiceLineRow)
        .join(InvoiceRow, col(InvoiceRow.id) == col(InvoiceLineRow.invoice_id))
        .where(
            InvoiceLineRow.subscription_id == subscription_id,
            InvoiceLineRow.invoice_cadence == "ADVANCE",
            col(InvoiceLineRow.period_end) > at,
            InvoiceRow.invoice_status != "VOIDED",
        )
        .order_by(col(InvoiceLineRow.period_start), col(InvoiceLineRow.position))
    )
    return (await session.exec(query)).all()


async def list_credits(session: AsyncSession, subscription_id: str) -> Sequence[tuple[InvoiceLineRow, InvoiceRow]]:
    """The subscription's credits for unused time, on void invoices too, in order of their drafting."""
    query = (
        select(InvoiceLineRow, InvoiceRow)
        .join(InvoiceRow, col(InvoiceRow.id) == col(InvoiceLineRow.invoice_id))
        .where(
            InvoiceLineRow.subscription_id == subscription_id,
            InvoiceLineRow.kind == "proration_credit",
        )
        .order_by(col(InvoiceRow.drafted_at), col(InvoiceLineRow.position))
    )
    return (await session.exec(query)).all()


async def list_crediting_invoices(session: AsyncSession, subscription_id: str) -> Sequence[InvoiceRow]:
    """The subscription's invoices with lines that may give something back, whatever their status."""
    crediting = select(InvoiceLineRow.invoice_id).where(
        InvoiceLineRow.subscription_id == subscription_id,
        col(InvoiceLineRow.kind).in_(("proration_credit", "adjustment")),
    )
    query = select(InvoiceRow).where(col(InvoiceRow.id).in_(crediting))
    return (await session.exec(query.order_by(col(InvoiceRow.drafted_at), col(InvoiceRow.id)))).all()


async def take_number(session: AsyncSession, scope: Scope, month: str) -> int:
    """The next number of the month. The row stays locked until the transaction ends, so numbers have no gaps."""
    values = {"tenant": scope.tenant_id, "environment": scope.environment_id, "month": month}
    value: int = (await session.execute(_TAKE_NUMBER, values)).scalar_one()
    return value


async def next_billing_sequence(session: AsyncSession, subscription_id: str) -> int:
    """How many invoices the subscription has had, plus one."""
    query = select(func.count()).select_from(InvoiceRow).where(InvoiceRow.subscription_id == subscription_id)
    return int((await session.exec(query)).one()) + 1


async def first_due_invoice(session: AsyncSession, test_clock_id: str) -> datetime | None:
    """The earliest next action of the invoices attached to a test clock."""
    query = select(func.min(InvoiceRow.next_action_at)).where(InvoiceRow.test_clock_id == test_clock_id)
    return (await session.exec(query)).one()


async def list_due_invoices(session: AsyncSession, test_clock_id: str, at: datetime) -> Sequence[InvoiceRow]:
    """Invoices attached to a test clock with something due at or before `at`, in the order they act."""
    query = (
        select(InvoiceRow)
        .where(InvoiceRow.test_clock_id == test_clock_id, col(InvoiceRow.next_action_at) <= at)
        .order_by(col(InvoiceRow.next_action_at), col(InvoiceRow.drafted_at), col(InvoiceRow.created_at))
    )
    return (await session.exec(query)).all()
