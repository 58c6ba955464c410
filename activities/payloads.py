"""Subscriptions, invoices and payments in the shape of the wire, from rows alone.

Routes answer with these and webhooks carry them, so that both say the same. Amounts are decimal text without trailing
zeros in major units; instants RFC 3339 in UTC. Keys that the wire omits when empty are left out.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from activities.outbox import wire_instant
from billing.collection import beyond_owed, remaining
from billing.invoice_states import InvoiceStatus
from billing.money import decimal_text
from models.tables import (
    CustomerRow,
    InvoiceLineRow,
    InvoiceRow,
    InvoiceTaxRow,
    PaymentAttemptRow,
    PaymentRow,
    SubscriptionLineItemRow,
    SubscriptionRow,
)
from models.tables.base import Entity


def when(value: datetime | None) -> str | None:
    """RFC 3339, or None."""
    return None if value is None else wire_instant(value)


def _maybe(value: Decimal | None) -> str | None:
    return None if value is None else decimal_text(value)


def bookkeeping(row: Entity) -> dict[str, Any]:
    """The columns that every entity of the wire format has."""
    return {
        "tenant_id": row.tenant_id,
        "environment_id": row.environment_id,
        "status": row.status,
        "created_at": wire_instant(row.created_at),
        "updated_at": wire_instant(row.updated_at),
        "created_by": row.created_by,
        "updated_by": row.updated_by,
    }


def without_none(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what is absent."""
    return {key: value for key, value in body.items() if value is not None}


def subscription_payload(row: SubscriptionRow, lines: Sequence[SubscriptionLineItemRow] = ()) -> dict[str, Any]:
    """SubscriptionResponse. `cancel_at`, `trial_start` and `trial_end` are null rather than absent, as on the wire."""
    body = without_none(
        {
            "id": row.id,
            "lookup_key": row.lookup_key,
            "customer_id": row.customer_id,
            "plan_id": row.plan_id,
            "subscription_status": row.subscription_status,
            "subscription_type": "standalone",
            "currency": row.currency,
            "timezone": row.timezone,
            "billing_anchor": when(row.billing_anchor),
            "billing_cycle": row.billing_cycle,
            "billing_cadence": row.billing_cadence,
            "billing_period": row.billing_period,
            "billing_period_count": row.billing_period_count,
            "start_date": when(row.start_date),
            "end_date": when(row.end_date),
            "current_period_start": when(row.current_period_start),
            "current_period_end": when(row.current_period_end),
            "cancelled_at": when(row.cancelled_at),
            "cancel_at_period_end": row.cancel_at_period_end,
            "pause_status": "none",
            "collection_method": row.collection_method,
            "payment_behavior": row.payment_behavior,
            "payment_terms": row.payment_terms,
            "auto_invoice_threshold": _maybe(row.auto_invoice_threshold),
            "gateway_payment_method_id": row.gateway_payment_method_id,
            "proration_behavior": row.proration_behavior,
            "next_action_at": when(row.next_action_at),
            "needs_attention": row.needs_attention,
            "metadata": row.subscription_metadata,
            "version": row.version,
            **bookkeeping(row),
        }
    )
    body |= {"cancel_at": when(row.cancel_at), "trial_start": when(row.trial_start), "trial_end": when(row.trial_end)}
    if lines:
        body["line_items"] = [line_item_payload(line) for line in lines]
    return body


def line_item_payload(line: SubscriptionLineItemRow) -> dict[str, Any]:
    """One line item of a subscription."""
    return without_none(
        {
            "id": line.id,
            "subscription_id": line.subscription_id,
            "customer_id": line.customer_id,
            "entity_id": line.entity_id,
            "entity_type": line.entity_type,
            "plan_display_name": line.plan_display_name,
            "price_id": line.price_id,
            "price_type": line.price_type,
            "meter_id": line.meter_id,
            "meter_display_name": line.meter_display_name or None,
            "display_name": line.display_name,
            "quantity": decimal_text(line.quantity),
            "currency": line.currency,
            "billing_period": line.billing_period,
            "billing_period_count": line.billing_period_count,
            "invoice_cadence": line.invoice_cadence,
            "start_date": when(line.start_date),
            "end_date": when(line.end_date),
            "metadata": line.line_metadata,
            **bookkeeping(line),
        }
    )


def invoice_payload(
    row: InvoiceRow, lines: Sequence[InvoiceLineRow] = (), taxes: Sequence[InvoiceTaxRow] = ()
) -> dict[str, Any]:
    """InvoiceResponse; `uncollectible`, `carried_credit`, `timezone` and `needs_attention` are ours."""
    body = without_none(
        {
            "id": row.id,
            "customer_id": row.customer_id,
            "subscription_customer_id": row.customer_id if row.subscription_id else None,
            "subscription_id": row.subscription_id,
            "invoice_type": row.invoice_type,
            "invoice_status": row.invoice_status,
            "payment_status": row.payment_status,
            "uncollectible": row.uncollectible or None,
            "currency": row.currency,
            **_invoice_amounts(row),
            "invoice_number": row.invoice_number,
            "billing_sequence": row.billing_sequence,
            "billing_reason": row.billing_reason,
            "billing_period": row.billing_period,
            "description": row.description or None,
            "timezone": row.timezone,
            "period_start": when(row.period_start),
            "period_end": when(row.period_end),
            "due_date": when(row.due_date),
            "issue_date": when(row.issue_date),
            "finalized_at": when(row.finalized_at),
            "paid_at": when(row.paid_at),
            "voided_at": when(row.voided_at),
            "next_action_at": when(row.next_action_at),
            "needs_attention": row.needs_attention,
            "metadata": row.invoice_metadata,
            "version": row.version,
            **bookkeeping(row),
        }
    )
    if lines:
        body["line_items"] = [invoice_line_payload(line) for line in lines]
    if taxes:
        body["taxes"] = [tax_payload(tax) for tax in taxes]
    return body


def amount_remaining(row: InvoiceRow) -> Decimal:
    """What is still owed on an invoice, in major units; never below 0, and 0 once it is void."""
    return remaining(InvoiceStatus(row.invoice_status), row.amount_due, row.amount_paid, row.adjustment_amount)


def _invoice_amounts(row: InvoiceRow) -> dict[str, Any]:
    overpaid = beyond_owed(row.amount_due, row.amount_paid)
    return {
        "subtotal": decimal_text(row.subtotal),
        "total_discount": decimal_text(row.total_discount),
        "total_tax": decimal_text(row.total_tax),
        "total_prepaid_credits_applied": decimal_text(row.total_prepaid_credits_applied),
        "total": decimal_text(row.total),
        "amount_due": decimal_text(row.amount_due),
        "amount_paid": decimal_text(row.amount_paid),
        "amount_remaining": decimal_text(amount_remaining(row)),
        "overpaid_amount": decimal_text(overpaid) if overpaid else None,
        "adjustment_amount": decimal_text(row.adjustment_amount),
        "refunded_amount": decimal_text(row.refunded_amount),
        "carried_credit": decimal_text(row.carried_credit) if row.carried_credit else None,
    }


def invoice_line_payload(line: InvoiceLineRow) -> dict[str, Any]:
    """One line of an invoice; `kind` is ours."""
    return without_none(
        {
            "id": line.id,
            "invoice_id": line.invoice_id,
            "customer_id": line.customer_id,
            "subscription_id": line.subscription_id,
            "subscription_line_item_id": line.subscription_line_item_id,
            "kind": line.kind,
            "entity_id": line.entity_id,
            "entity_type": line.entity_type,
            "plan_display_name": line.plan_display_name,
            "price_id": line.price_id,
            "price_type": line.price_type,
            "meter_id": line.meter_id,
            "meter_display_name": line.meter_display_name or None,
            "display_name": line.display_name,
            "quantity": decimal_text(line.quantity),
            "amount": decimal_text(line.amount),
            "currency": line.currency,
            "period_start": when(line.period_start),
            "period_end": when(line.period_end),
            "prepaid_credits_applied": decimal_text(line.prepaid_credits_applied),
            "line_item_discount": decimal_text(line.line_item_discount),
            "invoice_level_discount": decimal_text(line.invoice_level_discount),
            "metadata": line.line_metadata,
            **bookkeeping(line),
        }
    )


def tax_payload(tax: InvoiceTaxRow) -> dict[str, Any]:
    """What one tax rate came to."""
    return without_none(
        {
            "id": tax.id,
            "tax_rate_id": tax.tax_rate_id,
            "entity_type": "invoice",
            "entity_id": tax.invoice_id,
            "code": tax.code,
            "name": tax.name,
            "inclusive": tax.inclusive,
            "percentage_value": None if tax.percentage_value is None else decimal_text(tax.percentage_value),
            "taxable_amount": decimal_text(tax.taxable_amount),
            "tax_amount": decimal_text(tax.tax_amount),
            "currency": tax.currency,
            **bookkeeping(tax),
        }
    )


def payment_payload(row: PaymentRow, attempts: Sequence[PaymentAttemptRow] = ()) -> dict[str, Any]:
    """PaymentResponse with its attempts."""
    return without_none(
        {
            "id": row.id,
            "idempotency_key": row.idempotency_key or "",
            "destination_type": row.destination_type,
            "destination_id": row.destination_id,
            "customer_id": row.customer_id,
            "payment_method_type": row.payment_method_type,
            "payment_method_id": row.payment_method_id or "",
            "payment_gateway": row.payment_gateway,
            "gateway_payment_id": row.gateway_payment_id,
            "payment_url": row.payment_url,
            "amount": decimal_text(row.amount),
            "currency": row.currency,
            "payment_status": row.payment_status,
            "track_attempts": row.payment_gateway is not None,
            "succeeded_at": when(row.succeeded_at),
            "failed_at": when(row.failed_at),
            "refunded_at": when(row.refunded_at),
            "error_message": row.error_message,
            "metadata": row.payment_metadata,
            "attempts": [attempt_payload(attempt) for attempt in attempts],
            **bookkeeping(row),
        }
    )


def attempt_payload(attempt: PaymentAttemptRow) -> dict[str, Any]:
    """One try at the provider; `attempted_at`, in business time, and `amount` are ours."""
    return without_none(
        {
            "id": attempt.id,
            "payment_id": attempt.payment_id,
            "attempt_number": attempt.attempt_number,
            "payment_status": attempt.payment_status,
            "amount": decimal_text(attempt.amount),
            "gateway_attempt_id": attempt.gateway_attempt_id,
            "error_message": attempt.error_message,
            "attempted_at": when(attempt.attempted_at),
            "metadata": {},
            **bookkeeping(attempt),
        }
    )


def customer_reference(row: CustomerRow) -> dict[str, Any]:
    """Who it is about, in events of other entities."""
    return {"customer_id": row.id, "external_customer_id": row.external_id}
