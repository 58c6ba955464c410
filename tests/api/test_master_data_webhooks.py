"""Customers, features and drafts are told to webhooks as the API answers them."""

import json
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import httpx

from activities.outbox import wire_instant
from activities.payloads import when
from starter.schemas.wire import to_wire
from tests.adapters.servers import Receiver
from tests.api.test_operation import subscribe


def told(receiver: Receiver) -> dict[str, Any]:
    """The next event's body."""
    body: dict[str, Any] = json.loads(receiver.received.get(timeout=30).body)
    return body


def listen(client: httpx.Client, receiver: Receiver, *types: str) -> None:
    """These events come to the receiver, one after the other."""
    body = {"url": receiver.url, "enabled_events": types, "ordered": True}
    made = client.post("/webhooks/endpoints", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["ordered"] is True


def test_an_instant_has_as_many_digits_as_it_needs() -> None:
    """In answers and in webhooks, which both write it this way: one in ten ends with a 0."""
    instant = datetime(2026, 1, 31, 8, 0, 0, 606_340, tzinfo=UTC)
    assert (wire_instant(instant), to_wire(instant)) == ("2026-01-31T08:00:00.60634Z",) * 2
    assert when(instant.replace(microsecond=0)) == "2026-01-31T08:00:00Z"


def test_a_customer_is_told_as_it_is_answered(client: httpx.Client) -> None:
    with closing(Receiver()) as receiver:
        listen(client, receiver, *(f"customer.{what}" for what in ("created", "updated", "deleted")))
        made = client.post("/customers", json={"external_id": "acme", "name": "Acme", "tax_id": "GB1"}).json()
        event = told(receiver)
        assert (event["event_type"], event["customer"]) == ("customer.created", made)

        changed = client.put(f"/customers/{made['id']}", json={"name": "Acme Ltd"}).json()
        event = told(receiver)
        assert (event["event_type"], event["customer"]) == ("customer.updated", changed)

        client.delete(f"/customers/{made['id']}")
        event = told(receiver)
        assert (event["event_type"], event["customer"]["status"]) == ("customer.deleted", "deleted")


def test_a_feature_is_told_as_it_is_answered(client: httpx.Client) -> None:
    with closing(Receiver()) as receiver:
        listen(client, receiver, *(f"feature.{what}" for what in ("created", "updated", "deleted")))
        made = client.post("/features", json={"name": "Support", "type": "boolean"}).json()
        event = told(receiver)
        assert (event["event_type"], event["feature"]) == ("feature.created", made)

        changed = client.put(f"/features/{made['id']}", json={"description": "By phone"}).json()
        event = told(receiver)
        assert (event["event_type"], event["feature"]) == ("feature.updated", changed)

        client.delete(f"/features/{made['id']}")
        assert told(receiver)["event_type"] == "feature.deleted"


def test_a_draft_is_told_before_it_is_final(client: httpx.Client) -> None:
    with closing(Receiver()) as receiver:
        listen(client, receiver, "subscription.created", "invoice.create.drafted")
        subscribe(client, cadence="ADVANCE")

        events = [told(receiver) for _ in range(2)]

        drafted = next(event for event in events if event["event_type"] == "invoice.create.drafted")
        assert (drafted["invoice"]["invoice_status"], drafted["invoice"]["total"]) == ("DRAFT", "10")
        assert len(drafted["invoice"]["line_items"]) == 1
