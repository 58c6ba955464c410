"""POST /v1/events/{event_id}/void and /amend: the wire, bad input, who may, and the history."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.conftest import Server, Tenant, new_key

YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).replace(microsecond=0)


def event(event_id: str, n: str, customer: str = "acme") -> dict[str, Any]:
    """One call of `n` units, yesterday."""
    return {
        "event_name": "call",
        "external_customer_id": customer,
        "event_id": event_id,
        "timestamp": YESTERDAY.isoformat(),
        "properties": {"n": n},
    }


def total(client: httpx.Client) -> Any:
    """What acme's calls come to."""
    asked = {"event_name": "call", "aggregation_type": "SUM", "property_name": "n", "external_customer_id": "acme"}
    return client.post("/events/usage", json=asked).json().get("value", 0)


@pytest.fixture
def sent(client: httpx.Client) -> httpx.Client:
    """acme called for 1 and for 2.5; an event of another customer has the id of the second."""
    events = [event("e-1", "1"), event("e-2", "2.5"), event("e-2", "100", "other")]
    assert client.post("/events/bulk", json={"events": events}).status_code == 202
    assert total(client) == 3.5
    return client


def test_void_and_amend_with_their_history(sent: httpx.Client) -> None:
    voided = sent.post("/events/e-1/void", json={"reason": " a test call "})
    assert voided.status_code == 200
    body = voided.json()
    assert (body["action"], body["revision"], body["reason"]) == ("void", 1, "a test call")
    assert (body["before"]["properties"], "after" in body) == ({"n": "1"}, False)
    assert sent.post("/events/e-1/void", json={"reason": "again"}).json() == body
    assert total(sent) == 2.5

    raw = '{"reason":"wrong unit","external_customer_id":"acme","properties":{"n":12345678901234.567890}}'
    amended = sent.post("/events/e-2/amend", content=raw, headers={"content-type": "application/json"})
    assert amended.status_code == 200, amended.text
    assert amended.json()["after"]["properties"] == {"n": "12345678901234.56789"}  # more than a double can carry
    assert amended.json()["before"]["properties"] == {"n": "2.5"}

    listed = sent.get("/events/corrections").json()
    assert [(one["event_id"], one["action"], one["reason"]) for one in listed["items"]] == [
        ("e-2", "amend", "wrong unit"),
        ("e-1", "void", "a test call"),
    ]
    assert listed["items"][1]["created_by"] == sent.get("/secrets/api/keys").json()["items"][0]["id"]
    assert listed["pagination"]["total"] == 2
    assert sent.get("/events/corrections", params={"event_id": "e-1"}).json()["items"] == [body]
    assert sent.get("/events/corrections", params={"external_customer_id": "other"}).json()["items"] == []


def test_another_time(sent: httpx.Client) -> None:
    earlier = YESTERDAY - timedelta(days=30)
    body = {"reason": "clock was wrong", "timestamp": earlier.isoformat()}
    after = sent.post("/events/e-1/amend", json=body).json()["after"]
    assert after["timestamp"] == earlier.isoformat().replace("+00:00", "Z")
    assert total(sent) == 2.5  # the seven days before now


@pytest.mark.parametrize(
    ("verb", "body", "field"),
    [
        ("void", {}, "reason"),
        ("void", {"reason": "  "}, "reason"),
        ("void", {"reason": 5}, "reason"),
        ("amend", {"properties": {"n": "1"}}, "reason"),
        ("amend", {"reason": "r"}, "properties"),
        ("amend", {"reason": "r", "timestamp": "yesterday"}, "timestamp"),
        ("amend", {"reason": "r", "timestamp": "2015-01-01T00:00:00Z"}, "timestamp"),
        ("amend", {"reason": "r", "timestamp": "2100-01-01T00:00:00Z"}, "timestamp"),
        ("amend", {"reason": "r", "event_name": " "}, "event_name"),
        ("amend", {"reason": "r", "properties": [1]}, "properties"),
        ("amend", {"reason": "r", "properties": {"a": "x" * 300_000}}, "properties"),
        ("amend", {"reason": "r", "properties": {"n": "1"}}, "properties"),  # what it says already
    ],
)
def test_bad_input_is_refused_by_field(sent: httpx.Client, verb: str, body: dict[str, Any], field: str) -> None:
    answer = sent.post(f"/events/e-1/{verb}", json=body)
    assert (answer.status_code, answer.json().get("details", {}).get("field")) == (400, field), answer.text
    assert sent.get("/events/corrections").json()["items"] == []
    assert total(sent) == 3.5


def test_what_cannot_be_corrected(sent: httpx.Client, other_tenant: Tenant) -> None:
    assert sent.post("/events/e-9/void", json={"reason": "r"}).status_code == 404
    shared = sent.post("/events/e-2/void", json={"reason": "r"})
    assert (shared.status_code, shared.json()["details"]["field"]) == (400, "external_customer_id")
    with other_tenant.client() as stranger:
        for verb, body in (("void", {}), ("amend", {"source": "x"}), ("amend", {"timestamp": YESTERDAY.isoformat()})):
            assert stranger.post(f"/events/e-1/{verb}", json={"reason": "r", **body}).status_code == 404
        assert stranger.get("/events/corrections").json()["items"] == []
    sent.post("/events/e-1/void", json={"reason": "r"})
    refused = sent.post("/events/e-1/amend", json={"reason": "r", "source": "x"})
    assert (refused.status_code, refused.json()["details"]["state"]) == (409, "void")


def test_who_may_correct(server: Server, tenant: Tenant, sent: httpx.Client) -> None:
    for role, void, history in (("event_ingestor", 403, 403), ("event_reader", 403, 200), ("all_writer", 200, 403)):
        with tenant.client(new_key(server, tenant.scope, (role,))) as client:
            assert client.post("/events/e-1/void", json={"reason": "r"}).status_code == void, role
            assert client.get("/events/corrections").status_code == history, role
