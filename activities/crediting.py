"""Credit notes as activities: what the workflow of the credited invoice asks for. Writing is in `credit_notes`."""

from dataclasses import dataclass
from datetime import datetime

from temporalio import activity

from activities.bookkeeping import remember_command
from activities.business_time import business_time
from activities.collection import collection_state
from activities.credit_notes import finalize_credit_note, void_credit_note
from activities.states import InvoiceState
from models.database import Database
from models.queries.credit_notes import get_credit_note
from models.queries.invoices import get_invoice
from models.scope import Scope


@dataclass(frozen=True, slots=True)
class FinalizeCreditNote:
    """Finalize a credit note of an invoice at business instant `now`."""

    scope: Scope
    invoice_id: str
    credit_note_id: str
    command_id: str
    now: datetime


@dataclass(frozen=True, slots=True)
class VoidCreditNote:
    """Void a credit note of an invoice at business instant `now`."""

    scope: Scope
    invoice_id: str
    credit_note_id: str
    command_id: str
    now: datetime


class CreditNoteActivities:
    """One transaction each, asked for by the invoice's workflow, whose state they answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="credit_notes.finalize")
    async def finalize(self, command: FinalizeCreditNote) -> InvoiceState:
        """The note takes effect. One that has is answered as it is. Raises Conflict, or Invalid for its amount."""
        async with self._database.transaction(command.scope) as session:
            row = await get_invoice(session, command.invoice_id, lock=True)
            if command.command_id not in row.seen_commands:
                note = await get_credit_note(session, command.credit_note_id, lock=True)
                now = await business_time(session, row.test_clock_id, command.now)
                await finalize_credit_note(session, row, note, now)
                remember_command(row, command.command_id)
            return await collection_state(session, row)

    @activity.defn(name="credit_notes.void")
    async def void(self, command: VoidCreditNote) -> InvoiceState:
        """The note has no effect any more. Raises Conflict for its state, or its invoice's."""
        async with self._database.transaction(command.scope) as session:
            row = await get_invoice(session, command.invoice_id, lock=True)
            if command.command_id not in row.seen_commands:
                note = await get_credit_note(session, command.credit_note_id, lock=True)
                now = await business_time(session, row.test_clock_id, command.now)
                await void_credit_note(session, row, note, now)
                remember_command(row, command.command_id)
            return await collection_state(session, row)
