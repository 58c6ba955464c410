"""What Razorpay's objects mean to us: payments, payment links, refunds, and events of its webhooks.

Owns the reading, nothing of the network. Source: razorpay.com/docs/api and razorpay.com/docs/webhooks.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import razorpay
from razorpay.errors import SignatureVerificationError

from activities.adapters.minor_units import major_units
from activities.adapters.razorpay_declines import kind_of, reason_of
from activities.adapters.razorpay_http import Json
from activities.ports import (
    ActionRequired,
    BadWebhook,
    Charged,
    ChargeOutcome,
    Declined,
    Disputed,
    OutcomeUnknown,
    Pending,
    ProviderEvent,
    RefundDeclined,
    Refunded,
    RefundOutcome,
    RefundPending,
    RefundTold,
    TakenCharge,
)

PAYMENT_LINK: Final = "payment_link"
"""The payment method that means: send the customer a link. Also the note that marks payments made by one."""
EVENT_ID: Final = "x-razorpay-event-id"
SIGNATURE: Final = "x-razorpay-signature"
OLDEST: Final = timedelta(hours=25)
"""Razorpay delivers an event again for 24 hours, with its first time and signature; older ones are replays."""
AHEAD: Final = timedelta(minutes=5)
"""How far its clock may be before ours."""
TOOK_MONEY: Final = frozenset({"captured", "refunded"})
PAID: Final = frozenset({"payment.captured", "order.paid", "payment_link.paid"})
ENDED_LINK: Final = frozenset({"payment_link.cancelled", "payment_link.expired"})
PLACES: Final[Mapping[str, int]] = {}
"""Razorpay counts every currency as ISO 4217 does (razorpay.com/docs/payments/international-payments)."""
OPEN_LINK: Final = frozenset({"created", "partially_paid"})
SUBJECTS: Final = ("payment_link", "order", "payment", "refund")


def notes_of(entity: Json) -> dict[str, str]:
    """Our notes on an object; Razorpay writes none as an empty list."""
    notes = entity.get("notes")
    return dict(notes) if isinstance(notes, dict) else {}


def outcome_of_payments(payments: Sequence[Json]) -> ChargeOutcome | None:
    """What the payments of one order came to; None when nobody has tried.

    An order is paid once at most, so one that took the money decides. A mandate's debit is pending for a day or more,
    because the customer is told beforehand.
    """
    newest = sorted(payments, key=lambda payment: (payment["created_at"], payment["id"]), reverse=True)
    for payment in newest:
        if payment["status"] in TOOK_MONEY:
            return Charged(payment["id"])
    for payment in newest:
        if payment["status"] != "failed":
            return Pending(payment["id"])
    return failed(newest[0]) if newest else None


def failed(payment: Json) -> Declined:
    """The decline that a failed payment is."""
    reason = reason_of(payment)
    return Declined(reason, kind_of(reason), payment["id"])


def outcome_of_link(link: Json) -> ChargeOutcome:
    """What a payment link came to: until it is paid or ends, the customer may try as often as they like."""
    match link["status"]:
        case "paid":
            for payment in link.get("payments") or []:
                if payment["status"] in TOOK_MONEY:
                    return Charged(payment["payment_id"])
            raise OutcomeUnknown(f"razorpay: {link['id']} is paid, but names no payment yet")
        case "cancelled" | "expired" as status:
            return Declined(f"payment_link_{status}", "soft", link["id"])
        case _:
            return ActionRequired(link["short_url"], link["id"])


def taken_charge(payment: Json) -> TakenCharge:
    """A captured payment as money taken; our notes are on it whether a mandate or a link brought it."""
    notes = notes_of(payment)
    currency = payment["currency"].lower()
    return TakenCharge(
        payment["id"],
        major_units(payment["amount"], currency, PLACES),
        major_units(payment.get("amount_refunded") or 0, currency, PLACES),
        currency,
        datetime.fromtimestamp(payment["created_at"], UTC),
        attempt_id=notes.get("attempt_id"),
        invoice_id=notes.get("invoice_id"),
        tenant_id=notes.get("tenant_id"),
        environment_id=notes.get("environment_id"),
    )


def refund_outcome(refund: Json) -> RefundOutcome:
    """What a refund came to."""
    match refund["status"]:
        case "processed":
            return Refunded(refund["id"])
        case "failed":
            return RefundDeclined("refund_failed", refund["id"])
        case _:
            return RefundPending(refund["id"])


def read_webhook(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime) -> ProviderEvent:
    """The event, if one of `secrets` signed exactly this body and it is not old. Raises `BadWebhook`."""
    lower = {name.lower(): value for name, value in headers.items()}
    _verify(secrets, lower.get(SIGNATURE), body)
    event_id = lower.get(EVENT_ID)
    if not event_id:
        raise BadWebhook(f"razorpay webhook refused: the header {EVENT_ID} is missing")
    try:
        event = json.loads(body)
        occurred_at = datetime.fromtimestamp(event["created_at"], UTC)
        read = _event(event_id, event, occurred_at)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError) as broken:
        raise BadWebhook(f"razorpay webhook is signed, but cannot be read: {broken!r}") from broken
    if not now - OLDEST <= occurred_at <= now + AHEAD:
        raise BadWebhook(
            f"razorpay webhook refused: it is of {occurred_at.isoformat()}; events come within {OLDEST} and are never"
            f" more than {AHEAD} ahead"
        )
    return read


def _verify(secrets: Sequence[str], signature: str | None, body: bytes) -> None:
    if not secrets:
        raise BadWebhook("razorpay webhook refused: no signing secret is configured on our side")
    if not signature:
        raise BadWebhook(f"razorpay webhook refused: the header {SIGNATURE} is missing")
    for secret in secrets:
        try:
            razorpay.Utility().verify_webhook_signature(body.decode(), signature, secret)
            return
        except SignatureVerificationError:
            continue
        except (UnicodeDecodeError, TypeError) as wrong:
            raise BadWebhook(f"razorpay webhook refused: body and signature must be text: {wrong}") from wrong
    raise BadWebhook(f"razorpay webhook refused: {SIGNATURE} does not match the body and any secret of ours")


def _event(event_id: str, event: Json, occurred_at: datetime) -> ProviderEvent:
    payload: dict[str, Any] = event["payload"]
    subjects: dict[str, Json] = {name: payload[name]["entity"] for name in SUBJECTS if name in payload}
    notes = next((notes_of(each) for each in subjects.values() if "attempt_id" in notes_of(each)), {})
    return ProviderEvent(
        provider="razorpay",
        event_id=event_id,
        type=event["event"],
        occurred_at=occurred_at,
        attempt_id=notes.get("attempt_id"),
        invoice_id=notes.get("invoice_id"),
        outcome=_told_outcome(event["event"], subjects) if notes else None,
        dispute=_dispute(event["event"], payload, occurred_at),
        refund=_refund(subjects),
    )


def _refund(subjects: Mapping[str, Json]) -> RefundTold | None:
    """A report about a refund, whoever made it (razorpay.com/docs/webhooks/payloads/refunds)."""
    refund = subjects.get("refund")
    if refund is None:
        return None
    currency = refund["currency"].lower()
    return RefundTold(
        provider_refund_id=refund["id"],
        provider_payment_id=refund["payment_id"],
        amount=major_units(refund["amount"], currency, PLACES),
        currency=currency,
        result=refund_outcome(refund),
        refund_id=notes_of(refund).get("refund_id"),
    )


def _dispute(event_type: str, payload: Json, reported_at: datetime) -> Disputed | None:
    """A report about a dispute: the event says where it stands."""
    if not event_type.startswith("payment.dispute."):
        return None
    dispute = payload["dispute"]["entity"]
    respond_by = dispute.get("respond_by")
    currency = dispute["currency"].lower()
    return Disputed(
        provider_dispute_id=dispute["id"],
        provider_payment_id=dispute["payment_id"],
        amount=major_units(dispute["amount"], currency, PLACES),
        currency=currency,
        reason=dispute["reason_code"],
        state=_dispute_state(event_type.removeprefix("payment.dispute."), dispute["status"]),
        reported_at=reported_at,
        respond_by=None if respond_by is None else datetime.fromtimestamp(respond_by, UTC),
    )


def _dispute_state(event: str, status: str) -> Literal["needs_response", "under_review", "won", "lost"]:
    match event:
        case "won" | "lost" | "under_review":
            return event
        case "closed":  # without a contest: an inquiry that came to nothing, or money given up
            return "lost" if status == "lost" else "won"
        case _:
            return "needs_response"


def _told_outcome(event_type: str, subjects: Mapping[str, Json]) -> ChargeOutcome | None:
    if event_type in PAID:
        return Charged(subjects["payment"]["id"])
    if event_type in ENDED_LINK:
        return outcome_of_link(subjects["payment_link"])
    if event_type == "payment.failed" and notes_of(subjects["payment"]).get("via") != PAYMENT_LINK:
        return failed(subjects["payment"])
    return None
