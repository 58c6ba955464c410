"""Health, readiness, metrics, request ids, the OpenAPI document, webhooks and their secrets, ingestion's door."""

import json
import re
from contextlib import closing
from typing import Any

import httpx
from standardwebhooks import Webhook

from tests.adapters.servers import Receiver
from tests.api.conftest import Server, Tenant


def test_health_readiness_and_metrics(server: Server) -> None:
    assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok"}
    ready = httpx.get(f"{server.url}/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["parts"] == {"postgres": "ok", "clickhouse": "ok", "temporal": "ok"}
    metrics = httpx.get(f"{server.url}/metrics")
    assert 'durabill_http_requests_total{method="GET",route="/healthz",status="200"}' in metrics.text


def test_request_ids(client: httpx.Client) -> None:
    assert client.get("/customers", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = {client.get("/customers").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    assert client.get("/customers", headers={"X-Request-ID": "x" * 200}).headers["x-request-id"] != "x" * 200
    refused = httpx.get(str(client.base_url) + "customers", headers={"X-Request-ID": "mine-2"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (401, "mine-2")


def test_the_openapi_document(server: Server) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)
            assert "422" not in operation["responses"]
    create = document["paths"]["/v1/customers"]["post"]
    assert {parameter["name"] for parameter in create["parameters"]} == {"Idempotency-Key"}
    assert {"201", "400", "401", "403", "409"} <= set(create["responses"])
    assert {"/v1/events", "/v1/events/bulk"} <= set(document["paths"])
    assert "/docs" not in document["paths"]
    assert httpx.get(f"{server.url}/docs").status_code == 200


def test_lists_page_sort_and_filter(client: httpx.Client) -> None:
    for number in range(5):
        body = {"external_id": f"c{number}", "name": f"Name {4 - number}", "metadata": {"odd": str(number % 2)}}
        assert client.post("/customers", json=body).status_code == 201

    def found(**body: Any) -> list[str]:
        return [item["external_id"] for item in client.post("/customers/search", json=body).json()["items"]]

    first = client.get("/customers", params={"limit": 2, "offset": 1}).json()
    assert [item["external_id"] for item in first["items"]] == ["c3", "c2"]
    assert first["pagination"] == {"total": 5, "limit": 2, "offset": 1}
    assert found(order="asc", limit=2) == ["c0", "c1"]
    assert found(sort=[{"field": "name", "direction": "asc"}]) == ["c4", "c3", "c2", "c1", "c0"]
    assert found(external_ids=["c1", "c3"]) == ["c3", "c1"]
    assert found(metadata={"odd": "1"}) == ["c3", "c1"]
    contains = {"field": "name", "operator": "contains", "data_type": "string", "value": {"string": "NAME 4"}}
    assert found(filters=[contains]) == ["c0"]
    among = {"field": "external_id", "operator": "in", "data_type": "array", "value": {"array": ["c2", "c4"]}}
    assert found(filters=[among], order="asc") == ["c2", "c4"]
    before = {"field": "created_at", "operator": "before", "value": {"date": "2020-01-01T00:00:00Z"}}
    assert found(filters=[before]) == []


def test_the_customers_shape_on_the_wire(client: httpx.Client) -> None:
    body = client.post("/customers", json={"external_id": "acme", "name": "Acme"}).json()
    always = {
        "id", "external_id", "name", "email", "address_line1", "address_line2", "address_city", "address_state",
        "address_postal_code", "address_country", "timezone", "metadata", "environment_id", "tenant_id", "status",
        "created_at", "updated_at", "created_by", "updated_by",
    }  # fmt: skip
    assert set(body) == always
    assert (body["email"], body["timezone"], body["metadata"]) == ("", "UTC", {})
    assert body["created_at"].endswith("Z")


def test_webhooks_are_signed_rotated_and_replayed(client: httpx.Client) -> None:
    with closing(Receiver()) as receiver:
        wanted = {"url": receiver.url, "enabled_events": ["subscription.created"]}
        made = client.post("/webhooks/endpoints", json=wanted)
        assert made.status_code == 201, made.text
        endpoint, secret = made.json()["id"], made.json()["secret"]
        assert "secret" not in client.get(f"/webhooks/endpoints/{endpoint}").json()
        subscribe(client)
        received = receiver.received.get(timeout=30)
        assert Webhook(secret).verify(received.body, received.headers)["event_type"] == "subscription.created"

        rotated = client.post(f"/webhooks/endpoints/{endpoint}/rotate-secret", json={"overlap_seconds": 3600}).json()
        assert rotated["secret"] != secret
        assert client.post(f"/webhooks/endpoints/{endpoint}/rotate-secret").status_code == 409
        delivery = wait_for_delivery(client, endpoint)
        assert (delivery["event_type"], delivery["last_status_code"]) == ("subscription.created", 200)
        replayed = client.post(f"/webhooks/deliveries/{delivery['id']}/replay")
        assert replayed.status_code == 200, replayed.text
        again = receiver.received.get(timeout=30)
        assert again.body == received.body
        for each in (secret, rotated["secret"]):
            assert Webhook(each).verify(again.body, again.headers)["id"] == json.loads(received.body)["id"]

        changed = client.put(f"/webhooks/endpoints/{endpoint}", json={"enabled": False}).json()
        assert changed["endpoint_status"] == "disabled"
        assert client.post(f"/webhooks/deliveries/{delivery['id']}/replay").status_code == 409
        assert client.delete(f"/webhooks/endpoints/{endpoint}").json()["message"]
        assert client.get("/webhooks/endpoints").json()["items"] == []


def wait_for_delivery(client: httpx.Client, endpoint: str) -> Any:
    """The endpoint's delivery once it is written down as delivered."""
    for _ in range(500):
        [found] = client.get(f"/webhooks/endpoints/{endpoint}/deliveries").json()["items"]
        if found["delivery_status"] == "delivered":
            return found
    raise AssertionError(found)


def subscribe(client: httpx.Client, cadence: str = "ARREAR") -> None:
    """A subscription that begins now."""
    plan = client.post("/plans", json={"name": "p"}).json()["id"]
    price = {
        "type": "FIXED", "entity_type": "PLAN", "entity_id": plan, "currency": "usd", "billing_model": "FLAT_FEE",
        "billing_period": "MONTHLY", "invoice_cadence": cadence, "price_unit_type": "FIAT", "amount": "10",
    }  # fmt: skip
    assert client.post("/prices", json=price).status_code == 201
    customer = client.post("/customers", json={"external_id": "acme", "name": "Acme"}).json()["id"]
    body = {"customer_id": customer, "plan_id": plan, "currency": "usd", "billing_period": "MONTHLY"}
    assert client.post("/subscriptions", json=body).status_code == 201


def test_events_are_measured_on_the_customers_clock(client: httpx.Client) -> None:
    clock = client.post("/test_clocks", json={"name": "c", "frozen_time": "2020-01-01T00:00:00Z"}).json()["id"]
    client.post("/customers", json={"external_id": "past", "name": "Past", "test_clock_id": clock})
    event = {"event_name": "call", "external_customer_id": "past", "timestamp": "2020-01-01T10:00:00Z"}
    assert client.post("/events", json=event).status_code == 202
    assert client.post("/events", json={**event, "timestamp": "2020-01-03T00:00:00Z"}).status_code == 400
    now = {**event, "external_customer_id": "present"}
    assert client.post("/events", json=now).status_code == 400  # six years ago by the real clock
    listed = client.post("/events/query", json={"external_customer_id": "past", "end_time": "2020-01-02T00:00:00Z"})
    assert [(item["event_name"], item["timestamp"]) for item in listed.json()["events"]] == [
        ("call", "2020-01-01T10:00:00Z")
    ]


def test_billing_settings(client: httpx.Client) -> None:
    before = client.get("/settings/billing").json()["value"]
    assert before["finalization_delay_seconds"] == 7200
    seller = {"name": "Demo Voice", "address": ["1 Main Street", "Pune"], "email": "billing@demo.example"}
    changed = client.put("/settings/billing", json={"seller": seller, "due_date_days": 14}).json()["value"]
    assert (changed["seller"]["name"], changed["due_date_days"]) == ("Demo Voice", 14)
    assert client.get("/settings/billing").json()["value"] == changed
    refused = client.put("/settings/billing", json={"due_date_days": 9999})
    assert (refused.status_code, refused.json()["details"]["field"]) == (400, "due_date_days")
    assert client.get("/settings/billing").json()["value"] == changed
    assert client.get("/settings/saml_config").status_code == 501


def test_the_documentation_page_loads_nothing_from_elsewhere(tenant: Tenant) -> None:
    with tenant.client() as client:
        root = tenant.base_url
        page = client.get(f"{root}/docs")
        sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert page.status_code == 200
        assert sources
        for source in sources:
            assert source.startswith("/"), source
            assert client.get(f"{root}{source}").status_code == 200
