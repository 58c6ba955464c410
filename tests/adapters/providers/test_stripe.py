"""What is Stripe's own, beyond the contract: its headers, states, lookups without search, declines and events."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from activities.adapters import stripe_provider
from activities.adapters.stripe_declines import kind_of
from activities.adapters.stripe_intents import outcome_of, refund_outcome
from activities.adapters.stripe_provider import API_VERSION, StripeProvider
from activities.ports import (
    ActionRequired,
    BadWebhook,
    Charged,
    Declined,
    Disputed,
    OutcomeUnknown,
    Pending,
    ProviderEvent,
    ProviderRefused,
    RefundDeclined,
    Refunded,
    RefundOutcome,
    RefundPending,
    RefundRequest,
    RefundTold,
)

from .company import Webhook
from .counterparts import RETURN_URL, StripeCounterpart
from .stripe_company import CUSTOMER, SECRET, signed


def read(stripe: StripeCounterpart, webhook: Webhook) -> ProviderEvent:
    return stripe.provider.parse_webhook(webhook.headers, webhook.body, datetime.now(UTC))


async def test_the_attempt_is_key_and_metadata_and_the_version_is_pinned(stripe: StripeCounterpart) -> None:
    asked = stripe.request("ok")
    await stripe.provider.charge(asked)
    looked_up, sent = stripe.company.asked
    assert looked_up.path == f"/v1/payment_methods/{asked.payment_method}"
    assert sent.headers["idempotency-key"] == asked.attempt_id
    assert sent.headers["stripe-version"] == API_VERSION
    assert sent.fields["customer"] == CUSTOMER
    assert (sent.fields["amount"], sent.fields["currency"]) == ("1250", "usd")
    assert {name: value for name, value in sent.fields.items() if name.startswith("metadata")} == {
        "metadata[attempt_id]": asked.attempt_id,
        "metadata[invoice_id]": "inv_1",
        "metadata[customer_id]": "cust_1",
        "metadata[tenant_id]": "tenant_1",
        "metadata[environment_id]": "env_1",
    }


async def test_a_customer_that_is_known_is_not_looked_up(stripe: StripeCounterpart) -> None:
    await stripe.provider.charge(replace(stripe.request("ok"), provider_customer_id=CUSTOMER))
    assert [asked.path for asked in stripe.company.asked] == ["/v1/payment_intents"]


async def test_a_bank_debit_is_pending_until_its_webhook(stripe: StripeCounterpart) -> None:
    asked = stripe.request("slow")
    pending = await stripe.provider.charge(asked)
    (intent_id,) = stripe.company.intents
    assert pending == Pending(intent_id)
    assert await stripe.provider.find_charge(asked.attempt_id) == pending
    assert await stripe.provider.withdraw(asked.attempt_id) == pending  # the bank is asked to, there is no way back
    (processing,) = stripe.company.webhooks
    assert read(stripe, processing).outcome is None
    stripe.company.finish(intent_id, approved=True)
    event = read(stripe, stripe.company.webhooks[-1])
    assert (event.outcome, event.attempt_id) == (Charged(intent_id), asked.attempt_id)
    assert await stripe.provider.find_charge(asked.attempt_id) == Charged(intent_id)


async def test_the_failure_before_the_customer_is_asked_decides_nothing(stripe: StripeCounterpart) -> None:
    """The bank's wish arrives as a failed payment; read as a decline it would end an attempt that waits."""
    outcome = await stripe.provider.charge(stripe.request("action"))
    failed, asked = (read(stripe, webhook) for webhook in stripe.company.webhooks)
    assert (failed.type, failed.outcome) == ("payment_intent.payment_failed", None)
    assert (asked.type, asked.outcome) == ("payment_intent.requires_action", outcome)
    assert stripe.company.asked[-1].fields["return_url"] == RETURN_URL


async def test_a_worker_that_dies_before_asking_the_customer_asks_later(stripe: StripeCounterpart) -> None:
    asked = stripe.request("action")
    stripe.company.trouble.answers_lost = 1
    with pytest.raises(OutcomeUnknown):
        await stripe.provider.charge(asked)
    found = await stripe.provider.find_charge(asked.attempt_id)
    assert isinstance(found, ActionRequired)
    assert await stripe.provider.charge(asked) == found


async def test_a_charge_too_new_for_the_search_is_found_in_the_list(stripe: StripeCounterpart) -> None:
    stripe.company.indexed = False
    asked = stripe.request("ok")
    outcome = await stripe.provider.charge(asked)
    assert await stripe.provider.find_charge(asked.attempt_id) == outcome
    assert await stripe.provider.find_charge("attempt_other") is None


async def test_an_account_without_search_lists_page_by_page(
    stripe: StripeCounterpart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_provider, "PAGE", 2)
    stripe.company.has_search = False
    requests = [stripe.request("ok", number) for number in range(5)]
    outcomes = [await stripe.provider.charge(asked) for asked in requests]
    assert [await stripe.provider.find_charge(asked.attempt_id) for asked in requests] == outcomes
    assert await stripe.provider.find_charge("attempt_other") is None
    monkeypatch.setattr(stripe_provider, "UNSEARCHABLE_PAGES", 2)
    with pytest.raises(OutcomeUnknown, match="too many payments"):
        await stripe.provider.find_charge("attempt_other")
    stripe.company.has_search, stripe.company.indexed = True, False
    monkeypatch.setattr(stripe_provider, "UNINDEXED_PAGES", 2)
    assert await stripe.provider.find_charge("attempt_other") is None


@pytest.mark.parametrize("trouble", ["broken", "garbled"])
async def test_an_answer_that_cannot_be_trusted_is_unknown(stripe: StripeCounterpart, trouble: str) -> None:
    asked = stripe.request(trouble)
    with pytest.raises(OutcomeUnknown):
        await stripe.provider.charge(asked)
    assert isinstance(await stripe.provider.find_charge(asked.attempt_id), Charged)
    assert await stripe.successes("inv_1") == 1


async def test_a_request_under_way_with_the_same_key_is_unknown(stripe: StripeCounterpart) -> None:
    asked = stripe.request("ok")
    stripe.company.keys_in_flight.add(asked.attempt_id)
    with pytest.raises(OutcomeUnknown, match="409"):
        await stripe.provider.charge(asked)
    stripe.company.keys_in_flight.clear()
    assert isinstance(await stripe.provider.charge(asked), Charged)


async def test_a_wrong_key_is_refused_by_name(stripe: StripeCounterpart) -> None:
    provider = StripeProvider("sk_test_other", [], RETURN_URL, api_base=stripe.company.url)
    with pytest.raises(ProviderRefused, match="401: Invalid API Key"):
        await provider.charge(stripe.request("ok"))
    with pytest.raises(ProviderRefused, match="401: Invalid API Key"):
        await provider.find_charge("attempt_1")
    with pytest.raises(BadWebhook, match="no signing secret is configured"):
        provider.parse_webhook(signed(b"{}").headers, b"{}", datetime.now(UTC))
    await provider.aclose()


async def test_a_refund_whose_answer_is_lost_is_made_once(stripe: StripeCounterpart) -> None:
    asked = stripe.request("ok")
    charged = await stripe.provider.charge(asked)
    assert isinstance(charged, Charged)
    refund = RefundRequest("refund_1", charged.provider_payment_id, asked.amount, "usd")
    stripe.company.trouble.answers_lost = 1
    with pytest.raises(OutcomeUnknown):
        await stripe.provider.refund(refund)
    stripe.company.keys.clear()  # a day later: Stripe has forgotten the key
    assert isinstance(await stripe.provider.refund(refund), Refunded)
    assert len(stripe.company.refunds) == 1
    made = next(iter(stripe.company.refunds.values()))
    made |= {"status": "failed", "failure_reason": "lost_or_stolen_card"}
    assert await stripe.provider.refund(refund) == RefundDeclined("lost_or_stolen_card", made["id"])


@pytest.mark.parametrize(
    ("intent", "outcome"),
    [
        ({"status": "canceled", "cancellation_reason": "abandoned"}, Declined("abandoned", "soft", "pi_1")),
        ({"status": "canceled"}, Declined("canceled", "soft", "pi_1")),
        (
            {"status": "requires_payment_method", "last_payment_error": {"code": "expired_card"}},
            Declined("expired_card", "hard", "pi_1"),
        ),
        (
            {
                "status": "requires_action",
                "next_action": {
                    "type": "verify_with_microdeposits",
                    "verify_with_microdeposits": {"hosted_verification_url": "https://pay.example/v"},
                },
            },
            ActionRequired("https://pay.example/v", "pi_1"),
        ),
    ],
)
def test_states_that_tests_cannot_bring_about(intent: dict[str, Any], outcome: object) -> None:
    assert outcome_of({"id": "pi_1", **intent}) == outcome


@pytest.mark.parametrize(
    "intent",
    [
        {"status": "requires_action", "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {}}},
        {"status": "requires_confirmation"},
        {"status": "requires_capture"},
        {"status": "requires_payment_method", "last_payment_error": None},
        {"status": "a_state_of_next_year"},
    ],
)
def test_a_state_without_an_outcome_is_unknown(intent: dict[str, Any]) -> None:
    with pytest.raises(OutcomeUnknown, match=f"pi_1 is {intent['status']}"):
        outcome_of({"id": "pi_1", **intent})


def test_a_refund_under_way_is_pending() -> None:
    for status in ("pending", "requires_action"):
        assert refund_outcome({"id": "re_1", "status": status}) == RefundPending("re_1")
    assert refund_outcome({"id": "re_1", "status": "canceled"}) == RefundDeclined("canceled", "re_1")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("insufficient_funds", "soft"),
        ("processing_error", "soft"),
        ("do_not_honor", "soft"),
        ("a_reason_of_next_year", "soft"),
        ("lost_card", "hard"),
        ("expired_card", "hard"),
        ("revocation_of_all_authorizations", "hard"),
    ],
)
def test_declines_are_hard_only_where_the_method_is_dead(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind


def event(**changes: Any) -> bytes:
    subject = {"id": "ch_1", "object": "charge", "status": "succeeded", "metadata": {"attempt_id": "att_1"}}
    fields = {"id": "evt_1", "type": "charge.refunded", "created": 1_700_000_000, "data": {"object": subject}}
    return json.dumps(fields | changes).encode()


def test_events_about_other_things_are_kept_and_tell_nothing(stripe: StripeCounterpart) -> None:
    kept = read(stripe, signed(event()))
    assert (kept.event_id, kept.type, kept.attempt_id, kept.outcome) == ("evt_1", "charge.refunded", "att_1", None)
    assert kept.occurred_at == datetime.fromtimestamp(1_700_000_000, UTC)
    foreign = {"id": "pi_9", "object": "payment_intent", "status": "succeeded", "metadata": {}}
    not_ours = read(stripe, signed(event(type="payment_intent.succeeded", data={"object": foreign})))
    assert (not_ours.attempt_id, not_ours.outcome) == (None, None)


@pytest.mark.parametrize("body", [b"[]", b"{}", b"not json", event(created="soon"), event(data={"object": None})])
def test_a_signed_body_that_is_no_event_is_refused(stripe: StripeCounterpart, body: bytes) -> None:
    with pytest.raises(BadWebhook, match="cannot be read"):
        read(stripe, signed(body))


def test_a_webhook_is_refused_by_name(stripe: StripeCounterpart) -> None:
    with pytest.raises(BadWebhook, match="No Stripe-Signature header"):
        read(stripe, Webhook({}, event()))
    with pytest.raises(BadWebhook, match="No signatures found matching"):
        read(stripe, signed(event(), secret=SECRET + "x"))
    old = signed(event(), at=time.time() - timedelta(minutes=5, seconds=5).total_seconds())
    with pytest.raises(BadWebhook, match="more than 0:05:00 from now"):
        read(stripe, old)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("warning_needs_response", "needs_response"),
        ("needs_response", "needs_response"),
        ("under_review", "under_review"),
        ("won", "won"),
        ("warning_closed", "won"),
        ("lost", "lost"),
        ("a_status_of_next_year", "needs_response"),
    ],
)
def test_a_dispute_is_read(stripe: StripeCounterpart, status: str, state: str) -> None:
    subject = {
        "id": "du_1", "object": "dispute", "amount": 1050, "currency": "usd", "payment_intent": "pi_1", "metadata": {},
        "reason": "fraudulent", "status": status, "evidence_details": {"due_by": 1_700_600_000},
    }  # fmt: skip
    told = read(stripe, signed(event(type="charge.dispute.updated", data={"object": subject})))
    assert (told.attempt_id, told.outcome) == (None, None)
    assert told.dispute == Disputed(
        "du_1",
        "pi_1",
        Decimal("10.5"),
        "usd",
        "fraudulent",
        state,  # type: ignore[arg-type]
        datetime.fromtimestamp(1_700_000_000, UTC),
        datetime.fromtimestamp(1_700_600_000, UTC),
    )


@pytest.mark.parametrize(
    ("status", "result"),
    [
        ("succeeded", Refunded("re_1")),
        ("pending", RefundPending("re_1")),
        ("failed", RefundDeclined("expired_or_canceled_card", "re_1")),
    ],
)
@pytest.mark.parametrize("ours", ["refund_1", None])
def test_a_refund_is_read_whoever_made_it(
    stripe: StripeCounterpart, status: str, result: RefundOutcome, ours: str | None
) -> None:
    subject = {
        "id": "re_1", "object": "refund", "amount": 1050, "currency": "usd", "payment_intent": "pi_1", "status": status,
        "metadata": {} if ours is None else {"refund_id": ours}, "failure_reason": "expired_or_canceled_card",
    }  # fmt: skip
    told = read(stripe, signed(event(type="refund.updated", data={"object": subject})))
    assert (told.attempt_id, told.outcome, told.dispute) == (None, None, None)
    assert told.refund == RefundTold("re_1", "pi_1", Decimal("10.5"), "usd", result, ours)
