"""The invoice's PDF: what it shows is read from Postgres, drawn, and stored under the hash of its bytes."""

import asyncio
import hashlib
from dataclasses import dataclass

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.document_content import invoice_document, receipt_document
from activities.documents import InvoiceDocument, ReceiptDocument, render_invoice, render_receipt
from activities.drafting import line_from_row
from activities.ports import ObjectStore
from billing.errors import Conflict
from models.database import Database
from models.queries.invoices import get_invoice, list_lines, list_snapshots, list_taxes
from models.queries.payments import get_payment, list_attempts_of_payment
from models.scope import Scope
from models.tables import CustomerRow, InvoiceRow, PaymentRow

PDF = "application/pdf"


@dataclass(frozen=True, slots=True)
class RenderInvoice:
    """Make the document of a finalized invoice; `force` draws it again (the same content gives the same bytes)."""

    scope: Scope
    invoice_id: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class RenderedDocument:
    """Where the document lies and what it is."""

    key: str
    sha256: str


class DocumentActivities:
    """Draws and stores documents. Drawing takes CPU, so it runs in a thread of its own queue's worker."""

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._database = database
        self._store = store

    @activity.defn(name="documents.render")
    async def render(self, command: RenderInvoice) -> RenderedDocument:
        """The invoice's PDF, made once. Raises Conflict for an invoice that is not finalized."""
        async with self._database.transaction(command.scope) as session:
            row = await get_invoice(session, command.invoice_id)
            if row.document_key is not None and row.document_sha256 is not None and not command.force:
                return RenderedDocument(row.document_key, row.document_sha256)
            document = await load_invoice_document(session, row)
        data = await asyncio.to_thread(render_invoice, document)
        stored = await self.keep(command.scope, "invoices", data)
        async with self._database.transaction(command.scope) as session:
            row = await get_invoice(session, command.invoice_id, lock=True)
            row.document_key, row.document_sha256 = stored.key, stored.sha256
        return stored

    async def render_receipt(self, scope: Scope, payment_id: str) -> RenderedDocument:
        """The receipt of a succeeded payment, made when it is first asked for; the same bytes each time."""
        async with self._database.transaction(scope) as session:
            document = await load_receipt_document(session, payment_id)
        return await self.keep(scope, "receipts", await asyncio.to_thread(render_receipt, document))

    async def keep(self, scope: Scope, kind: str, data: bytes) -> RenderedDocument:
        """Stores a document under the hash of its bytes."""
        digest = hashlib.sha256(data).hexdigest()
        key = f"{scope.tenant_id}/{scope.environment_id}/{kind}/{digest}.pdf"
        await self._store.put(key, data, PDF)
        return RenderedDocument(key, digest)


async def load_invoice_document(session: AsyncSession, row: InvoiceRow) -> InvoiceDocument:
    """What the invoice's document shows. Raises Conflict for an invoice that is not finalized."""
    if row.finalized_at is None:
        raise Conflict(
            "a document is made when the invoice is finalized", state=row.invoice_status, possible=("finalize",)
        )
    customer = await session.get_one(CustomerRow, row.customer_id)
    lines = [line_from_row(line) for line in await list_lines(session, row.id)]
    taxes = list(await list_taxes(session, row.id))
    snapshots = list(await list_snapshots(session, row.id))
    return invoice_document(row, customer, lines, taxes, snapshots)


async def load_receipt_document(session: AsyncSession, payment_id: str) -> ReceiptDocument:
    """What a payment's receipt shows. Raises Conflict for a payment that has not succeeded."""
    payment: PaymentRow = await get_payment(session, payment_id)
    if payment.succeeded_at is None:
        raise Conflict("a receipt follows a payment that has succeeded", state=payment.payment_status)
    invoice = await get_invoice(session, payment.destination_id)
    customer = await session.get_one(CustomerRow, payment.customer_id)
    attempts = await list_attempts_of_payment(session, payment_id)
    return receipt_document(payment, invoice, customer, list(attempts))
