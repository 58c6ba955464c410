"""What must hold when all is quiet again, whatever was killed before; and the counts that say so.

The judges are others than those who did the work: `billing/` alone for the invoices, the payment company's own books
for the money, the receiver for the webhooks.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import httpx
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from standardwebhooks import Webhook

from billing.ledger import ACCOUNTS_RECEIVABLE, TAX_PAYABLE, cash_in_transit
from billing.money import minus, total
from models.tables import (
    InvoiceLineRow,
    InvoiceRow,
    LedgerEntryRow,
    LedgerTransactionRow,
    OutboxRow,
    WebhookDeliveryRow,
    WebhookEventRow,
)
from tests.faults.client import Json
from tests.faults.story import Subscriber
from tests.faults.tenant import Tenant

QUIET_SECONDS = 150
NUMBER = re.compile(r"INV-(\d{6})-(\d{5})")
LINE = tuple[str, Decimal, Decimal, datetime, datetime]


@dataclass(frozen=True)
class Found:
    """A tenant's facts once all is quiet."""

    invoices: Sequence[InvoiceRow]
    lines: Mapping[str, list[LINE]]
    entries: Sequence[LedgerEntryRow]
    currencies: Mapping[str, str]
    """Ledger transaction -> its currency."""
    events: Sequence[WebhookEventRow]
    deliveries: Sequence[WebhookDeliveryRow]
    books: Mapping[str, list[Json]]
    """Invoice -> its charges in the payment company's own books."""
    received: Counter[str]
    """Webhook id -> how often the receiver got it, with a good signature."""


async def check_laws(tenant: Tenant) -> str:
    """Waits until nothing is left to do, then holds every law against what is there. Returns the counts in words."""
    await quiet(tenant)
    found = await _read(tenant)
    expected = await _one_invoice_a_period_as_billing_computes_it(tenant, found)
    _no_gap_in_numbers(found.invoices)
    charges = _one_successful_charge_an_invoice(found)
    _ledger_balances(found)
    _no_webhook_is_lost(found)
    for invoice in found.invoices:
        verified = await tenant.client.get(f"/invoices/{invoice.id}/verify")
        assert verified["verified"], verified
    repeats = found.received.total() - len(found.received)
    return (
        f"subscriptions {len(tenant.subscribers)}, events posted {tenant.posted}, requests repeated"
        f" {tenant.client.repeated}; invoices {len(found.invoices)} of {expected} expected, all as billing/ computes"
        f" them and all verified; charges {charges['attempts']}, successful {charges['succeeded']}, double 0;"
        f" ledger transactions {len(found.currencies)}, unbalanced 0; webhook events"
        f" {len(found.events)}, received {len(found.received)}, lost 0, more than once {repeats}"
    )


async def quiet(tenant: Tenant) -> None:
    """Until the outbox is empty, every invoice that is due is paid and has its document, and all webhooks arrived."""
    left: list[str] = []
    try:
        async with asyncio.timeout(QUIET_SECONDS):
            while left := await _left_to_do(tenant):  # noqa: ASYNC110 (several servers tell nobody)
                await asyncio.sleep(0.25)
    except TimeoutError:
        died = tenant.stack.died()
        raise AssertionError(f"still to do after {QUIET_SECONDS} s: {left[:20]}; dead: {died}") from None


async def _left_to_do(tenant: Tenant) -> list[str]:
    until = await business_times(tenant)
    async with tenant.database.transaction(tenant.scope) as session:
        invoices = await _invoices(session)
        waiting = (await session.exec(select(OutboxRow).where(col(OutboxRow.relayed_at).is_(None)))).all()
        pending = select(WebhookDeliveryRow).where(WebhookDeliveryRow.delivery_status != "delivered")
        deliveries = (await session.exec(pending)).all()
    left = [f"outbox {row.kind} {row.reference} {row.last_error}" for row in waiting]
    left += [f"delivery of {row.event_type} {row.last_error}" for row in deliveries]
    by_subscription = Counter(invoice.subscription_id for invoice in invoices)
    for subscriber in tenant.subscribers:
        missing = len(list(subscriber.due(until[subscriber.on_clock]))) - by_subscription[subscriber.subscription_id]
        left += [f"{missing} invoices of {subscriber.external_id}"] if missing > 0 else []
    for row in invoices:
        if row.invoice_status != "FINALIZED" or row.payment_status != "SUCCEEDED" or row.document_key is None:
            document = "with" if row.document_key else "without"
            left.append(f"{row.id} is {row.invoice_status}, {row.payment_status}, {document} document")
    return left


async def business_times(tenant: Tenant) -> dict[bool, datetime]:
    """What time it is for customers on the test clock (True) and for the others (False)."""
    now = datetime.now(UTC)
    return {True: await tenant.now() if tenant.clock_id else now, False: now}


async def _invoices(session: AsyncSession) -> Sequence[InvoiceRow]:
    query = select(InvoiceRow).where(InvoiceRow.invoice_status != "VOIDED")
    return (await session.exec(query.order_by(col(InvoiceRow.period_start), col(InvoiceRow.drafted_at)))).all()


async def _read(tenant: Tenant) -> Found:
    async with tenant.database.transaction(tenant.scope) as session:
        lines: dict[str, list[LINE]] = {}
        ordered = select(InvoiceLineRow).order_by(InvoiceLineRow.invoice_id, col(InvoiceLineRow.position))
        for row in (await session.exec(ordered)).all():
            line = (row.display_name, row.quantity, row.amount, row.period_start, row.period_end)
            lines.setdefault(row.invoice_id, []).append(line)
        transactions = (await session.exec(select(LedgerTransactionRow))).all()
        invoices = await _invoices(session)
        return Found(
            invoices=invoices,
            lines=lines,
            entries=(await session.exec(select(LedgerEntryRow))).all(),
            currencies={row.id: row.currency for row in transactions},
            events=(await session.exec(select(WebhookEventRow))).all(),
            deliveries=(await session.exec(select(WebhookDeliveryRow))).all(),
            books=await _books(tenant, {row.id for row in invoices}),
            received=_received(tenant),
        )


async def _books(tenant: Tenant, invoice_ids: set[str]) -> dict[str, list[Json]]:
    """Charges of the tenant's invoices, and of anything that claims to be an invoice of his."""
    async with httpx.AsyncClient(base_url=tenant.stack.provider_url, timeout=30) as provider:
        summary = (await provider.get("/books/summary")).json()
        charges = (await provider.get("/v1/charges")).json()["items"]
    books: dict[str, list[Json]] = {invoice_id: [] for invoice_id in invoice_ids}
    for charge in charges:
        if charge["metadata"].get("tenant_id") == tenant.scope.tenant_id:
            books.setdefault(charge["invoice_id"], []).append(charge)
    assert summary["invoices_charged_more_than_once"] == []
    return books


def _received(tenant: Tenant) -> Counter[str]:
    received: Counter[str] = Counter()
    for request in list(tenant.receiver.received.queue):
        if len(request.body) < int(request.headers["content-length"]):
            continue  # its sender was killed in the middle of it
        # Not `verify`, for which what came at the beginning of a long run is too old by now.
        name = request.headers["webhook-id"]
        sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
        signature = Webhook(tenant.endpoint_secret).sign(name, sent_at, request.body.decode())
        assert signature in request.headers["webhook-signature"].split()
        received[name] += 1
    return received


async def _one_invoice_a_period_as_billing_computes_it(tenant: Tenant, found: Found) -> int:
    """Every period that is over has one invoice, with the figures of `billing/`; nothing else has one."""
    until = await business_times(tenant)
    expected = 0
    of: dict[str | None, list[InvoiceRow]] = {}
    for row in found.invoices:
        of.setdefault(row.subscription_id, []).append(row)
    assert set(of) == {subscriber.subscription_id for subscriber in tenant.subscribers}
    for subscriber in tenant.subscribers:
        computed = _computed(subscriber, until[subscriber.on_clock])
        expected += len(computed)
        stored = [_as_computed(row, found.lines[row.id]) for row in of[subscriber.subscription_id]]
        assert sorted(stored, key=_order) == sorted(computed, key=_order), subscriber.external_id
    return expected


def _computed(subscriber: Subscriber, until: datetime) -> list[Json]:
    return [
        {
            "reason": invoice.reason.value,
            "start": invoice.period.start,
            "end": invoice.period.end,
            "lines": [
                (line.display_name, line.quantity, line.amount, line.period.start, line.period.end)
                for line in invoice.lines
            ],
            "subtotal": invoice.subtotal,
            "tax": invoice.total_tax,
            "total": invoice.total,
        }
        for invoice in subscriber.invoices(until)
    ]


def _as_computed(row: InvoiceRow, lines: list[LINE]) -> Json:
    return {
        "reason": row.billing_reason,
        "start": row.period_start,
        "end": row.period_end,
        "lines": lines,
        "subtotal": row.subtotal,
        "tax": row.total_tax,
        "total": row.total,
    }


def _order(invoice: Json) -> tuple[datetime, datetime, str]:
    return invoice["start"], invoice["end"], invoice["reason"]


def _no_gap_in_numbers(invoices: Sequence[InvoiceRow]) -> None:
    """In every month the numbers run from 1 to the count of its invoices."""
    months: dict[str, list[int]] = {}
    for row in invoices:
        match = NUMBER.fullmatch(row.invoice_number or "")
        assert match is not None, row.invoice_number
        months.setdefault(match[1], []).append(int(match[2]))
    for month, numbers in months.items():
        assert sorted(numbers) == list(range(1, len(numbers) + 1)), month


def _one_successful_charge_an_invoice(found: Found) -> Counter[str]:
    """At the payment company's own books: one successful charge, of the invoice's total, for each invoice."""
    counts: Counter[str] = Counter()
    totals = {row.id: (row.total, row.currency) for row in found.invoices}
    assert set(found.books) == set(totals)
    for invoice_id, charges in found.books.items():
        succeeded = [(Decimal(each["amount"]), each["currency"]) for each in charges if each["status"] == "succeeded"]
        assert succeeded == [totals[invoice_id]], (invoice_id, charges)
        counts["attempts"] += len(charges)
        counts["succeeded"] += len(succeeded)
    return counts


def _ledger_balances(found: Found) -> None:
    """Each transaction and each currency balance; receivable is 0, cash is what was charged, tax what was billed."""
    for transaction_id, currency in found.currencies.items():
        own = [entry for entry in found.entries if entry.transaction_id == transaction_id]
        assert {entry.currency for entry in own} == {currency}
        assert total(entry.debit for entry in own) == total(entry.credit for entry in own), transaction_id
    for currency in set(found.currencies.values()):
        billed = [row for row in found.invoices if row.currency == currency]
        assert _balance(found, ACCOUNTS_RECEIVABLE, currency) == 0
        assert _balance(found, cash_in_transit("sandbox"), currency) == total(row.total for row in billed)
        assert -_balance(found, TAX_PAYABLE, currency) == total(row.total_tax for row in billed)
    counted = Counter(entry.transaction_id for entry in found.entries)
    assert set(counted) == set(found.currencies)


def _balance(found: Found, account: str, currency: str) -> Decimal:
    own = [entry for entry in found.entries if (entry.account, entry.currency) == (account, currency)]
    return minus(total(entry.debit for entry in own), total(entry.credit for entry in own))


def _no_webhook_is_lost(found: Found) -> None:
    """Every event has reached the receiver, that of every finalized invoice among them, and is marked delivered."""
    announced = [event.entity_id for event in found.events if event.event_type == "invoice.update.finalized"]
    assert Counter(announced) == Counter(row.id for row in found.invoices)
    paid = [event.entity_id for event in found.events if event.event_type == "payment.success"]
    assert len(paid) == len(set(paid)) == len(found.invoices)
    assert set(found.received) == {event.id for event in found.events}
    assert {row.event_id for row in found.deliveries} == {event.id for event in found.events}
    assert {row.delivery_status for row in found.deliveries} == {"delivered"}
