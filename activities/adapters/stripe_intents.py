"""What Stripe's objects mean to us: payment intents as outcomes of a charge, refunds, and events of its webhooks.

Owns the reading, nothing of the network. Source of the states: docs.stripe.com/payments/paymentintents/lifecycle.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import stripe

from activities.adapters.minor_units import major_units
from activities.adapters.stripe_declines import kind_of, reason_of, wants_customer
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

Json = Mapping[str, Any]

TOLERANCE: Final = timedelta(minutes=5)
"""How far a webhook's time may be from ours, either way: Stripe's own default. Each retry is signed anew."""
FAILED: Final = "payment_intent.payment_failed"
TELLING: Final = frozenset(
    {"payment_intent.succeeded", "payment_intent.requires_action", "payment_intent.canceled", FAILED}
)
"""Events that say what a charge came to; all others are acknowledged and kept."""
PLACES: Final[Mapping[str, int]] = {"isk": 2, "ugx": 2, "mga": 0}
"""Digits where Stripe differs from ISO 4217 (docs.stripe.com/currencies): ISK and UGX are counted in hundredths that
must be 00, MGA in whole ariary."""
DISPUTE_STATES: Final[Mapping[str, Literal["needs_response", "under_review", "won", "lost"]]] = {
    "needs_response": "needs_response",
    "under_review": "under_review",
    "won": "won",
    "closed": "won",
    "prevented": "won",
    "lost": "lost",
}
"""By status (docs.stripe.com/api/disputes/object); an inquiry that is closed has cost nothing."""


def waits_for_customer(intent: Json) -> bool:
    """Whether the off-session attempt ended because the bank wants the customer; nobody has asked the customer yet."""
    return intent["status"] == "requires_payment_method" and wants_customer(intent.get("last_payment_error") or {})


def outcome_of(intent: Json) -> ChargeOutcome:
    """What the intent came to. Raises `OutcomeUnknown` while Stripe or a bank is at work on it."""
    match intent["status"]:
        case "succeeded":
            return Charged(intent["id"])
        case "processing":
            return Pending(intent["id"])
        case "requires_payment_method" if intent.get("last_payment_error"):
            reason = reason_of(intent["last_payment_error"])
            return Declined(reason, kind_of(reason), intent["id"])
        case "canceled":
            return Declined(intent.get("cancellation_reason") or "canceled", "soft", intent["id"])
        case "requires_action" if _action_url(intent):
            return ActionRequired(str(_action_url(intent)), intent["id"])
        case status:
            raise OutcomeUnknown(f"stripe: {intent['id']} is {status}: its webhook brings the outcome")


def _action_url(intent: Json) -> str | None:
    """Where the customer confirms; other kinds of action (micro-deposits, vouchers) have no page of their own."""
    action = intent.get("next_action") or {}
    shown = action.get(action.get("type", "")) or {}
    return shown.get("url") or shown.get("hosted_verification_url") or shown.get("hosted_voucher_url")


def taken_charge(intent: Json) -> TakenCharge:
    """A succeeded intent as money taken; what has gone back stands in the charge that it came to."""
    metadata = intent.get("metadata") or {}
    charge = intent.get("latest_charge") or {}
    currency = intent["currency"]
    return TakenCharge(
        intent["id"],
        major_units(intent.get("amount_received", intent["amount"]), currency, PLACES),
        major_units(charge.get("amount_refunded", 0), currency, PLACES),
        currency,
        datetime.fromtimestamp(intent["created"], UTC),
        attempt_id=metadata.get("attempt_id"),
        invoice_id=metadata.get("invoice_id"),
        tenant_id=metadata.get("tenant_id"),
        environment_id=metadata.get("environment_id"),
    )


def refund_outcome(refund: Json) -> RefundOutcome:
    """What a refund came to; `requires_action` is Stripe waiting for the customer's bank details."""
    match refund["status"]:
        case "succeeded":
            return Refunded(refund["id"])
        case "failed" | "canceled" as status:
            return RefundDeclined(refund.get("failure_reason") or status, refund["id"])
        case _:
            return RefundPending(refund["id"])


def read_webhook(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime) -> ProviderEvent:
    """The event, if one of `secrets` signed exactly this body at about `now`. Raises `BadWebhook`."""
    header = {name.lower(): value for name, value in headers.items()}.get("stripe-signature")
    _verify(secrets, header, body)
    sent_at = _sent_at(header or "")
    if abs(now - sent_at) > TOLERANCE:
        raise BadWebhook(f"stripe webhook refused: its time {sent_at.isoformat()} is more than {TOLERANCE} from now")
    try:
        return _event(json.loads(body))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as broken:
        raise BadWebhook(f"stripe webhook is signed, but cannot be read: {broken!r}") from broken


def _verify(secrets: Sequence[str], header: str | None, body: bytes) -> None:
    refused = "no signing secret is configured on our side"
    for secret in secrets:
        try:
            # Without a tolerance here: the library would compare with its own clock.
            stripe.WebhookSignature.verify_header(body, header, secret)
            return
        except stripe.SignatureVerificationError as wrong:
            refused = str(wrong.user_message)
        except (UnicodeDecodeError, TypeError) as wrong:
            refused = f"body and signature must be text: {wrong}"
    raise BadWebhook(f"stripe webhook refused: Stripe-Signature: {refused}")


def _sent_at(header: str) -> datetime:
    """The time that the signature covers; the library has found it readable as a number."""
    seconds = next(part.removeprefix("t=") for part in header.split(",") if part.startswith("t="))
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError) as wrong:
        raise BadWebhook(f"stripe webhook refused: its time {seconds!r} is not Unix seconds") from wrong


def _event(event: Json) -> ProviderEvent:
    subject = event["data"]["object"]
    metadata = subject.get("metadata") or {}
    return ProviderEvent(
        provider="stripe",
        event_id=event["id"],
        type=event["type"],
        occurred_at=datetime.fromtimestamp(event["created"], UTC),
        attempt_id=metadata.get("attempt_id"),
        invoice_id=metadata.get("invoice_id"),
        outcome=_told_outcome(event["type"], subject) if "attempt_id" in metadata else None,
        dispute=_dispute(event, subject),
        refund=_refund(subject),
    )


def _refund(subject: Json) -> RefundTold | None:
    """A report about a refund, whoever made it (docs.stripe.com/api/refunds/object)."""
    if subject.get("object") != "refund" or not subject.get("payment_intent"):
        return None
    return RefundTold(
        provider_refund_id=subject["id"],
        provider_payment_id=subject["payment_intent"],
        amount=major_units(subject["amount"], subject["currency"], PLACES),
        currency=subject["currency"],
        result=refund_outcome(subject),
        refund_id=(subject.get("metadata") or {}).get("refund_id"),
    )


def _dispute(event: Json, subject: Json) -> Disputed | None:
    """A report about a dispute; one that Stripe only looks into (an inquiry) is as urgent as one that took money."""
    if not event["type"].startswith("charge.dispute.") or not subject.get("payment_intent"):
        return None
    status = str(subject["status"]).removeprefix("warning_")
    respond_by = (subject.get("evidence_details") or {}).get("due_by")
    return Disputed(
        provider_dispute_id=subject["id"],
        provider_payment_id=subject["payment_intent"],
        amount=major_units(subject["amount"], subject["currency"], PLACES),
        currency=subject["currency"],
        reason=subject["reason"],
        state=DISPUTE_STATES.get(status, "needs_response"),
        reported_at=datetime.fromtimestamp(event["created"], UTC),
        respond_by=None if respond_by is None else datetime.fromtimestamp(respond_by, UTC),
    )


def _told_outcome(event_type: str, intent: Json) -> ChargeOutcome | None:
    """None also for the failure that only means: ask the customer. Whoever made the attempt does so."""
    if event_type not in TELLING or waits_for_customer(intent):
        return None
    try:
        return outcome_of(intent)
    except OutcomeUnknown:
        return None
