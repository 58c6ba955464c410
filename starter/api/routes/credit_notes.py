"""Credit notes: create, read, search, finalize, void."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from activities.credit_note_documents import render_note
from activities.credit_note_payloads import credit_note_payload
from activities.credit_notes import create_credit_note
from activities.invoice_documents import PDF, DocumentActivities
from billing.credit_notes import CreditNoteStatus
from billing.errors import Conflict
from models.queries.credit_notes import CreditNoteFilter, get_credit_note, lines_of_notes, list_credit_notes
from models.queries.invoice_lists import zones_of
from models.scope import Scope
from models.tables import CreditNoteRow
from starter.api.context import Caller, CallerNow, Now, Session, clients_of
from starter.api.routes.shared import bodies_answer, commands_of, named_customers
from starter.api.transactions import CommandRoute, TransactionRoute, command_id_of, repeated_as
from starter.clients import required
from starter.credit_note_commands import CreditNoteCommands
from starter.schemas.credit_notes import (
    CreateCreditNoteRequest,
    CreditNoteListParams,
    CreditNoteSearch,
    FinalizeCreditNoteRequest,
)
from starter.schemas.wire import ListParams, json_answer

LINK_LIFETIME = timedelta(hours=1)
router = APIRouter(prefix="/creditnotes", tags=["credit notes"], route_class=TransactionRoute)
commands = APIRouter(prefix="/creditnotes", tags=["credit notes"], route_class=CommandRoute)


@commands.post("", status_code=201, summary="Credit an invoice")
async def create(body: CreateCreditNoteRequest, caller: CallerNow, request: Request, now: Now) -> Response:
    """An ADJUSTMENT lowers what is left to pay, a REFUND gives what was paid as credit of the customer's wallet.

    At most what is left of the invoice, and of each line with its tax. The same `idempotency_key` answers the note that
    it made.
    """
    new = body.new_note(repeated_as(request))
    async with clients_of(request).database.transaction(caller.scope) as session:
        note = await create_credit_note(session, caller.scope, new, now, caller.key_id)
    refused = None
    if body.process_credit_note and note.credit_note_status == CreditNoteStatus.DRAFT:
        try:
            await _commands(request).finalize(caller.scope, note.id, command_id_of(request))
        except Conflict as conflict:
            refused = conflict
    answer = await _body(request, caller.scope, note.id)
    if refused is not None and answer["credit_note_status"] == CreditNoteStatus.DRAFT:
        # Somebody has paid or credited the invoice in between. Not so where the same request has finalized the note.
        refused.message += f"; credit note {note.id} stays a DRAFT: void it, or finalize it later"
        raise refused
    return json_answer(answer, 201)


@router.get("", summary="List credit notes")
async def list_all(params: Annotated[CreditNoteListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first."""
    ids = await named_customers(session, caller.scope, params.customer_id, params.external_customer_id)
    return await _list(params, params.wanted(ids), caller, session)


@router.post("/search", summary="Search credit notes")
async def search(body: CreditNoteSearch, caller: CallerNow, session: Session) -> Response:
    """The list with filters and sorting in the body."""
    ids = await named_customers(session, caller.scope, body.customer_id, body.external_customer_id)
    return await _list(body, body.wanted(ids), caller, session)


@router.get("/{credit_note_id}", summary="Get a credit note")
async def get(credit_note_id: str, caller: CallerNow, session: Session) -> Response:
    """With its lines; one for usage that was corrected says why, step by step."""
    note = await get_credit_note(session, credit_note_id)
    return json_answer((await _bodies(session, caller.scope, [note]))[0])


@commands.post("/{credit_note_id}/finalize", summary="Finalize a credit note")
async def finalize(
    credit_note_id: str, caller: CallerNow, request: Request, body: FinalizeCreditNoteRequest | None = None
) -> Response:
    """It takes its number and its effect."""
    await _commands(request).finalize(caller.scope, credit_note_id, command_id_of(request))
    return json_answer(await _body(request, caller.scope, credit_note_id))


@commands.post("/{credit_note_id}/void", summary="Void a credit note")
async def void(credit_note_id: str, caller: CallerNow, request: Request) -> Response:
    """A draft is dropped; what an adjustment took off an invoice that still waits for money is owed again."""
    await _commands(request).void(caller.scope, credit_note_id, command_id_of(request))
    return json_answer(await _body(request, caller.scope, credit_note_id))


@commands.get("/{credit_note_id}/pdf", summary="The credit note as a PDF")
async def pdf(credit_note_id: str, caller: CallerNow, request: Request, now: Now, url: bool = False) -> Response:
    """The document itself, or with `url=true` a signed link to it that lives for an hour."""
    clients = clients_of(request)
    store = required(clients.object_store, "documents")
    documents = DocumentActivities(clients.database, store)
    stored = await render_note(clients.database, documents, caller.scope, credit_note_id)
    async with clients.database.transaction(caller.scope) as session:
        filename = f"{(await get_credit_note(session, credit_note_id)).credit_note_number}.pdf"
    if url:
        return json_answer({"presigned_url": await store.signed_url(stored.key, LINK_LIFETIME, now, filename)})
    headers = {"Content-Disposition": f'inline; filename="{filename}"', "ETag": f'"{stored.sha256}"'}
    return Response(await store.get(stored.key), headers=headers, media_type=PDF)


def _commands(request: Request) -> CreditNoteCommands:
    return CreditNoteCommands(commands_of(request), clients_of(request).database)


async def _list(params: ListParams, wanted: CreditNoteFilter, caller: Caller, session: AsyncSession) -> Response:
    rows, total = await list_credit_notes(session, caller.scope, params.page(), wanted)
    return bodies_answer(await _bodies(session, caller.scope, rows), total, params)


async def _body(request: Request, scope: Scope, note_id: str) -> dict[str, Any]:
    async with clients_of(request).database.transaction(scope) as session:
        return (await _bodies(session, scope, [await get_credit_note(session, note_id)]))[0]


async def _bodies(session: AsyncSession, scope: Scope, rows: Sequence[CreditNoteRow]) -> list[dict[str, Any]]:
    lines = await lines_of_notes(session, scope, [row.id for row in rows])
    zones = await zones_of(session, scope, [row.invoice_id for row in rows])
    return [credit_note_payload(row, lines[row.id], zones[row.invoice_id]) for row in rows]
