"""Meters with buckets and groups over the API: each bucket in the customer's zone, measured and priced by itself."""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.api.test_sdk_billing import Story

SPAN = {"start_time": "2025-01-10T00:00:00Z", "end_time": "2025-01-12T00:00:00Z"}
# The 10th ends at 18:30 UTC in Kolkata.
EVENTS = (
    ("a", "8", "2025-01-10T01:00:00Z"),
    ("a", "12", "2025-01-10T18:29:00Z"),
    ("b", "3", "2025-01-10T06:00:00Z"),
    ("a", "5", "2025-01-10T18:31:00Z"),
)
TENTH, ELEVENTH = "2025-01-09T18:30:00Z", "2025-01-10T18:30:00Z"


@dataclass(frozen=True)
class Nodes:
    """Nodes that are paid by the peak of each day: 1 a unit up to 10, 2 beyond."""

    story: Story
    meter_id: str
    subscription_id: str

    def ask(self, path: str, **more: Any) -> Any:
        return self.story.post(f"/events/{path}", {"external_customer_id": "kolkata", **SPAN, **more})


@pytest.fixture
def nodes(sdk: Any, client: httpx.Client) -> Nodes:
    story = Story(sdk, client)
    peak = {"type": "MAX", "field": "n", "bucket_size": "DAY", "group_by": "node"}
    meter = {"name": "nodes", "event_name": "node", "aggregation": peak, "reset_usage": "BILLING_PERIOD"}
    feature = story.post("/features", {"name": "Nodes", "type": "metered", "meter": meter}, 201)
    plan = story.post("/plans", {"name": "Nodes"}, 201)
    price = {
        "type": "USAGE", "entity_type": "PLAN", "entity_id": plan["id"], "currency": "usd", "billing_model": "TIERED",
        "tier_mode": "SLAB", "billing_period": "MONTHLY", "invoice_cadence": "ARREAR", "meter_id": feature["meter_id"],
        "tiers": [{"up_to": 10, "unit_amount": "1"}, {"up_to": None, "unit_amount": "2"}], "price_unit_type": "FIAT",
    }  # fmt: skip
    story.post("/prices", price, 201)
    customer = {"external_id": "kolkata", "name": "K", "timezone": "Asia/Kolkata", "test_clock_id": story.clock["id"]}
    story.post("/customers", customer, 201)
    body = {
        "external_customer_id": "kolkata", "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY",
        "billing_period_count": 1, "billing_cycle": "anniversary", "start_date": "2025-01-01T00:00:00Z",
    }  # fmt: skip
    subscription = story.post("/subscriptions", body, 201)
    story.advance("2025-01-20T00:00:00Z")
    events = [
        {
            "event_name": "node", "external_customer_id": "kolkata", "event_id": f"n-{number}", "timestamp": at,
            "properties": {"node": node, "n": n},
        }
        for number, (node, n, at) in enumerate(EVENTS)
    ]  # fmt: skip
    story.post("/events/bulk", {"events": events}, 202)
    return Nodes(story, feature["meter_id"], subscription["id"])


def test_each_bucket_of_the_customers_days(nodes: Nodes) -> None:
    by_meter = nodes.ask("usage/meter", meter_id=nodes.meter_id)
    # the 10th: 12 of a and 3 of b; the 11th: 5 of a
    assert (by_meter["type"], by_meter["value"]) == ("MAX", 20)
    assert by_meter["results"] == [{"window_size": TENTH, "value": 15}, {"window_size": ELEVENTH, "value": 5}]
    asked = {"event_name": "node", "aggregation_type": "MAX", "property_name": "n", "bucket_size": "DAY"}
    for grouped in ({"group_by": ["properties.node"]}, {"group_by_property": "node"}):
        assert nodes.ask("usage", **asked, **grouped)["results"] == by_meter["results"]
    # without groups b's 3 is below a's 12
    assert nodes.ask("usage", **asked)["value"] == 17
    # a day of UTC holds all of them
    assert nodes.ask("usage", **asked, timezone="UTC")["results"] == [
        {"window_size": "2025-01-10T00:00:00Z", "value": 12}
    ]
    summed = nodes.ask("usage", **{**asked, "aggregation_type": "SUM", "bucket_size": "12HOUR"})
    assert [result["value"] for result in summed["results"]] == [11, 12, 5]
    # a bucket belongs to the window in which it begins
    week = nodes.ask("usage/meter", meter_id=nodes.meter_id, window_size="WEEK")
    assert week["results"] == [{"window_size": "2025-01-05T18:30:00Z", "value": 20}]
    assert "value" not in nodes.ask("usage/meter", meter_id=nodes.meter_id, start_time="2025-01-11T00:00:00Z")
    refused = nodes.story.client.post("/events/usage/meter", json={"meter_id": nodes.meter_id, "bucket_size": "HOUR"})
    assert (refused.status_code, refused.json()["details"]["field"]) == (400, "bucket_size")


def test_each_is_priced_by_itself(nodes: Nodes, client: httpx.Client) -> None:
    # 12 is 10 + 2 x 2 = 14; with 3 and 5: 22. All 20 at once would be 30.
    charge = client.post("/subscriptions/usage", json={"subscription_id": nodes.subscription_id}).json()["charges"][0]
    assert (charge["quantity"], charge["amount"]) == (20, 22)
    feature = next(item for item in nodes.ask("analytics", window_size="DAY")["items"] if item["name"] == "Nodes")
    assert (feature["total_usage"], feature["total_cost"], feature["event_count"]) == ("20", "22", 4)
    assert feature["points"] == [
        {"timestamp": TENTH, "usage": "15", "event_count": 3, "cost": "17"},
        {"timestamp": ELEVENTH, "usage": "5", "event_count": 1, "cost": "5"},
    ]
    by_node = nodes.ask("analytics", group_by=["properties.node"])["items"]
    assert [(item["properties"], item["total_usage"]) for item in by_node if item["name"] == "Nodes"] == [
        ({"node": "a"}, "17"),
        ({"node": "b"}, "3"),
    ]


def test_the_invoice_shows_each_bucket(nodes: Nodes, client: httpx.Client) -> None:
    nodes.story.advance("2025-02-02T00:00:00Z")
    listed = client.post("/invoices/search", json={"subscription_id": nodes.subscription_id}).json()["items"]
    invoice = client.get(f"/invoices/{listed[0]['id']}").json()
    (line,) = invoice["line_items"]
    assert (invoice["invoice_status"], line["quantity"], line["amount"]) == ("FINALIZED", "20", "22")
    assert client.get(f"/invoices/{invoice['id']}/verify").json()["differences"] == []
    explained = str(client.get(f"/invoices/{invoice['id']}/explain").json())
    assert "of a" in explained
    assert "of b" in explained
