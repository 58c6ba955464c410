"""Lists of payments, with the attempts of many at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from models.queries.paging import Page, find_one, get_page, own
from models.scope import Scope
from models.tables import InvoiceRow, PaymentAttemptRow, PaymentRow


@dataclass(frozen=True, slots=True)
class PaymentFilter:
    """Which payments; what is None does not filter."""

    payment_ids: Sequence[str] | None = None
    destination_type: str | None = None
    destination_id: str | None = None
    customer_id: str | None = None
    payment_method_type: str | None = None
    payment_status: str | None = None
    payment_gateway: str | None = None
    gateway_payment_id: str | None = None
    currency: str | None = None


async def list_payments(
    session: AsyncSession, scope: Scope, page: Page, wanted: PaymentFilter
) -> tuple[list[PaymentRow], int]:
    """One page of payments and how many match in all."""
    names = (
        "destination_type", "destination_id", "customer_id", "payment_method_type", "payment_status",
        "payment_gateway", "gateway_payment_id", "currency",
    )  # fmt: skip
    columns = {name: getattr(PaymentRow, name) for name in (*names, "amount", "succeeded_at", "failed_at")}
    where = [columns[name] == getattr(wanted, name) for name in names if getattr(wanted, name) is not None]
    if wanted.payment_ids is not None:
        where.append(col(PaymentRow.id).in_(wanted.payment_ids))
    return await get_page(session, scope, PaymentRow, page, where, columns)


async def find_payment_by_key(session: AsyncSession, scope: Scope, idempotency_key: str) -> PaymentRow | None:
    """The payment that was recorded under the key of its request's body."""
    return await find_one(session, scope, PaymentRow, col(PaymentRow.idempotency_key) == idempotency_key)


async def attempts_of(
    session: AsyncSession, scope: Scope, payment_ids: Sequence[str]
) -> dict[str, list[PaymentAttemptRow]]:
    """The tries of each payment, first to last."""
    table = PaymentAttemptRow
    statement = select(table).where(*own(table, scope), col(table.payment_id).in_(set(payment_ids)))
    found: dict[str, list[PaymentAttemptRow]] = {each: [] for each in payment_ids}
    for row in (await session.scalars(statement.order_by(col(table.attempt_number)))).all():
        found[row.payment_id].append(row)
    return found


async def invoice_numbers(session: AsyncSession, scope: Scope, invoice_ids: Sequence[str]) -> dict[str, str]:
    """Numbers of the invoices that have one, by id."""
    statement = select(InvoiceRow).where(*own(InvoiceRow, scope), col(InvoiceRow.id).in_(set(invoice_ids)))
    rows = (await session.scalars(statement)).all()
    return {row.id: row.invoice_number for row in rows if row.invoice_number}
