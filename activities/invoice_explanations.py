"""Why an invoice says what it says: the stored derivations, and the words that `billing/explain` makes of them."""

from collections.abc import Sequence
from typing import Any

from msgspec import structs
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.draft_previews import PreviewedInvoice
from activities.drafting import inputs_from_row, stored_invoice
from billing import explain
from billing.credit_notes import CreditNoteType
from billing.invoice_states import InvoiceStatus
from billing.invoices import Invoice, InvoiceInputs
from billing.money import decimal_text
from models.queries.credit_notes import list_finalized_notes
from models.queries.invoices import get_invoice, list_lines
from models.tables import CreditNoteRow, InvoiceLineRow, InvoiceRow


async def explain_invoice(session: AsyncSession, invoice_id: str) -> dict[str, Any]:
    """The invoice in words (dates in its customer's zone), and each line with its derivation as stored.

    Raises NotFound.
    """
    row = await get_invoice(session, invoice_id)
    lines = await list_lines(session, invoice_id)
    notes = [_credited(note) for note in await list_finalized_notes(session, invoice_id)]
    return _explained(row, lines, inputs_from_row(row), stored_invoice(row, lines), notes)


def explain_draft(previewed: PreviewedInvoice) -> dict[str, Any]:
    """The same of a draft, as it would be finalized now: what is stored of it counts no usage."""
    return _explained(previewed.row, previewed.lines, previewed.inputs, previewed.invoice, [])


def _explained(
    row: InvoiceRow, lines: Sequence[InvoiceLineRow], inputs: InvoiceInputs, invoice: Invoice, notes: list[str]
) -> dict[str, Any]:
    stored = structs.replace(invoice, status=InvoiceStatus(row.invoice_status))
    return {
        "invoice_id": row.id,
        **({"invoice_number": row.invoice_number} if row.invoice_number else {}),
        "invoice_status": row.invoice_status,
        "currency": row.currency,
        "total": decimal_text(row.total),
        "text": [*explain.explain_invoice(stored, inputs, row.timezone), *notes],
        "sums": [*explain.explain_sums(stored), *notes] if lines else [],
        "lines": [
            {
                "id": line.id,
                "display_name": line.display_name,
                "amount": decimal_text(line.amount),
                **explain.document_of(explained),
                "derivation": line.derivation,
            }
            for line, explained in zip(lines, explain.explanations(stored, inputs, row.timezone), strict=True)
        ],
    }


def _credited(note: CreditNoteRow) -> str:
    """What a credit note did to the invoice since."""
    amount = f"{decimal_text(note.total_amount)} {note.currency}"
    adjusts = note.credit_note_type == CreditNoteType.ADJUSTMENT
    effect = f"{amount} off what is left to pay" if adjusts else f"{amount} given back as credit of the wallet"
    return f"Credit note {note.credit_note_number}: {effect} ({note.reason})"
