"""What is Razorpay's own, beyond the contract: orders and receipts, mandates, payment links, refunds and events."""

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from activities.adapters.razorpay_declines import kind_of, reason_of
from activities.adapters.razorpay_entities import outcome_of_link, refund_outcome
from activities.adapters.razorpay_provider import RazorpayProvider
from activities.ports import (
    ActionRequired,
    BadWebhook,
    Charged,
    Declined,
    OutcomeUnknown,
    Pending,
    ProviderEvent,
    ProviderRefused,
    ProviderUnavailable,
    RefundDeclined,
    Refunded,
    RefundOutcome,
    RefundPending,
    RefundRequest,
    RefundTold,
)

from .company import Webhook
from .counterparts import RETURN_URL, RazorpayCounterpart
from .razorpay_company import CANCELLED, CUSTOMER, KEY_ID, OK, ONCE, PAUSED, SECRET, signed

RECURRING = "/v1/payments/create/recurring"


def read(razorpay: RazorpayCounterpart, webhook: Webhook) -> ProviderEvent:
    return razorpay.provider.parse_webhook(webhook.headers, webhook.body, datetime.now(UTC))


async def test_the_attempt_is_the_orders_receipt_and_in_every_note(razorpay: RazorpayCounterpart) -> None:
    asked = razorpay.request("ok")
    await razorpay.provider.charge(asked)
    order, payment = (each.fields for each in razorpay.company.asked if each.method == "POST")
    notes = {
        "attempt_id": asked.attempt_id,
        "invoice_id": "inv_1",
        "customer_id": "cust_1",
        "tenant_id": "tenant_1",
        "environment_id": "env_1",
    }
    assert order == {
        "amount": 1250,
        "currency": "INR",
        "receipt": asked.attempt_id,
        "payment_capture": True,
        "notes": notes,
    }
    assert (payment["token"], payment["customer_id"], payment["notes"]) == (OK, CUSTOMER, notes)
    assert (payment["email"], payment["contact"]) == ("ann@example.com", "+919000000000")
    assert payment["recurring"] is True


async def test_a_token_may_come_with_the_customer_apart(razorpay: RazorpayCounterpart) -> None:
    apart = replace(razorpay.request("ok"), payment_method=OK, provider_customer_id=CUSTOMER)
    assert isinstance(await razorpay.provider.charge(apart), Charged)
    for method in (OK, "pm_card_visa", f"{CUSTOMER}/", f"/{OK}"):
        with pytest.raises(ProviderRefused, match=r"must be 'cust_\.\.\./token_\.\.\.' or 'payment_link'"):
            await razorpay.provider.charge(replace(razorpay.request("ok"), payment_method=method))


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (CANCELLED, Declined("mandate_cancelled", "hard")),
        (PAUSED, Declined("mandate_paused", "soft")),
        (ONCE, Declined("token_not_recurring", "hard")),
    ],
)
async def test_a_mandate_that_does_not_hold_is_declined_before_anything_is_made(
    razorpay: RazorpayCounterpart, token: str, expected: Declined
) -> None:
    asked = replace(razorpay.request("ok"), payment_method=f"{CUSTOMER}/{token}")
    assert await razorpay.provider.charge(asked) == expected
    assert razorpay.company.orders == {}


@pytest.mark.parametrize("approved", [True, False])
async def test_a_mandates_debit_is_pending_until_its_webhook(razorpay: RazorpayCounterpart, approved: bool) -> None:
    asked = razorpay.request("slow")
    pending = await razorpay.provider.charge(asked)
    (payment_id,) = razorpay.company.payments
    assert pending == Pending(payment_id)
    assert await razorpay.provider.find_charge(asked.attempt_id) == pending
    assert await razorpay.provider.charge(asked) == pending
    assert await razorpay.provider.withdraw(asked.attempt_id) == pending  # there is no way back from a debit
    razorpay.company.finish(payment_id, approved)
    expected = Charged(payment_id) if approved else Declined("insufficient_funds", "soft", payment_id)
    events = [read(razorpay, webhook) for webhook in razorpay.company.webhooks]
    assert {event.outcome for event in events} - {None} == {expected}
    assert {(event.attempt_id, event.invoice_id) for event in events} == {(asked.attempt_id, "inv_1")}
    assert await razorpay.provider.find_charge(asked.attempt_id) == expected


async def test_an_order_whose_answer_is_lost_has_charged_nothing_and_is_used(razorpay: RazorpayCounterpart) -> None:
    asked = razorpay.request("ok")
    razorpay.company.trouble.at, razorpay.company.trouble.answers_lost = "/orders", 1
    with pytest.raises(ProviderUnavailable):
        await razorpay.provider.charge(asked)
    assert await razorpay.provider.find_charge(asked.attempt_id) is None
    assert isinstance(await razorpay.provider.charge(asked), Charged)
    assert len(razorpay.company.orders) == 1


async def test_of_two_orders_for_one_receipt_one_is_paid(razorpay: RazorpayCounterpart) -> None:
    """Two workers that looked at once have each made one; both go on with the older."""
    asked = razorpay.request("ok")
    await asyncio.gather(*(razorpay.provider.charge(asked) for _ in range(6)))
    paid = [order for order in razorpay.company.orders.values() if order["status"] == "paid"]
    assert len(paid) == len(razorpay.company.payments) == 1
    assert await razorpay.provider.find_charge(asked.attempt_id) == Charged(next(iter(razorpay.company.payments)))


@pytest.mark.parametrize("trouble", ["broken", "garbled"])
async def test_an_answer_that_cannot_be_trusted_is_unknown(razorpay: RazorpayCounterpart, trouble: str) -> None:
    asked = razorpay.request(trouble)
    with pytest.raises(OutcomeUnknown):
        await razorpay.provider.charge(asked)
    assert isinstance(await razorpay.provider.charge(asked), Charged)
    assert await razorpay.successes("inv_1") == 1


async def test_a_charge_that_was_given_back_was_still_made(razorpay: RazorpayCounterpart) -> None:
    asked = razorpay.request("ok")
    outcome = await razorpay.provider.charge(asked)
    (payment,) = razorpay.company.payments.values()
    payment["status"] = "refunded"
    assert await razorpay.provider.find_charge(asked.attempt_id) == outcome


async def test_a_link_is_made_once_and_says_where_to_return(razorpay: RazorpayCounterpart) -> None:
    asked = razorpay.request("action")
    outcomes = await asyncio.gather(*(razorpay.provider.charge(asked) for _ in range(4)))
    (link,) = razorpay.company.links.values()
    assert outcomes == [ActionRequired(link["short_url"], link["id"])] * 4
    sent = next(each.fields for each in razorpay.company.asked if each.method == "POST")
    assert (sent["callback_url"], sent["callback_method"]) == (RETURN_URL, "get")
    assert (sent["accept_partial"], sent["notify"]) == (False, {"sms": False, "email": False})
    with pytest.raises(ProviderRefused, match="another amount or currency"):
        await razorpay.provider.charge(replace(asked, currency="usd"))


async def test_a_link_whose_answer_is_lost_is_found(razorpay: RazorpayCounterpart) -> None:
    asked = razorpay.request("action")
    razorpay.company.trouble.answers_lost = 1
    with pytest.raises(OutcomeUnknown):
        await razorpay.provider.charge(asked)
    found = await razorpay.provider.find_charge(asked.attempt_id)
    assert isinstance(found, ActionRequired)
    assert await razorpay.provider.charge(asked) == found


async def test_a_failed_try_on_a_link_decides_nothing(razorpay: RazorpayCounterpart) -> None:
    """The page lets the customer try again; only the end of the link ends the attempt."""
    outcome = await razorpay.provider.charge(razorpay.request("action"))
    assert isinstance(outcome, ActionRequired)
    razorpay.company.visit(outcome.provider_payment_id, approved=False)
    failed, cancelled = (read(razorpay, webhook) for webhook in razorpay.company.webhooks)
    assert (failed.type, failed.outcome) == ("payment.failed", None)
    ended = Declined("payment_link_cancelled", "soft", outcome.provider_payment_id)
    assert (cancelled.type, cancelled.outcome) == ("payment_link.cancelled", ended)


def test_a_link_that_is_paid_but_names_no_payment_is_unknown() -> None:
    with pytest.raises(OutcomeUnknown, match="names no payment"):
        outcome_of_link({"id": "plink_1", "status": "paid", "payments": None})


async def test_wrong_keys_are_refused_by_name(razorpay: RazorpayCounterpart) -> None:
    provider = RazorpayProvider(KEY_ID, "other", [], RETURN_URL, api_base=razorpay.company.url)
    asked = razorpay.request("ok")
    refund = RefundRequest("refund_0001", "pay_1", Decimal(1), "inr")
    for call in (provider.charge(asked), provider.find_charge(asked.attempt_id), provider.refund(refund)):
        with pytest.raises(ProviderRefused, match="401: Authentication failed"):
            await call
    with pytest.raises(BadWebhook, match="no signing secret is configured"):
        provider.parse_webhook(signed(b"{}").headers, b"{}", datetime.now(UTC))
    await provider.aclose()


async def test_the_library_writes_nothing_to_the_terminal(
    razorpay: RazorpayCounterpart, capsys: pytest.CaptureFixture[str]
) -> None:
    razorpay.stop()
    with pytest.raises(ProviderUnavailable):
        await razorpay.provider.charge(razorpay.request("ok"))
    assert capsys.readouterr().out == ""


async def test_a_refund_whose_answer_is_lost_is_made_once(razorpay: RazorpayCounterpart) -> None:
    asked = razorpay.request("ok")
    charged = await razorpay.provider.charge(asked)
    assert isinstance(charged, Charged)
    refund = RefundRequest("refund_0001", charged.provider_payment_id, asked.amount, "inr")
    razorpay.company.trouble.answers_lost = 1
    with pytest.raises(OutcomeUnknown):
        await razorpay.provider.refund(refund)
    razorpay.company.refund_keys.clear()  # as when Razorpay has forgotten the key
    assert isinstance(await razorpay.provider.refund(refund), Refunded)
    (made,) = razorpay.company.refunds.values()
    made["status"] = "failed"
    assert await razorpay.provider.refund(refund) == RefundDeclined("refund_failed", made["id"])
    assert refund_outcome({"id": "rfnd_2", "status": "pending"}) == RefundPending("rfnd_2")


@pytest.mark.parametrize(
    ("payment", "reason", "kind"),
    [
        ({"error_reason": "insufficient_funds"}, "insufficient_funds", "soft"),
        ({"error_reason": "card_expired"}, "card_expired", "hard"),
        ({"error_reason": "a_reason_of_next_year"}, "a_reason_of_next_year", "soft"),
        ({"error_reason": None, "error_code": "GATEWAY_ERROR"}, "gateway_error", "soft"),
        ({}, "payment_failed", "soft"),
    ],
)
def test_declines_are_hard_only_where_the_method_is_dead(payment: dict[str, Any], reason: str, kind: str) -> None:
    assert reason_of(payment) == reason
    assert kind_of(reason) == kind


def event(**changes: Any) -> bytes:
    refund = {"id": "rfnd_1", "payment_id": "pay_1", "amount": 500, "currency": "INR", "status": "processed",
              "notes": []}  # fmt: skip
    payment = {"id": "pay_1", "notes": {"attempt_id": "att_1", "invoice_id": "inv_1"}}
    payload = {"refund": {"entity": refund}, "payment": {"entity": payment}}
    return json.dumps(
        {"event": "refund.processed", "created_at": int(time.time()), "payload": payload} | changes
    ).encode()


def test_events_about_other_things_are_kept_and_tell_nothing(razorpay: RazorpayCounterpart) -> None:
    kept = read(razorpay, signed(event(), "evt_7"))
    assert (kept.event_id, kept.type, kept.attempt_id, kept.outcome) == ("evt_7", "refund.processed", "att_1", None)
    foreign = {"payment": {"entity": {"id": "pay_9", "status": "captured", "notes": []}}}
    not_ours = read(razorpay, signed(event(event="payment.captured", payload=foreign)))
    assert (not_ours.attempt_id, not_ours.outcome) == (None, None)


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{}", b"not json", event(created_at="soon"), event(payload={"payment": None})],
    ids=["a list", "empty", "not json", "no instant", "no payment"],
)
def test_a_signed_body_that_is_no_event_is_refused(razorpay: RazorpayCounterpart, body: bytes) -> None:
    with pytest.raises(BadWebhook, match="cannot be read"):
        read(razorpay, signed(body))


def test_a_webhook_is_refused_by_name(razorpay: RazorpayCounterpart) -> None:
    with pytest.raises(BadWebhook, match="x-razorpay-signature is missing"):
        read(razorpay, Webhook({"x-razorpay-event-id": "evt_1"}, event()))
    with pytest.raises(BadWebhook, match="does not match the body and any secret"):
        read(razorpay, signed(event(), secret=SECRET + "x"))
    with pytest.raises(BadWebhook, match="x-razorpay-event-id is missing"):
        read(razorpay, signed(event(), event_id=""))
    day_old = int(time.time() - timedelta(hours=24).total_seconds())
    assert read(razorpay, signed(event(created_at=day_old))).event_id == "evt_1"
    with pytest.raises(BadWebhook, match="events come within"):
        read(razorpay, signed(event(created_at=day_old - 3700)))


async def test_a_refused_request_says_what_is_wrong(razorpay: RazorpayCounterpart) -> None:
    asked = replace(razorpay.request("ok"), payment_method="cust_other/token_card")
    with pytest.raises(ProviderRefused, match="HTTP 400: The id provided does not exist"):
        await razorpay.provider.charge(asked)
    assert RECURRING not in [each.path for each in razorpay.company.asked]


@pytest.mark.parametrize(
    ("name", "status", "state"),
    [
        ("created", "open", "needs_response"),
        ("action_required", "open", "needs_response"),
        ("under_review", "under_review", "under_review"),
        ("won", "won", "won"),
        ("lost", "lost", "lost"),
        ("closed", "closed", "won"),
        ("closed", "lost", "lost"),
    ],
)
def test_a_dispute_is_read(razorpay: RazorpayCounterpart, name: str, status: str, state: str) -> None:
    dispute = {
        "id": "disp_1", "payment_id": "pay_1", "amount": 10000, "currency": "INR", "reason_code": "chargeback",
        "respond_by": 1_700_600_000, "status": status,
    }  # fmt: skip
    payment = {"id": "pay_1", "notes": {"attempt_id": "att_1", "invoice_id": "inv_1"}}
    payload = {"dispute": {"entity": dispute}, "payment": {"entity": payment}}
    told = read(razorpay, signed(event(event=f"payment.dispute.{name}", payload=payload)))
    assert told.outcome is None
    assert told.dispute is not None
    assert (told.dispute.provider_dispute_id, told.dispute.amount, told.dispute.state) == (
        "disp_1",
        Decimal(100),
        state,
    )
    assert told.dispute.respond_by == datetime.fromtimestamp(1_700_600_000, UTC)


@pytest.mark.parametrize(
    ("name", "status", "result"),
    [
        ("created", "pending", RefundPending("rfnd_1")),
        ("processed", "processed", Refunded("rfnd_1")),
        ("failed", "failed", RefundDeclined("refund_failed", "rfnd_1")),
    ],
)
@pytest.mark.parametrize("ours", ["refund_1", None])
def test_a_refund_is_read_whoever_made_it(
    razorpay: RazorpayCounterpart, name: str, status: str, result: RefundOutcome, ours: str | None
) -> None:
    refund = {
        "id": "rfnd_1", "entity": "refund", "amount": 1050, "currency": "INR", "payment_id": "pay_1", "status": status,
        "notes": [] if ours is None else {"refund_id": ours},
    }  # fmt: skip
    payment = {"id": "pay_1", "notes": {"attempt_id": "attempt_1", "invoice_id": "inv_1"}, "status": "captured"}
    payload = {"refund": {"entity": refund}, "payment": {"entity": payment}}
    told = read(razorpay, signed(event(event=f"refund.{name}", payload=payload)))
    assert (told.attempt_id, told.outcome, told.dispute) == ("attempt_1", None, None)
    assert told.refund == RefundTold("rfnd_1", "pay_1", Decimal("10.5"), "inr", result, ours)
