"""The answer to a cancellation: what was cancelled when, and what was credited for it."""

from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.outbox import wire_instant
from activities.payloads import invoice_payload
from billing.money import decimal_text, negated, total
from billing.terms import LineKind
from models.queries.invoice_lists import InvoiceFilter, lines_of, list_invoices, taxes_of
from models.queries.paging import Page
from models.scope import Scope
from models.tables import InvoiceLineRow, SubscriptionRow
from starter.api.context import utc_now
from starter.schemas.subscriptions import CancelSubscriptionRequest


async def cancellation_answer(
    session: AsyncSession, scope: Scope, row: SubscriptionRow, body: CancelSubscriptionRequest
) -> dict[str, Any]:
    """CancelSubscriptionResponse; the invoice of the cancellation is in it where there is one."""
    effective = row.cancelled_at or row.cancel_at or row.current_period_end
    ended = row.cancelled_at is not None
    answer: dict[str, Any] = {
        "subscription_id": row.id,
        "status": row.subscription_status,
        "cancellation_type": body.cancellation_type,
        "effective_date": wire_instant(effective),
        "reason": body.reason,
        "proration_details": [],
        "total_credit_amount": "0",
        "message": f"Subscription {'cancelled' if ended else 'will be cancelled'} at {wire_instant(effective)}",
        "processed_at": wire_instant(utc_now()),
    }
    if ended:
        answer |= await _final_invoice(session, scope, row)
    return answer


async def _final_invoice(session: AsyncSession, scope: Scope, row: SubscriptionRow) -> dict[str, Any]:
    wanted = InvoiceFilter(subscription_id=row.id, period_end_from=row.cancelled_at, period_end_to=row.cancelled_at)
    invoices, _ = await list_invoices(session, scope, Page(limit=1), wanted)
    if not invoices:
        return {}
    lines = (await lines_of(session, scope, [invoices[0].id]))[invoices[0].id]
    taxes = (await taxes_of(session, scope, [invoices[0].id]))[invoices[0].id]
    credits = [line for line in lines if line.kind == LineKind.proration_credit.value]
    return {
        "proration_invoice": invoice_payload(invoices[0], lines, taxes),
        "proration_details": [_detail(line) for line in credits],
        "total_credit_amount": decimal_text(negated(total(line.amount for line in credits))),
    }


def _detail(line: InvoiceLineRow) -> dict[str, Any]:
    return {
        "line_item_id": line.subscription_line_item_id or "",
        "price_id": line.price_id or "",
        "plan_name": line.plan_display_name,
        "credit_amount": decimal_text(negated(line.amount)),
        "charge_amount": "0",
        "description": line.display_name,
    }
