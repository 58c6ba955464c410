"""Credit notes in the shape of the wire, from rows alone: what routes answer with and webhooks carry."""

from collections.abc import Sequence
from typing import Any

from activities.payloads import bookkeeping, when, without_none
from billing.codec import from_json
from billing.explain import explain_line
from billing.invoice_lines import InvoiceLine
from billing.money import decimal_text
from models.tables import CreditNoteLineRow, CreditNoteRow


def credit_note_payload(
    row: CreditNoteRow, lines: Sequence[CreditNoteLineRow] = (), zone: str = "UTC"
) -> dict[str, Any]:
    """CreditNoteResponse; `tax_amount`, `usage_correction_id` and a line's `explanation` (dates in `zone`) are ours."""
    body = without_none(
        {
            "id": row.id,
            "idempotency_key": row.idempotency_key,
            "invoice_id": row.invoice_id,
            "customer_id": row.customer_id,
            "subscription_id": row.subscription_id,
            "usage_correction_id": row.usage_correction_id,
            "credit_note_number": row.credit_note_number,
            "credit_note_status": row.credit_note_status,
            "credit_note_type": row.credit_note_type,
            "refund_status": "SUCCEEDED" if _is_refunded(row) else None,
            "reason": row.reason,
            "memo": row.memo,
            "currency": row.currency,
            "total_amount": decimal_text(row.total_amount),
            "tax_amount": decimal_text(row.tax_amount),
            "finalized_at": when(row.finalized_at),
            "voided_at": when(row.voided_at),
            "metadata": row.note_metadata,
            **bookkeeping(row),
        }
    )
    if lines:
        body["line_items"] = [_line(line, zone) for line in lines]
    return body


def _is_refunded(row: CreditNoteRow) -> bool:
    return (row.credit_note_type, row.credit_note_status) == ("REFUND", "FINALIZED")


def _line(line: CreditNoteLineRow, zone: str) -> dict[str, Any]:
    told = None if line.derivation is None else explain_line(from_json(InvoiceLine, line.derivation), zone)
    return without_none(
        {
            "id": line.id,
            "credit_note_id": line.credit_note_id,
            "invoice_line_item_id": line.invoice_line_id,
            "display_name": line.display_name,
            "amount": decimal_text(line.amount),
            "currency": line.currency,
            "explanation": told,
            "metadata": line.line_metadata,
            **bookkeeping(line),
        }
    )
