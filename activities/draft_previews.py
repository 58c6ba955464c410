"""Drafts as they would be finalized now: with the usage that is known, and what late usage adds. Nothing is written.

A stored draft counts usage as 0, since it is read once, when the invoice is finalized. Whoever looks at a draft before
that is shown this. Credits are drawn at finalizing only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from activities.bookkeeping import scope_of
from activities.business_time import business_time
from activities.drafting import compute_rows, inputs_from_row
from activities.invoice_usage import known_until, read_quantities
from activities.late_previews import PreviewedCorrections
from activities.late_usage import look_back_of_invoice
from activities.thresholds import billed_so_far
from activities.usage_reader import UsageReader
from billing.invoices import Invoice, InvoiceInputs, build_invoice
from models.database import Database
from models.queries.invoices import get_invoice, list_drafts_of
from models.scope import Scope
from models.tables import InvoiceLineRow, InvoiceRow, InvoiceTaxRow


@dataclass(frozen=True, slots=True)
class PreviewedDraft:
    """A stored draft, and what it would be."""

    row: InvoiceRow
    inputs: InvoiceInputs
    invoice: Invoice


@dataclass(frozen=True, slots=True)
class PreviewedInvoice:
    """The rows that a draft would have, what it follows from, and what it comes to."""

    row: InvoiceRow
    lines: list[InvoiceLineRow]
    taxes: list[InvoiceTaxRow]
    inputs: InvoiceInputs
    invoice: Invoice


async def preview_drafts(
    database: Database, usage: UsageReader, drafts: Sequence[InvoiceRow], at: datetime
) -> list[PreviewedDraft]:
    """Drafts of one customer with the usage known at `at`, in business time. Raises ClickHouseError.

    In the order in which they will be finalized: what an earlier one corrects, a later one does not correct again.
    """
    anew = PreviewedCorrections(database, usage, at)
    found = []
    for draft in sorted(drafts, key=lambda each: each.billing_sequence or 0):
        inputs = inputs_from_row(draft)
        async with database.transaction(scope_of(draft)) as session:
            look_back = await look_back_of_invoice(session, draft, inputs)
            billed = await billed_so_far(session, draft, inputs.due)
        corrections = await anew.of(look_back)
        quantities = await read_quantities(database, usage, draft, inputs, at) if inputs.due.has_usage else ()
        inputs = replace(inputs, usage=quantities, corrections=corrections, billed=billed)
        invoice = build_invoice(inputs)
        anew.note(corrections, invoice.lines)
        found.append(PreviewedDraft(draft, inputs, invoice))
    return found


async def preview_invoice(
    database: Database, usage: UsageReader, scope: Scope, invoice_id: str, now: datetime
) -> PreviewedInvoice | None:
    """A draft as it would be; None for an invoice that is none. Raises NotFound, ClickHouseError."""
    async with database.transaction(scope) as session:
        row = await get_invoice(session, invoice_id)
        if row.invoice_status != "DRAFT":
            return None
        drafts = [row] if row.subscription_id is None else await list_drafts_of(session, row.subscription_id)
        at = await business_time(session, row.test_clock_id, now)
    found = await preview_drafts(database, usage, drafts, known_until(at, at if row.test_clock_id else None))
    draft = next((each for each in found if each.row.id == invoice_id), None)
    if draft is None:  # finalized between the two looks
        return None
    shown = InvoiceRow(**draft.row.model_dump())
    async with database.transaction(scope) as session:
        lines, taxes = await compute_rows(session, scope, shown, draft.inputs, draft.invoice)
    return PreviewedInvoice(shown, lines, taxes, draft.inputs, draft.invoice)
