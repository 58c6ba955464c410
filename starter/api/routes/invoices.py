"""Invoices: read, search, explain, verify, document, finalize, void, collect."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from activities.draft_previews import preview_invoice
from activities.invoice_documents import PDF, DocumentActivities, RenderInvoice
from activities.invoice_explanations import explain_draft, explain_invoice
from activities.invoices import verify_invoice
from activities.payloads import amount_remaining, invoice_payload
from activities.receipts import NewPayment
from models.queries.invoice_lists import InvoiceFilter, customers_of, lines_of, list_invoices, taxes_of
from models.queries.invoices import get_invoice
from models.tables import InvoiceRow
from starter.api.context import Caller, CallerNow, Now, Session, clients_of
from starter.api.routes.shared import bodies_answer, commands_of, named_customers
from starter.api.transactions import CommandRoute, TransactionRoute, command_id_of, repeated_as
from starter.clients import required
from starter.schemas.customers import CustomerAnswer
from starter.schemas.invoices import (
    InvoiceListParams,
    InvoiceSearch,
    UpdatePaymentStatusRequest,
    VoidInvoiceRequest,
)
from starter.schemas.wire import ListParams, Message, json_answer

LINK_LIFETIME = timedelta(hours=1)
router = APIRouter(prefix="/invoices", tags=["invoices"], route_class=TransactionRoute)
commands = APIRouter(prefix="/invoices", tags=["invoices"], route_class=CommandRoute)


@router.get("", summary="List invoices")
async def list_all(params: Annotated[InvoiceListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first; `expand=customer` adds the customers."""
    ids = await named_customers(session, caller.scope, params.customer_id, params.external_customer_id)
    return await _list(params, params.wanted(ids), params.skip_line_items, caller, session)


@router.post("/search", summary="Search invoices")
async def search(body: InvoiceSearch, caller: CallerNow, session: Session) -> Response:
    """The list with filters and sorting in the body."""
    ids = await named_customers(session, caller.scope, body.customer_id, body.external_customer_id)
    return await _list(body, body.wanted(ids), body.skip_line_items, caller, session)


@commands.get("/{invoice_id}", summary="Get an invoice")
async def get(invoice_id: str, caller: CallerNow, request: Request, now: Now) -> Response:
    """The invoice with its lines, taxes and customer; a draft with the usage of now, which a list omits."""
    clients = clients_of(request)
    usage = required(clients.usage, "clickhouse")
    previewed = await preview_invoice(clients.database, usage, caller.scope, invoice_id, now)
    async with clients.database.transaction(caller.scope) as session:
        row = await get_invoice(session, invoice_id)
        body = (await _bodies(session, caller, [row], ListParams(expand="customer")))[0]
    if previewed is not None and row.invoice_status == "DRAFT":
        body |= invoice_payload(previewed.row, previewed.lines, previewed.taxes)
    return json_answer(body)


@commands.get("/{invoice_id}/explain", summary="Why this amount")
async def explain(invoice_id: str, caller: CallerNow, request: Request, now: Now) -> Response:
    """`text` in words, line by line and tier by tier; `derivation` of each line as it is stored.

    A draft is explained with the usage of now.
    """
    clients = clients_of(request)
    usage = required(clients.usage, "clickhouse")
    previewed = await preview_invoice(clients.database, usage, caller.scope, invoice_id, now)
    if previewed is not None:
        return json_answer(explain_draft(previewed))
    async with clients.database.transaction(caller.scope) as session:
        return json_answer(await explain_invoice(session, invoice_id))


@router.get("/{invoice_id}/verify", summary="Compute an invoice again and compare")
async def verify(invoice_id: str, session: Session) -> Response:
    """From the inputs stored with it, to the last digit: `verified`, and every difference."""
    differences = await verify_invoice(session, invoice_id)
    return json_answer({"invoice_id": invoice_id, "verified": not differences, "differences": list(differences)})


@commands.get("/{invoice_id}/pdf", summary="The invoice as a PDF")
async def pdf(
    invoice_id: str, caller: CallerNow, request: Request, now: Now, url: bool = False, force_generate: bool = False
) -> Response:
    """The document itself, or with `url=true` a signed link to it that lives for an hour."""
    clients = clients_of(request)
    store = required(clients.object_store, "documents")
    documents = DocumentActivities(clients.database, store)
    stored = await documents.render(RenderInvoice(caller.scope, invoice_id, force_generate))
    async with clients.database.transaction(caller.scope) as session:
        filename = f"{(await get_invoice(session, invoice_id)).invoice_number}.pdf"
    if url:
        return json_answer({"presigned_url": await store.signed_url(stored.key, LINK_LIFETIME, now, filename)})
    headers = {"Content-Disposition": f'inline; filename="{filename}"', "ETag": f'"{stored.sha256}"'}
    return Response(await store.get(stored.key), headers=headers, media_type=PDF)


@commands.post("/{invoice_id}/finalize", response_model=Message, summary="Finalize a draft now")
async def finalize(invoice_id: str, caller: CallerNow, request: Request) -> Response:
    """Usage freezes, the number is taken, collection begins, without waiting for the end of the grace."""
    await commands_of(request).finalize_invoice(caller.scope, invoice_id, command_id_of(request))
    return json_answer(Message(message="Invoice finalized successfully"))


@commands.post("/{invoice_id}/void", response_model=Message, summary="Void an invoice")
async def void(
    invoice_id: str, caller: CallerNow, request: Request, body: VoidInvoiceRequest | None = None
) -> Response:
    """It keeps its number and owes nothing any more; what was paid goes to the customer's prepaid wallet."""
    reason = body.reason if body else ""
    await commands_of(request).void_invoice(caller.scope, invoice_id, reason, command_id_of(request))
    return json_answer(Message(message="Invoice voided successfully"))


@commands.post("/{invoice_id}/payment/attempt", response_model=Message, summary="Try to collect an invoice now")
async def attempt_payment(invoice_id: str, caller: CallerNow, request: Request) -> Response:
    """Charges the payment method at once, whatever the retry schedule says."""
    row = await commands_of(request).attempt_payment(caller.scope, invoice_id, command_id_of(request))
    return json_answer(Message(message=f"Payment attempted; the invoice's payment_status is {row.payment_status}"))


@commands.put("/{invoice_id}/payment", summary="Record a payment received elsewhere")
async def record_payment(
    invoice_id: str, body: UpdatePaymentStatusRequest, caller: CallerNow, request: Request
) -> Response:
    """Cash or a bank transfer; the amount defaults to all that remains, and what is beyond that goes to the wallet."""
    database = clients_of(request).database
    async with database.transaction(caller.scope) as session:
        remaining = amount_remaining(await get_invoice(session, invoice_id))
    amount = remaining if body.amount is None else body.amount
    new = NewPayment(amount, idempotency_key=repeated_as(request))
    await commands_of(request).record_payment(caller.scope, invoice_id, new)
    async with database.transaction(caller.scope) as session:
        row = await get_invoice(session, invoice_id)
        return json_answer((await _bodies(session, caller, [row]))[0])


async def _list(
    params: ListParams, wanted: InvoiceFilter, skip_lines: bool, caller: Caller, session: AsyncSession
) -> Response:
    rows, total = await list_invoices(session, caller.scope, params.page(), wanted)
    return bodies_answer(await _bodies(session, caller, rows, params, skip_lines), total, params)


async def _bodies(
    session: AsyncSession, caller: Caller, rows: Sequence[InvoiceRow], params: ListParams | None = None,
    skip_lines: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """The invoices with their lines and taxes, and with the customer where `expand` asks for it."""
    ids = [] if skip_lines else [row.id for row in rows]
    lines, taxes = await lines_of(session, caller.scope, ids), await taxes_of(session, caller.scope, ids)
    bodies = [invoice_payload(row, lines.get(row.id, ()), taxes.get(row.id, ())) for row in rows]
    if params is not None and params.expands("customer"):
        customers = await customers_of(session, caller.scope, [row.customer_id for row in rows])
        for row, body in zip(rows, bodies, strict=True):
            body["customer"] = CustomerAnswer.of(customers[row.customer_id]).wire()
    return bodies
