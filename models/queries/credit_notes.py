"""Reading, locking and numbering credit notes."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession as PlainSession
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.errors import NotFound
from models.queries.paging import Page, find_one, get_page, own
from models.scope import Scope
from models.tables import CreditNoteLineRow, CreditNoteRow

_TAKE_NUMBER = text(
    "INSERT INTO credit_note_sequences (tenant_id, environment_id, month, value)"
    " VALUES (:tenant, :environment, :month, 1)"
    " ON CONFLICT (tenant_id, environment_id, month) DO UPDATE SET value = credit_note_sequences.value + 1"
    " RETURNING value"
)


@dataclass(frozen=True, slots=True)
class CreditNoteFilter:
    """Which credit notes; what is None does not filter."""

    ids: Sequence[str] | None = None
    invoice_ids: Sequence[str] | None = None
    customer_ids: Sequence[str] | None = None
    statuses: Sequence[str] | None = None
    types: Sequence[str] | None = None
    numbers: Sequence[str] | None = None


async def get_credit_note(session: AsyncSession, note_id: str, *, lock: bool = False) -> CreditNoteRow:
    """The credit note. Raises NotFound."""
    query = select(CreditNoteRow).where(CreditNoteRow.id == note_id)
    row = (await session.exec(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFound(f"no credit note has the id {note_id!r}", field="credit_note_id")
    return row


async def find_note_by_key(session: AsyncSession, scope: Scope, idempotency_key: str) -> CreditNoteRow | None:
    """The credit note that was asked for under the key of its request's body."""
    return await find_one(session, scope, CreditNoteRow, col(CreditNoteRow.idempotency_key) == idempotency_key)


async def list_note_lines(session: AsyncSession, note_id: str) -> Sequence[CreditNoteLineRow]:
    """The note's lines in their order."""
    query = select(CreditNoteLineRow).where(CreditNoteLineRow.credit_note_id == note_id)
    return (await session.exec(query.order_by(col(CreditNoteLineRow.position)))).all()


async def list_finalized_notes(session: AsyncSession, invoice_id: str) -> Sequence[CreditNoteRow]:
    """The invoice's FINALIZED notes in the order of their numbers."""
    query = select(CreditNoteRow).where(
        CreditNoteRow.invoice_id == invoice_id, CreditNoteRow.credit_note_status == "FINALIZED"
    )
    return (await session.exec(query.order_by(col(CreditNoteRow.credit_note_number)))).all()


async def list_finalized_lines(
    session: AsyncSession, invoice_id: str
) -> Sequence[tuple[CreditNoteLineRow, CreditNoteRow]]:
    """The lines of the invoice's FINALIZED notes, each with its note."""
    query = (
        select(CreditNoteLineRow, CreditNoteRow)
        .join(CreditNoteRow, col(CreditNoteRow.id) == col(CreditNoteLineRow.credit_note_id))
        .where(CreditNoteRow.invoice_id == invoice_id, CreditNoteRow.credit_note_status == "FINALIZED")
    )
    return (await session.exec(query.order_by(col(CreditNoteLineRow.id)))).all()


async def take_note_number(session: AsyncSession, scope: Scope, month: str) -> int:
    """The next number of the month. The row stays locked until the transaction ends, so numbers have no gaps."""
    values = {"tenant": scope.tenant_id, "environment": scope.environment_id, "month": month}
    value: int = (await session.execute(_TAKE_NUMBER, values)).scalar_one()
    return value


async def list_credit_notes(
    session: PlainSession, scope: Scope, page: Page, wanted: CreditNoteFilter
) -> tuple[list[CreditNoteRow], int]:
    """One page of credit notes and how many match in all."""
    many = (
        (CreditNoteRow.id, wanted.ids),
        (CreditNoteRow.invoice_id, wanted.invoice_ids),
        (CreditNoteRow.customer_id, wanted.customer_ids),
        (CreditNoteRow.credit_note_status, wanted.statuses),
        (CreditNoteRow.credit_note_type, wanted.types),
        (CreditNoteRow.credit_note_number, wanted.numbers),
    )
    where = [col(column).in_(values) for column, values in many if values is not None]
    return await get_page(session, scope, CreditNoteRow, page, where, _COLUMNS)


async def lines_of_notes(
    session: PlainSession, scope: Scope, note_ids: Sequence[str]
) -> dict[str, list[CreditNoteLineRow]]:
    """The lines of each note in their order."""
    table = CreditNoteLineRow
    statement = select(table).where(*own(table, scope), col(table.credit_note_id).in_(set(note_ids)))
    found: dict[str, list[CreditNoteLineRow]] = {each: [] for each in note_ids}
    for row in (await session.scalars(statement.order_by(col(table.position)))).all():
        found[row.credit_note_id].append(row)
    return found


_COLUMNS = {
    name: getattr(CreditNoteRow, name)
    for name in (
        *("invoice_id", "customer_id", "subscription_id", "credit_note_number", "credit_note_status"),
        *("credit_note_type", "reason", "total_amount", "finalized_at", "voided_at"),
    )
}
