"""A credit note's PDF: what it says, from rows; drawn when it is first asked for, and stored as it was then."""

import asyncio
from collections.abc import Sequence

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.document_content import buyer_of, local_day, seller_of
from activities.documents import CreditNoteDocument, DocumentLine, Period, render_credit_note
from activities.drafting import line_from_row
from activities.invoice_documents import DocumentActivities, RenderedDocument
from billing.codec import from_json
from billing.credit_notes import CreditNoteType
from billing.errors import Conflict
from billing.invoice_lines import InvoiceLine
from models.database import Database
from models.queries.credit_notes import get_credit_note, list_note_lines
from models.queries.invoices import get_invoice, list_lines
from models.scope import Scope
from models.tables import CreditNoteLineRow, CreditNoteRow, CustomerRow, InvoiceRow

EFFECTS = {
    CreditNoteType.ADJUSTMENT: "taken off what is left to pay",
    CreditNoteType.REFUND: "added to your credit balance",
}


async def render_note(
    database: Database, documents: DocumentActivities, scope: Scope, note_id: str
) -> RenderedDocument:
    """The note's PDF, made once. Raises NotFound, and Conflict for a note that was never finalized."""
    async with database.transaction(scope) as session:
        note = await get_credit_note(session, note_id)
        if note.document_key is not None and note.document_sha256 is not None:
            return RenderedDocument(note.document_key, note.document_sha256)
        document = await load_note_document(session, note)
    stored = await documents.keep(scope, "credit-notes", await asyncio.to_thread(render_credit_note, document))
    async with database.transaction(scope) as session:
        note = await get_credit_note(session, note_id, lock=True)
        if note.document_key is None:
            note.document_key, note.document_sha256 = stored.key, stored.sha256
    return stored


async def load_note_document(session: AsyncSession, note: CreditNoteRow) -> CreditNoteDocument:
    """What the note's document shows. Raises Conflict for one that has no number."""
    if note.finalized_at is None or note.credit_note_number is None:
        raise Conflict(
            "a document is made when the credit note is finalized", state=note.credit_note_status,
            possible=("finalize", "void") if note.credit_note_status == "DRAFT" else (),
        )  # fmt: skip
    invoice = await get_invoice(session, note.invoice_id)
    customer = await session.get_one(CustomerRow, note.customer_id)
    billed = {line.id: line_from_row(line) for line in await list_lines(session, invoice.id)}
    lines = await list_note_lines(session, note.id)
    return _document(note, invoice, customer, billed, lines)


def _document(
    note: CreditNoteRow,
    invoice: InvoiceRow,
    customer: CustomerRow,
    billed: dict[str, InvoiceLine],
    lines: Sequence[CreditNoteLineRow],
) -> CreditNoteDocument:
    assert note.finalized_at is not None
    assert invoice.finalized_at is not None
    return CreditNoteDocument(
        number=note.credit_note_number or "",
        invoice_number=invoice.invoice_number or "",
        issued_on=local_day(note.finalized_at, invoice.timezone),
        invoice_issued_on=local_day(invoice.finalized_at, invoice.timezone),
        effect=EFFECTS[CreditNoteType(note.credit_note_type)],
        seller=seller_of(invoice.seller),
        buyer=buyer_of(customer),
        currency=note.currency,
        zone=invoice.timezone,
        lines=tuple(DocumentLine(line.display_name, line.amount, period=_period(line, billed)) for line in lines),
        total=note.total_amount,
        tax=note.tax_amount,
        notes=(note.memo,) if note.memo else (),
    )


def _period(line: CreditNoteLineRow, billed: dict[str, InvoiceLine]) -> Period | None:
    known = billed.get(line.invoice_line_id or "")
    if line.derivation is not None:
        known = from_json(InvoiceLine, line.derivation)
    return None if known is None else Period(known.period.start, known.period.end)
