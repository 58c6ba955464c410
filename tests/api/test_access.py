"""Who may do what: keys, roles, expiry, and a walk over every route with another tenant's ids."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from activities.api_keys import create_api_key
from tests.api.conftest import Server, Tenant, new_key

OPEN = {
    "/healthz", "/readyz", "/metrics", "/v1/documents/{key}", "/v1/webhooks/{provider}/{tenant_id}/{environment_id}",
}  # fmt: skip


def operations(server: Server) -> list[tuple[str, str]]:
    """Method and path of everything in the OpenAPI document."""
    document = httpx.get(f"{server.url}/openapi.json").json()
    return [(method.upper(), path) for path, found in document["paths"].items() for method in found]


def test_every_route_needs_a_key(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        for method, path in operations(server):
            if path in OPEN:
                continue
            filled = re.sub(r"{\w+}", "x", path)
            answer = client.request(method, filled)
            assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"}), (method, path)
            wrong = client.request(method, filled, headers={"x-api-key": "sk_wrong"})
            assert (wrong.status_code, wrong.json()) == (401, {"error": "Invalid API key"}), (method, path)


def test_a_key_works_as_a_bearer_token(tenant: Tenant) -> None:
    headers = {"authorization": f"Bearer {tenant.api_key}"}
    assert httpx.get(f"{tenant.base_url}/v1/customers", headers=headers).status_code == 200


def test_expired_and_deleted_keys(server: Server, tenant: Tenant, client: httpx.Client) -> None:
    async def expired() -> str:
        past = datetime.now(UTC) - timedelta(days=2)
        async with server.database.system_transaction() as session:
            made = await create_api_key(session, tenant.scope, "old", past, expires_at=past + timedelta(days=1))
        return made.api_key

    with tenant.client(server.run(expired())) as old:
        assert old.get("/customers").status_code == 401

    made = client.post("/secrets/api/keys", json={"name": "ci", "type": "private_key"}).json()
    with tenant.client(made["api_key"]) as new:
        assert new.get("/customers").status_code == 200
        listed = client.get("/secrets/api/keys").json()["items"]
        assert [item["name"] for item in listed] == ["ci", "tests", "old"]
        assert made["api_key"] not in str(listed)
        assert client.delete(f"/secrets/api/keys/{made['secret']['id']}").status_code == 204
        assert new.get("/customers").status_code == 401


ROLES = [
    ("all_reader", {("GET", "/customers"): 200, ("POST", "/customers/search"): 200, ("POST", "/customers"): 403,
                    ("POST", "/events"): 403, ("GET", "/secrets/api/keys"): 403}),
    ("all_writer", {("GET", "/customers"): 403, ("POST", "/customers"): 400, ("POST", "/events"): 400,
                    ("POST", "/secrets/api/keys"): 403}),
    ("event_ingestor", {("POST", "/events"): 400, ("POST", "/events/bulk"): 400, ("GET", "/customers"): 403,
                        ("POST", "/events/usage"): 403}),
    ("event_reader", {("POST", "/events/usage"): 400, ("POST", "/events/query"): 200, ("POST", "/events"): 403}),
]  # fmt: skip


@pytest.mark.parametrize(("role", "expected"), ROLES)
def test_roles(server: Server, tenant: Tenant, role: str, expected: dict[tuple[str, str], int]) -> None:
    with tenant.client(new_key(server, tenant.scope, (role,))) as client:
        for (method, path), status in expected.items():
            answer = client.request(method, path, json={} if method == "POST" else None)
            assert answer.status_code == status, (method, path, answer.text)


def test_another_tenant_finds_nothing(
    server: Server, tenant: Tenant, other_tenant: Tenant, client: httpx.Client, sdk: Any
) -> None:
    """Every route that takes an id answers 404 to the key of another tenant, whatever the body."""
    ids = make_one_of_each(client, sdk)
    checked = 0
    with other_tenant.client() as stranger, tenant.client() as owner:
        for method, path in operations(server):
            names = re.findall(r"{(\w+)}", path)
            if not names or path in OPEN:
                continue
            filled = path.removeprefix("/v1")
            for name in names:
                filled = filled.replace(f"{{{name}}}", ids[name])
            answer = stranger.request(method, filled, json=BODIES.get((method, path)))
            assert answer.status_code == 404, (method, path, answer.text)
            checked += 1
        for path, key in (("/customers/{}", "customer_id"), ("/plans/{}", "plan_id"), ("/invoices/{}", "invoice_id")):
            assert owner.get(path.format(ids[key])).status_code == 200
        for path in ("/customers", "/plans", "/invoices", "/subscriptions", "/webhooks/endpoints", "/test_clocks"):
            assert stranger.get(path).json()["items"] == []
    assert checked > 35


def test_another_tenant_finds_nothing_by_reference(other_tenant: Tenant, client: httpx.Client, sdk: Any) -> None:
    """Nor may its ids be used inside bodies and query strings."""
    ids = make_one_of_each(client, sdk)
    subscription = {"currency": "usd", "billing_period": "MONTHLY"}
    with other_tenant.client() as stranger:
        own = stranger.post("/customers", json={"external_id": "own", "name": "Own"}).json()["id"]
        for path, body, status in (
            ("/subscriptions", {**subscription, "customer_id": ids["customer_id"], "plan_id": ids["plan_id"]}, 404),
            ("/subscriptions", {**subscription, "customer_id": own, "plan_id": ids["plan_id"]}, 404),
            ("/subscriptions/usage", {"subscription_id": ids["subscription_id"]}, 404),
            ("/events/usage/meter", {"meter_id": ids["meter_id"]}, 404),
            ("/customers", {"external_id": "c", "name": "C", "test_clock_id": ids["clock_id"]}, 404),
            ("/wallets", {"customer_id": ids["customer_id"], "currency": "usd"}, 404),
            ("/features", {"name": "f", "type": "metered", "meter_id": ids["meter_id"]}, 404),
            ("/prices", {**BODIES[("POST", "price")], "entity_id": ids["plan_id"]}, 404),
            ("/taxes/associations", {"tax_rate_code": "walk", "entity_id": own}, 400),
            ("/payments", {"destination_type": "INVOICE", "destination_id": ids["invoice_id"], "amount": "1",
                           "payment_method_type": "OFFLINE", "currency": "usd"}, 404),
        ):  # fmt: skip
            answer = stranger.post(path, json=body)
            assert answer.status_code == status, (path, answer.text)
        assert stranger.put("/customers", params={"id": ids["customer_id"]}, json={"name": "x"}).status_code == 404


BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/wallets/{wallet_id}/top-up"): {"credits_to_add": "1", "transaction_reason": "FREE_CREDIT_GRANT"},
    ("PUT", "/v1/wallets/{wallet_id}"): {"name": "x"},
    ("POST", "/v1/wallets/{wallet_id}/debit"): {"credits": "1", "idempotency_key": "walk"},
    ("PUT", "/v1/customers/{customer_id}"): {"name": "x"},
    ("PUT", "/v1/meters/{meter_id}"): {"filters": []},
    ("PUT", "/v1/features/{feature_id}"): {"name": "x"},
    ("PUT", "/v1/plans/{plan_id}"): {"name": "x"},
    ("PUT", "/v1/subscriptions/{subscription_id}/payment_method"): {"gateway_payment_method_id": "pm_card_succeeds"},
    ("PUT", "/v1/prices/{price_id}"): {"amount": "1"},
    ("PUT", "/v1/taxes/rates/{tax_rate_id}"): {"name": "x"},
    ("PUT", "/v1/taxes/associations/{association_id}"): {"priority": 1},
    ("POST", "/v1/subscriptions/{subscription_id}/cancel"): {"cancellation_type": "immediate"},
    ("POST", "/v1/events/{event_id}/void"): {"reason": "x"},
    ("POST", "/v1/events/{event_id}/amend"): {"reason": "x", "timestamp": "2025-01-01T00:00:00Z"},
    ("PUT", "/v1/invoices/{invoice_id}/payment"): {"payment_status": "SUCCEEDED"},
    ("PUT", "/v1/webhooks/endpoints/{endpoint_id}"): {"enabled": False},
    ("POST", "/v1/test_clocks/{clock_id}/advance"): {"frozen_time": "2030-01-01T00:00:00Z"},
    ("POST", "price"): {
        "type": "FIXED", "entity_type": "PLAN", "currency": "usd", "billing_model": "FLAT_FEE",
        "billing_period": "MONTHLY", "invoice_cadence": "ADVANCE", "price_unit_type": "FIAT", "amount": "10",
    },
}  # fmt: skip


def make_one_of_each(client: httpx.Client, sdk: Any) -> dict[str, str]:
    """One of everything that has an id, under the names of the path parameters."""

    def post(path: str, body: dict[str, Any]) -> Any:
        answer = client.post(path, json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    rate = post("/taxes/rates", {"code": "walk", "name": "Walk", "percentage_value": "1"})
    clock = post("/test_clocks", {"name": "walk", "frozen_time": "2025-01-01T00:00:00Z"})
    customer = post("/customers", {"external_id": "walker", "name": "Walker", "test_clock_id": clock["id"]})
    association = post("/taxes/associations", {"tax_rate_code": "walk", "entity_id": customer["id"]})
    meter = {"name": "m", "event_name": "e", "aggregation": {"type": "COUNT"}, "reset_usage": "BILLING_PERIOD"}
    wallet = post("/wallets", {"external_customer_id": "walker", "currency": "usd"})
    feature = post("/features", {"name": "Walks", "type": "metered", "meter": meter})
    plan = post("/plans", {"name": "Walk"})
    price = post("/prices", {**BODIES[("POST", "price")], "entity_id": plan["id"], "lookup_key": "walk"})
    endpoint = post("/webhooks/endpoints", {"url": "http://127.0.0.1:9/hook"})
    asked = {"external_customer_id": "walker", "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    subscription = post("/subscriptions", {**asked, "start_date": "2025-01-01T00:00:00Z"})
    event = {"event_name": "e", "external_customer_id": "walker", "event_id": "e-walk"}
    assert client.post("/events", json=event).status_code == 202
    invoice = sdk.invoices.query_invoice(subscription_id=subscription["id"]).items[0]
    deadline = datetime.now(UTC) + timedelta(seconds=60)
    while (listed := client.get(f"/webhooks/endpoints/{endpoint['id']}/deliveries").json())["items"] == []:
        assert datetime.now(UTC) < deadline
    while sdk.invoices.get_invoice(id=invoice.id).invoice_status != "FINALIZED":
        assert datetime.now(UTC) < deadline
    payment = post("/payments", {"destination_type": "INVOICE", "destination_id": invoice.id, "amount": "1",
                                 "payment_method_type": "OFFLINE", "currency": "usd"})  # fmt: skip
    refund = post(f"/payments/{payment['id']}/refund", {"amount": "0.5"})
    note = post("/creditnotes", {"invoice_id": invoice.id, "reason": "DUPLICATE", "amount": "0.1"})
    key = post("/secrets/api/keys", {"name": "walk"})["secret"]
    return {
        "tenant_id": customer["tenant_id"], "environment_id": customer["environment_id"], "key_id": key["id"],
        "refund_id": refund["id"], "credit_note_id": note["id"], "dispute_id": "dispute_of_nobody",
        "customer_id": customer["id"], "external_id": "walker", "meter_id": feature["meter_id"],
        "feature_id": feature["id"], "plan_id": plan["id"], "price_id": price["id"], "lookup_key": "walk",
        "tax_rate_id": rate["id"], "association_id": association["id"], "subscription_id": subscription["id"],
        "invoice_id": invoice.id, "payment_id": payment["id"], "endpoint_id": endpoint["id"],
        "delivery_id": listed["items"][0]["id"], "clock_id": clock["id"], "event_id": "e-walk",
        "wallet_id": wallet["id"],
    }  # fmt: skip
