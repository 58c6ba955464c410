"""Refunds and disputes in the shape of the wire, from rows alone: what routes answer with and webhooks carry."""

from typing import Any

from activities.payloads import bookkeeping, when, without_none
from billing.money import ZERO, decimal_text
from models.tables import DisputeRow, RefundRow


def refund_payload(row: RefundRow) -> dict[str, Any]:
    """RefundResponse. `settled_amount` is what has gone back for good."""
    return without_none(
        {
            "id": row.id,
            "idempotency_key": row.idempotency_key or "",
            "payment_id": row.payment_id,
            "invoice_id": row.invoice_id,
            "payment_gateway": row.payment_gateway,
            "gateway_refund_id": row.gateway_refund_id,
            "refund_destination": row.refund_destination,
            "refund_reason": row.refund_reason,
            "refund_status": row.refund_status,
            "amount": decimal_text(row.amount),
            "settled_amount": decimal_text(row.amount if row.refund_status == "SUCCEEDED" else ZERO),
            "currency": row.currency,
            "attempt": row.attempt,
            "failure_reason": row.failure_reason,
            "initiated_at": when(row.initiated_at),
            "succeeded_at": when(row.succeeded_at),
            "failed_at": when(row.failed_at),
            "cancelled_at": when(row.cancelled_at),
            "metadata": row.refund_metadata,
            **bookkeeping(row),
        }
    )


def dispute_payload(row: DisputeRow) -> dict[str, Any]:
    """A dispute; the reference has none, so all of it is ours."""
    return without_none(
        {
            "id": row.id,
            "payment_id": row.payment_id,
            "invoice_id": row.invoice_id,
            "customer_id": row.customer_id,
            "payment_gateway": row.payment_gateway,
            "gateway_payment_id": row.gateway_payment_id,
            "gateway_dispute_id": row.gateway_dispute_id,
            "dispute_status": row.dispute_status,
            "reason": row.reason,
            "amount": decimal_text(row.amount),
            "currency": row.currency,
            "respond_by": when(row.respond_by),
            "opened_at": when(row.opened_at),
            "closed_at": when(row.closed_at),
            **bookkeeping(row),
        }
    )
