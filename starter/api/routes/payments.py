"""Payments: record or charge, read, list, receipt."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from activities.invoice_documents import PDF, DocumentActivities
from activities.payloads import amount_remaining, payment_payload
from activities.receipts import NewPayment
from billing.errors import Conflict, Invalid
from billing.money import decimal_text
from models.queries.invoices import get_invoice
from models.queries.payment_lists import attempts_of, find_payment_by_key, invoice_numbers, list_payments
from models.queries.payments import find_provider_payment, get_payment
from models.tables import InvoiceRow, PaymentRow
from starter.api.context import Caller, CallerNow, Session, clients_of
from starter.api.routes.shared import bodies_answer, commands_of
from starter.api.transactions import CommandRoute, TransactionRoute, command_id_of, repeated_as
from starter.clients import required
from starter.schemas.invoices import CreatePaymentRequest, PaymentListParams
from starter.schemas.wire import json_answer

router = APIRouter(prefix="/payments", tags=["payments"], route_class=TransactionRoute)
commands = APIRouter(prefix="/payments", tags=["payments"], route_class=CommandRoute)


@commands.post("", status_code=201, summary="Pay an invoice")
async def create(body: CreatePaymentRequest, caller: CallerNow, request: Request) -> Response:
    """OFFLINE records what was received elsewhere; CARD charges all that remains, now.

    The same `idempotency_key` in the body answers the payment that it made.
    """
    database = clients_of(request).database
    async with database.transaction(caller.scope) as session:
        invoice = await get_invoice(session, body.destination_id)
        _check_currency(body, invoice)
        payment = await _known(session, caller, body)
    if payment is None:
        payment = await _offline(body, caller, request) if body.payment_method_type == "OFFLINE" else None
    if payment is None:
        payment = await _charge(body, invoice, caller, request)
    async with database.transaction(caller.scope) as session:
        return json_answer((await _bodies(session, caller, [payment]))[0], 201)


@router.get("", summary="List payments")
async def list_all(params: Annotated[PaymentListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first, with their attempts."""
    rows, total = await list_payments(session, caller.scope, params.page(), params.wanted())
    return bodies_answer(await _bodies(session, caller, rows), total, params)


@router.get("/{payment_id}", summary="Get a payment")
async def get(payment_id: str, caller: CallerNow, session: Session) -> Response:
    """The payment with its attempts."""
    return json_answer((await _bodies(session, caller, [await get_payment(session, payment_id)]))[0])


@commands.get("/{payment_id}/receipt", summary="The receipt of a payment as a PDF")
async def receipt(payment_id: str, caller: CallerNow, request: Request) -> Response:
    """Made once the payment has succeeded."""
    clients = clients_of(request)
    store = required(clients.object_store, "documents")
    stored = await DocumentActivities(clients.database, store).render_receipt(caller.scope, payment_id)
    headers = {"Content-Disposition": f'inline; filename="receipt-{payment_id}.pdf"', "ETag": f'"{stored.sha256}"'}
    return Response(await store.get(stored.key), headers=headers, media_type=PDF)


async def _known(session: AsyncSession, caller: Caller, body: CreatePaymentRequest) -> PaymentRow | None:
    """The payment that the body's key has made already."""
    if body.idempotency_key is None:
        return None
    row = await find_payment_by_key(session, caller.scope, body.idempotency_key)
    if row is not None and (row.destination_id, row.amount) != (body.destination_id, body.amount):
        raise Conflict(
            "idempotency_key was used for another payment; use a new one", state="used", field="idempotency_key"
        )
    return row


async def _offline(body: CreatePaymentRequest, caller: Caller, request: Request) -> PaymentRow:
    key = body.idempotency_key or repeated_as(request)
    new = NewPayment(body.amount, body.payment_method_type, key, body.metadata)
    return await commands_of(request).record_payment(caller.scope, body.destination_id, new)


async def _charge(body: CreatePaymentRequest, invoice: InvoiceRow, caller: Caller, request: Request) -> PaymentRow:
    """Collects what remains through the invoice's own workflow, which keeps attempts and retries in one place."""
    remaining = amount_remaining(invoice)
    if remaining and body.amount != remaining:
        raise Invalid(
            f"amount must be {decimal_text(remaining)}, all that remains: cards are not charged in parts",
            field="amount",
        )
    await commands_of(request).attempt_payment(caller.scope, invoice.id, command_id_of(request))
    async with clients_of(request).database.transaction(caller.scope) as session:
        payment = await find_provider_payment(session, invoice.id)
    if payment is None:
        raise Conflict(
            "no payment method can be charged: give the customer or the subscription a gateway_payment_method_id",
            state="no payment method",
        )
    return payment


def _check_currency(body: CreatePaymentRequest, invoice: InvoiceRow) -> None:
    if body.currency != invoice.currency:
        raise Invalid(f"currency must be {invoice.currency}, the invoice's; got {body.currency!r}", field="currency")


async def _bodies(session: AsyncSession, caller: Caller, rows: Sequence[PaymentRow]) -> list[dict[str, Any]]:
    attempts = await attempts_of(session, caller.scope, [row.id for row in rows])
    numbers = await invoice_numbers(session, caller.scope, [row.destination_id for row in rows])
    bodies = [payment_payload(row, attempts[row.id]) for row in rows]
    for row, body in zip(rows, bodies, strict=True):
        if row.destination_id in numbers:
            body["invoice_number"] = numbers[row.destination_id]
    return bodies
