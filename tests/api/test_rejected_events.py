"""GET /v1/events/rejected: what was accepted and counts nowhere, until a meter wants it."""

import httpx

from tests.api.conftest import Tenant

EVENT = {"event_name": "unheard_of", "external_customer_id": "acme", "properties": {"n": "1"}}


def test_events_that_no_meter_wants_are_told_of_and_kept(client: httpx.Client, other_tenant: Tenant) -> None:
    events = [{**EVENT, "event_id": f"rejected-{number}"} for number in range(3)]
    assert client.post("/events/bulk", json={"events": events}).status_code == 202

    [item] = [each for each in client.get("/events/rejected").json()["items"] if each["event_name"] == "unheard_of"]

    assert (item["reason"], item["count"], item["customers"]) == ("no_meter_for_event_name", 3, 1)
    assert item["example_event_id"].startswith("rejected-")
    with other_tenant.client() as stranger:
        assert stranger.get("/events/rejected").json()["items"] == []
    meter = {"name": "unheard of", "event_name": "unheard_of", "aggregation": {"type": "COUNT"}}
    assert client.post("/meters", json={**meter, "reset_usage": "BILLING_PERIOD"}).status_code == 201
    names = [each["event_name"] for each in client.get("/events/rejected").json()["items"]]
    assert "unheard_of" not in names
    usage = client.post(
        "/events/usage", json={"event_name": "unheard_of", "external_customer_id": "acme", "aggregation_type": "COUNT"}
    )
    assert usage.json()["value"] == 3, "a meter that is made later counts them"


def test_bad_input(client: httpx.Client) -> None:
    answer = client.get("/events/rejected", params={"start_time": "2025-01-02T00:00:00Z", "end_time": "2025-01-01"})
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, "end_time")
    answer = client.get("/events/rejected", params={"start_time": "2020-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, "start_time")
