"""The official SDK through wallets: made, topped up, drawn by an invoice, seen in real time, debited, ended."""

from typing import Any

import httpx
import pytest

from tests.api.conftest import Tenant
from tests.api.test_sdk_billing import Story


@pytest.fixture
def story(sdk: Any, client: httpx.Client) -> Story:
    """A customer with 3 seats and calls, on a test clock at 1 January 2025."""
    return Story(sdk, client)


def test_credits_pay_the_calls_of_a_month(story: Story, sdk: Any) -> None:
    wallet = sdk.wallets.create_wallet(external_customer_id="acme", currency="usd", conversion_rate="1")
    assert (wallet.balance, wallet.credit_balance, wallet.wallet_status, wallet.wallet_type, wallet.name) == (
        "0", "0", "active", "PRE_PAID", "Prepaid Wallet - USD",
    )  # fmt: skip
    assert wallet.config.allowed_price_types == ["USAGE"]
    topped = sdk.wallets.top_up_wallet(
        id=wallet.id, transaction_reason="PURCHASED_CREDIT_DIRECT", credits_to_add="50", idempotency_key="k1",
        bonus_credits_to_add="10",
    )  # fmt: skip
    assert (topped.wallet_transaction.credit_amount, topped.wallet_transaction.type) == ("50", "credit")
    assert (topped.wallet.balance, topped.wallet.credits_available_breakdown.purchased) == ("60", "50")
    assert topped.wallet.credits_available_breakdown.free == "10"

    story.advance("2025-01-20T00:00:00Z")
    sdk.events.ingest_event(**story.call("e-1", "1000", "2025-01-02T12:00:00Z"))
    # 1000 seconds at 0.0015 are 1.50, seen at once; nothing is unpaid by usage
    live = sdk.wallets.get_wallet_balance(id=wallet.id)
    assert (live.balance, live.current_period_usage, live.real_time_balance) == ("60", "1.5", "58.5")
    assert (live.unpaid_invoices_amount, live.is_cached_fallback) == ("0", False)

    story.advance("2025-02-01T03:00:00Z")
    invoice = story.invoice(invoice_status=["FINALIZED"])
    usage = next(line for line in invoice.line_items if line.price_type == "USAGE")
    # 18 % of all lines is taxed before credits: they lower what is due, never the tax
    assert (usage.amount, usage.prepaid_credits_applied, invoice.total_prepaid_credits_applied) == ("1.5", "1.5", "1.5")
    assert sdk.wallets.get_wallet(id=wallet.id).balance == "58.5"
    listed = sdk.wallets.get_wallet_transactions(id_path_parameter=wallet.id).items
    assert [(one.transaction_reason, one.credit_amount, one.credit_balance_after) for one in listed] == [
        ("INVOICE_PAYMENT", "1.5", "58.5"),
        ("PURCHASED_CREDIT_BONUS", "10", "60"),
        ("PURCHASED_CREDIT_DIRECT", "50", "50"),
    ]
    assert listed[0].reference_type == "INVOICE"
    assert listed[0].reference_id == invoice.id
    assert [one.credits_available for one in listed] == ["0", "10", "48.5"]

    debit = {"credits": "8.5", "transaction_reason": "MANUAL_BALANCE_DEBIT", "idempotency_key": "d1"}
    assert story.post(f"/wallets/{wallet.id}/debit", debit)["wallet"]["balance"] == "50"
    assert story.post(f"/wallets/{wallet.id}/debit", debit)["wallet"]["balance"] == "50"
    assert [one.id for one in sdk.wallets.get_wallets_by_customer_id(id=story.customer["id"])] == [wallet.id]
    seen = sdk.wallets.get_customer_wallets(lookup_key="acme", include_real_time_balance=True)
    assert [one.real_time_balance for one in seen] == ["50"]
    ended = sdk.wallets.terminate_wallet(id=wallet.id)
    assert (ended.wallet_status, ended.balance) == ("closed", "0")


def test_what_a_wallet_refuses(story: Story, client: httpx.Client, other_tenant: Tenant) -> None:
    wallet = story.post("/wallets", {"customer_id": story.customer["id"], "currency": "usd"})["id"]
    again = client.post("/wallets", json={"customer_id": story.customer["id"], "currency": "usd"})
    assert (again.status_code, "active PRE_PAID wallet in usd" in again.text) == (409, True)
    top_up = {"credits_to_add": "1", "transaction_reason": "FREE_CREDIT_GRANT"}
    for path, body, status, field in (
        ("/wallets", {"currency": "usd"}, 400, "customer_id"),
        ("/wallets", {"customer_id": "cust_none", "currency": "usd"}, 404, "customer_id"),
        ("/wallets", {"external_customer_id": "acme", "currency": "zzz"}, 400, "currency"),
        ("/wallets", {"external_customer_id": "acme", "currency": "eur", "price_unit": "tok"}, 400, "price_unit"),
        ("/wallets", {"external_customer_id": "acme", "currency": "eur", "wallet_type": "PAID"}, 400, "wallet_type"),
        (f"/wallets/{wallet}/top-up", {**top_up, "credits_to_add": "-1"}, 400, "credits_to_add"),
        (f"/wallets/{wallet}/top-up", {**top_up, "amount": "2"}, 400, "credits_to_add"),
        (f"/wallets/{wallet}/top-up", {**top_up, "transaction_reason": "CREDIT_NOTE"}, 400, "transaction_reason"),
        (f"/wallets/{wallet}/top-up", {**top_up, "expiry_date": 20259999}, 400, "expiry_date"),
        (f"/wallets/{wallet}/top-up", {**top_up, "expiry_date_utc": "2024-12-31T00:00:00Z"}, 400, "expiry_date_utc"),
        (f"/wallets/{wallet}/debit", {"credits": "1", "idempotency_key": "x"}, 409, "credits"),
        ("/wallets/wallet_none/top-up", top_up, 404, "wallet_id"),
    ):  # fmt: skip
        answer = client.post(path, json=body)
        assert (answer.status_code, field in answer.text) == (status, True), answer.text
    assert client.get(f"/wallets/{wallet}/transactions").json()["items"] == []
    with other_tenant.client() as stranger:
        assert stranger.get(f"/wallets/{wallet}").status_code == 404
        assert stranger.get(f"/wallets/{wallet}/balance/real-time").status_code == 404
        assert stranger.post(f"/wallets/{wallet}/top-up", json=top_up).status_code == 404
