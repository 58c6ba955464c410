"""Reading what late usage is about: invoices that may have closed a period, and the corrections of each."""

from collections import defaultdict
from collections.abc import Collection, Sequence

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.tables import InvoiceLineRow, InvoiceRow, UsageCorrectionRow, UsageSnapshotRow


async def list_invoices_before(
    session: AsyncSession, subscription_id: str, sequence: int | None, most: int
) -> Sequence[InvoiceRow]:
    """The subscription's invoices with a line, drafted before the one with billing sequence `sequence` (None: all).

    The last first.
    """
    query = select(InvoiceRow).where(
        InvoiceRow.subscription_id == subscription_id, InvoiceRow.invoice_status != "SKIPPED"
    )
    if sequence is not None:
        query = query.where(col(InvoiceRow.billing_sequence) < sequence)
    return (await session.exec(query.order_by(col(InvoiceRow.billing_sequence).desc()).limit(most))).all()


async def list_usage_corrections(
    session: AsyncSession, invoice_ids: Collection[str]
) -> Sequence[tuple[UsageCorrectionRow, str | None]]:
    """The corrections of these invoices in their order, each with the status of the invoice that carries it."""
    query = (
        select(UsageCorrectionRow, InvoiceRow.invoice_status)
        .outerjoin(InvoiceRow, col(InvoiceRow.id) == col(UsageCorrectionRow.carrier_invoice_id))
        .where(col(UsageCorrectionRow.invoice_id).in_(invoice_ids))
        .order_by(col(UsageCorrectionRow.invoice_id), col(UsageCorrectionRow.sequence))
    )
    return (await session.exec(query)).all()


async def list_lines_by_invoice(
    session: AsyncSession, invoice_ids: Collection[str], kinds: Collection[str]
) -> dict[str, list[InvoiceLineRow]]:
    """The lines of these kinds on these invoices, in their order, by the invoice's id."""
    query = select(InvoiceLineRow).where(
        col(InvoiceLineRow.invoice_id).in_(invoice_ids), col(InvoiceLineRow.kind).in_(kinds)
    )
    found: dict[str, list[InvoiceLineRow]] = defaultdict(list)
    for line in (await session.exec(query.order_by(col(InvoiceLineRow.position)))).all():
        found[line.invoice_id].append(line)
    return found


async def list_first_snapshots(
    session: AsyncSession, invoice_ids: Collection[str]
) -> dict[str, list[UsageSnapshotRow]]:
    """The usage that these invoices billed first of their own periods, by the invoice's id."""
    row = UsageSnapshotRow
    query = select(row).where(col(row.invoice_id).in_(invoice_ids), col(row.supersedes).is_(None))
    found: dict[str, list[UsageSnapshotRow]] = defaultdict(list)
    for one in (await session.exec(query)).all():
        found[one.invoice_id].append(one)
    return found
