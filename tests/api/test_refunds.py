"""Refunds over the API: the official SDK reads and retries them, ours are asked for and given up."""

import time
from typing import Any

import httpx

from tests.api.test_sdk_billing import PATIENCE_SECONDS, Story


def until_settled(sdk: Any, refund_id: str) -> Any:
    """The refund, once the provider has answered."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (refund := sdk.refunds.get_refund(id=refund_id)).refund_status in ("PENDING", "PROCESSING"):
        assert time.monotonic() < deadline, refund
        time.sleep(0.05)
    return refund


def test_a_payment_is_given_back(sdk: Any, client: httpx.Client) -> None:
    story = Story(sdk, client)
    story.advance("2025-01-02T00:00:00Z")
    invoice = story.invoice(invoice_status=["FINALIZED"])
    payment = sdk.payments.list_payments(destination_id=invoice.id).items[0]
    path = f"/payments/{payment.id}/refund"

    # 3 seats at 12.5 and 18 % tax: 44.25 were charged.
    for body, field in (({"amount": "44.26"}, "amount"), ({"amount": "0.001"}, "amount"), ({"reason": "x"}, "reason")):
        refused = client.post(path, json=body)
        assert (refused.status_code, refused.json()["details"]["field"]) == (400, field), refused.text
    asked = story.post(path, {"amount": "4.25", "reason": "SERVICE_ISSUE", "idempotency_key": "r1"}, 201)
    assert story.post(path, {"amount": "4.25", "idempotency_key": "r1"}, 201)["id"] == asked["id"]

    refund = until_settled(sdk, asked["id"])
    assert (refund.refund_status, refund.amount, refund.settled_amount) == ("SUCCEEDED", "4.25", "4.25")
    assert (refund.refund_reason, refund.refund_destination) == ("SERVICE_ISSUE", "GATEWAY")
    assert sdk.payments.get_payment(id=payment.id).payment_status == "PARTIALLY_REFUNDED"
    assert sdk.invoices.get_invoice(id=invoice.id).refunded_amount == "4.25"

    rest = until_settled(sdk, story.post(path, {}, 201)["id"])
    assert rest.amount == "40"
    assert sdk.invoices.get_invoice(id=invoice.id).payment_status == "REFUNDED"
    assert client.post(path).status_code == 409
    assert client.post(f"/refunds/{rest.id}/retry").status_code == 409
    listed = sdk.refunds.list_refunds(payment_ids=[payment.id], only_settled=True)
    assert [each.id for each in listed.items] == [rest.id, refund.id]
    assert client.get("/disputes").json()["items"] == []


def test_what_was_paid_outside_is_given_back_outside(sdk: Any, client: httpx.Client) -> None:
    story = Story(sdk, client, card="pm_card_declines_soft")
    story.advance("2025-01-02T00:00:00Z")
    invoice = story.invoice(invoice_status=["FINALIZED"])
    paying = {"destination_type": "INVOICE", "destination_id": invoice.id, "payment_method_type": "OFFLINE",
              "currency": "usd"}  # fmt: skip
    payment = story.post("/payments", {**paying, "amount": "44.25"}, 201)

    refund = story.post(f"/payments/{payment['id']}/refund", {"amount": "10"}, 201)

    assert (refund["refund_status"], refund["refund_destination"]) == ("SUCCEEDED", "OUT_OF_BAND")
    assert client.post(f"/refunds/{refund['id']}/cancel").status_code == 409
