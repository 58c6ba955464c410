"""The official SDK: voids of paid invoices, money beyond what is owed, and what is answered in the wrong state."""

from decimal import Decimal
from typing import Any

import httpx

from tests.api.test_sdk_billing import Story


def refused(client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[str, list[str]]:
    """The state and what is possible, of a command that answers 409."""
    answer = client.request(method, path, json=body)
    assert answer.status_code == 409, answer.text
    details = answer.json()["details"]
    return details["state"], details["possible"]


def test_a_void_of_a_paid_invoice_fills_the_wallet(sdk: Any, client: httpx.Client) -> None:
    story = Story(sdk, client)
    story.advance("2025-01-01T00:00:01Z")
    opening = story.invoice(invoice_status=["FINALIZED"])
    paid = opening.amount_paid
    assert (opening.payment_status, opening.amount_remaining) == ("SUCCEEDED", "0")

    assert sdk.invoices.void_invoice(id=opening.id).message

    voided = sdk.invoices.get_invoice(id=opening.id)
    assert (voided.invoice_status, voided.payment_status, voided.refunded_amount) == ("VOIDED", "REFUNDED", paid)
    (wallet,) = client.get(f"/customers/{story.customer['id']}/wallets").json()
    assert (wallet["wallet_type"], wallet["balance"], wallet["config"]["allowed_price_types"]) == (
        "PRE_PAID", paid, ["ALL"],
    )  # fmt: skip
    (given,) = sdk.wallets.get_wallet_transactions(id_path_parameter=wallet["id"]).items
    assert (given.transaction_reason, given.reference_type, given.reference_id) == (
        "INVOICE_VOID_REFUND", "INVOICE", opening.id,
    )  # fmt: skip
    payment = sdk.payments.list_payments(destination_id=opening.id).items[0]
    assert refused(client, "POST", f"/payments/{payment.id}/refund", {"amount": "1"})[0] == "REFUNDED"


def test_money_beyond_what_is_owed_goes_to_the_wallet_and_back(sdk: Any, client: httpx.Client) -> None:
    story = Story(sdk, client, card="pm_card_declines_soft")
    story.advance("2025-01-01T00:00:01Z")
    opening = story.invoice(invoice_status=["FINALIZED"])
    payment = sdk.payments.create_payment(
        destination_type="INVOICE", destination_id=opening.id, payment_method_type="OFFLINE", amount="100",
        currency="usd", idempotency_key="transfer-1",
    )  # fmt: skip
    settled = sdk.invoices.get_invoice(id=opening.id)
    assert (settled.payment_status, settled.amount_paid, payment.amount) == ("SUCCEEDED", opening.amount_due, "100")
    (wallet,) = client.get(f"/customers/{story.customer['id']}/wallets").json()
    assert Decimal(wallet["balance"]) == 100 - Decimal(opening.amount_due)

    refund = client.post(f"/payments/{payment.id}/refund", json={"amount": wallet["balance"]})
    assert refund.status_code == 201, refund.text

    assert sdk.invoices.get_invoice(id=opening.id).payment_status == "SUCCEEDED"
    assert client.get(f"/customers/{story.customer['id']}/wallets").json()[0]["balance"] == "0"


def test_a_command_in_the_wrong_state_says_what_is_possible(sdk: Any, client: httpx.Client) -> None:
    story = Story(sdk, client, card="pm_card_declines_hard")
    story.advance("2025-02-01T00:00:30Z")
    draft, opening = story.invoice(invoice_status=["DRAFT"]), story.invoice(invoice_status=["FINALIZED"])
    pay = {"payment_status": "SUCCEEDED", "amount": "1"}
    assert refused(client, "PUT", f"/invoices/{draft.id}/payment", pay) == ("DRAFT", ["finalize", "void"])
    assert refused(client, "POST", f"/invoices/{draft.id}/payment/attempt") == ("DRAFT", ["finalize", "void"])
    unpaid = ["attempt_payment", "pay", "void"]
    assert refused(client, "POST", f"/invoices/{opening.id}/finalize") == ("FINALIZED", unpaid)

    sdk.invoices.update_invoice_payment_status(id=opening.id, payment_status="SUCCEEDED")

    assert refused(client, "PUT", f"/invoices/{opening.id}/payment", pay) == ("SUCCEEDED", ["void"])
    assert refused(client, "POST", f"/invoices/{opening.id}/payment/attempt") == ("SUCCEEDED", ["void"])
    assert refused(client, "POST", f"/invoices/{opening.id}/finalize") == ("FINALIZED", ["void"])
    sdk.invoices.void_invoice(id=opening.id)
    for method, command, body in (("POST", "void", {}), ("POST", "finalize", {}), ("PUT", "payment", pay)):
        assert refused(client, method, f"/invoices/{opening.id}/{command}", body) == ("VOIDED", [])
