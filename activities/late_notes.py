"""Late usage credited on the invoice that charged it: the credit notes of corrections that are made so.

Which these are is `billing.late_usage`'s, which lines a note has `billing.late_notes`'s. Works inside the caller's
transaction, on invoices that are locked, and commits nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import scope_of
from activities.credit_notes import NewCreditNote, NoteLine, finalize_credit_note, write_draft
from activities.late_usage import FrozenPeriod, LookBack, correction_id
from activities.outbox import TELL_INVOICE, enqueue
from billing.codec import to_json
from billing.credit_notes import CreditNoteReason
from billing.errors import InvariantBroken
from billing.invoice_lines import InvoiceLine, PeriodCorrection
from billing.late_notes import LateNote, late_notes
from models.ids import derived_id
from models.queries.invoices import get_invoice, list_lines
from models.tables import InvoiceLineRow, InvoiceRow

MEMO = "Usage of this invoice's period is known better by now."


async def issue_notes(
    session: AsyncSession, look_back: LookBack, found: Iterable[PeriodCorrection], at: datetime
) -> bool:
    """Issues the notes of the corrections in `found` that are made by them; whether there were any.

    To be called once the corrections are written down. Repeated in another transaction it meets the same notes.
    """
    periods = {period.invoice_id: period for period in look_back.periods}
    noted = [one for one in found if one.by_credit_note]
    for one in noted:
        await _issue(session, periods[one.invoice_id], one, at)
    return bool(noted)


async def _issue(session: AsyncSession, period: FrozenPeriod, one: PeriodCorrection, at: datetime) -> None:
    if period.balance is None:
        raise InvariantBroken(f"invoice {one.invoice_id} is not one that credit notes credit")
    row = await get_invoice(session, one.invoice_id, lock=True)
    billed = await list_lines(session, row.id)
    correction = correction_id(period)
    for note in late_notes(one, period.balance):
        new = _new_note(row, billed, note)
        note_id = derived_id("cn", correction, note.kind)
        draft = await write_draft(session, row, new, note.kind, note_id, at, usage_correction_id=correction)
        await finalize_credit_note(session, row, draft, at)
    await enqueue(session, scope_of(row), TELL_INVOICE, row.id)


def _new_note(row: InvoiceRow, billed: Sequence[InvoiceLineRow], note: LateNote) -> NewCreditNote:
    lines = tuple(
        NoteLine(amount, _credited_line(billed, line), line.display_name, derivation=to_json(line))
        for line, amount in note.lines
    )
    return NewCreditNote(row.id, CreditNoteReason.BILLING_ERROR, lines, note.kind, MEMO)


def _credited_line(billed: Sequence[InvoiceLineRow], line: InvoiceLine) -> str | None:
    """The first of the lines that charged for the usage; None where it was not charged for."""
    for each in billed:
        own = (each.subscription_line_item_id, each.period_start, each.period_end)
        if own == (line.line_item_id, line.period.start, line.period.end):
            return each.id
    return None
