"""Commands on credit notes: through the workflow of the invoice that they credit, as long as it has one."""

from activities.bookkeeping import remember_command
from activities.credit_notes import finalize_credit_note, void_credit_note
from activities.invoice_states import invoice_state
from activities.test_clocks import business_now
from billing.credit_notes import CreditNoteStatus, require_draft_note
from billing.errors import Conflict
from models.database import Database
from models.queries.credit_notes import get_credit_note
from models.queries.invoices import get_invoice
from models.scope import Scope
from models.tables import CreditNoteRow, InvoiceRow
from starter.commands import LONG_AGO, Commands, new_command_id
from workflows.contracts import CreditNoteCommand

DO = {"finalize": finalize_credit_note, "void": void_credit_note}


class CreditNoteCommands:
    """Finalizes and voids credit notes. Raises BillingErrors, or Unavailable when no worker answers in time."""

    def __init__(self, commands: Commands, database: Database) -> None:
        self._commands = commands
        self._database = database

    async def finalize(self, scope: Scope, note_id: str, command_id: str | None = None) -> CreditNoteRow:
        """The note takes its number and its effect."""
        note, invoice = await self._read(scope, note_id)
        if command_id not in invoice.seen_commands:
            require_draft_note(CreditNoteStatus(note.credit_note_status))
        return await self._carry_out(scope, note, "finalize", command_id)

    async def void(self, scope: Scope, note_id: str, command_id: str | None = None) -> CreditNoteRow:
        """The note has no effect any more."""
        note, _ = await self._read(scope, note_id)
        return await self._carry_out(scope, note, "void", command_id)

    async def _carry_out(self, scope: Scope, note: CreditNoteRow, verb: str, command_id: str | None) -> CreditNoteRow:
        command = CreditNoteCommand(command_id or new_command_id(), LONG_AGO, note.id)
        _, invoice = await self._read(scope, note.id)
        if command.command_id in invoice.seen_commands:
            return note
        if not invoice_state(invoice).is_closed:
            try:
                await self._commands.send_to_invoice(invoice, f"{verb}_credit_note", command)
                return (await self._read(scope, note.id))[0]
            except Conflict as conflict:  # the invoice may have been paid in the meantime: then it has no workflow
                if not invoice_state((await self._read(scope, note.id))[1]).is_closed:
                    raise conflict
        return await self._of_closed(scope, note.id, verb, command.command_id)

    async def _of_closed(self, scope: Scope, note_id: str, verb: str, command_id: str) -> CreditNoteRow:
        """A paid invoice has no workflow any more: nothing was to happen to it by itself."""
        async with self._database.transaction(scope) as session:
            invoice_id = (await get_credit_note(session, note_id)).invoice_id
        async with self._database.transaction(scope) as session:
            row = await get_invoice(session, invoice_id, lock=True)
            note = await get_credit_note(session, note_id, lock=True)
            if command_id not in row.seen_commands:
                await DO[verb](session, row, note, await business_now(session, row.test_clock_id))
                remember_command(row, command_id)
            return note

    async def _read(self, scope: Scope, note_id: str) -> tuple[CreditNoteRow, InvoiceRow]:
        async with self._database.transaction(scope) as session:
            note = await get_credit_note(session, note_id)
            return note, await get_invoice(session, note.invoice_id)
