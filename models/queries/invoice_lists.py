"""Lists of invoices, with the lines and taxes of many at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from models.queries.paging import Page, get_page, own
from models.scope import Scope
from models.tables import CustomerRow, InvoiceLineRow, InvoiceRow, InvoiceTaxRow


@dataclass(frozen=True, slots=True)
class InvoiceFilter:
    """Which invoices; what is None does not filter. Amounts are major units."""

    invoice_ids: Sequence[str] | None = None
    customer_ids: Sequence[str] | None = None
    subscription_id: str | None = None
    invoice_number: str | None = None
    invoice_type: str | None = None
    billing_reason: str | None = None
    currency: str | None = None
    invoice_statuses: Sequence[str] | None = None
    payment_statuses: Sequence[str] | None = None
    amount_due_above: Decimal | None = None
    amount_remaining_above: Decimal | None = None
    period_start_from: datetime | None = None
    period_start_to: datetime | None = None
    period_end_from: datetime | None = None
    period_end_to: datetime | None = None
    finalized_from: datetime | None = None
    voided_from: datetime | None = None


async def list_invoices(
    session: AsyncSession, scope: Scope, page: Page, wanted: InvoiceFilter
) -> tuple[list[InvoiceRow], int]:
    """One page of invoices and how many match in all."""
    where = [*_named(wanted), *_bounded(wanted)]
    return await get_page(session, scope, InvoiceRow, page, where, _COLUMNS)


async def lines_of(session: AsyncSession, scope: Scope, invoice_ids: Sequence[str]) -> dict[str, list[InvoiceLineRow]]:
    """The lines of each invoice in their order."""
    table = InvoiceLineRow
    statement = select(table).where(*own(table, scope), col(table.invoice_id).in_(set(invoice_ids)))
    found: dict[str, list[InvoiceLineRow]] = {each: [] for each in invoice_ids}
    for row in (await session.scalars(statement.order_by(col(table.position)))).all():
        found[row.invoice_id].append(row)
    return found


async def zones_of(session: AsyncSession, scope: Scope, invoice_ids: Sequence[str]) -> dict[str, str]:
    """The time zone of each invoice."""
    table = InvoiceRow
    statement = select(col(table.id), col(table.timezone))
    found = await session.execute(statement.where(*own(table, scope), col(table.id).in_(set(invoice_ids))))
    return {invoice_id: zone for invoice_id, zone in found.all()}


async def taxes_of(session: AsyncSession, scope: Scope, invoice_ids: Sequence[str]) -> dict[str, list[InvoiceTaxRow]]:
    """What each tax rate came to on each invoice."""
    table = InvoiceTaxRow
    statement = select(table).where(*own(table, scope), col(table.invoice_id).in_(set(invoice_ids)))
    found: dict[str, list[InvoiceTaxRow]] = {each: [] for each in invoice_ids}
    for row in (await session.scalars(statement.order_by(col(table.position)))).all():
        found[row.invoice_id].append(row)
    return found


async def customers_of(session: AsyncSession, scope: Scope, customer_ids: Sequence[str]) -> dict[str, CustomerRow]:
    """The customers by id, deleted ones too: their invoices stay."""
    statement = select(CustomerRow).where(*own(CustomerRow, scope), col(CustomerRow.id).in_(set(customer_ids)))
    return {row.id: row for row in (await session.scalars(statement)).all()}


def _named(wanted: InvoiceFilter) -> list[ColumnElement[bool]]:
    table = InvoiceRow
    lists = (
        (table.id, wanted.invoice_ids),
        (table.customer_id, wanted.customer_ids),
        (table.invoice_status, wanted.invoice_statuses),
        (table.payment_status, wanted.payment_statuses),
    )
    single = (
        (table.subscription_id, wanted.subscription_id),
        (table.invoice_number, wanted.invoice_number),
        (table.invoice_type, wanted.invoice_type),
        (table.billing_reason, wanted.billing_reason),
        (table.currency, wanted.currency),
    )
    where = [col(column).in_(values) for column, values in lists if values is not None]
    return [*where, *(col(column) == value for column, value in single if value is not None)]


def _bounded(wanted: InvoiceFilter) -> list[ColumnElement[bool]]:
    table = InvoiceRow
    where: list[ColumnElement[bool]] = []
    if wanted.amount_due_above is not None:
        where.append(col(table.amount_due) > wanted.amount_due_above)
    if wanted.amount_remaining_above is not None:
        settled = col(table.amount_paid) + col(table.adjustment_amount)
        where.append(col(table.amount_due) - settled > wanted.amount_remaining_above)
    if wanted.period_start_from is not None:
        where.append(col(table.period_start) >= wanted.period_start_from)
    if wanted.period_start_to is not None:
        where.append(col(table.period_start) <= wanted.period_start_to)
    if wanted.period_end_from is not None:
        where.append(col(table.period_end) >= wanted.period_end_from)
    if wanted.period_end_to is not None:
        where.append(col(table.period_end) <= wanted.period_end_to)
    if wanted.finalized_from is not None:
        where.append(col(table.finalized_at) >= wanted.finalized_from)
    if wanted.voided_from is not None:
        where.append(col(table.voided_at) >= wanted.voided_from)
    return where


_NAMES = (
    "customer_id", "subscription_id", "invoice_number", "invoice_status", "payment_status", "invoice_type",
    "billing_reason", "currency", "period_start", "period_end", "finalized_at", "due_date", "paid_at", "subtotal",
    "total", "amount_due", "amount_paid",
)  # fmt: skip
_COLUMNS = {name: getattr(InvoiceRow, name) for name in _NAMES}
