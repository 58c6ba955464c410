"""Every kind of meter through the official SDK: from events to finalized invoices that can be verified."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.api.test_sdk_billing import Story

START = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Kind:
    """A meter, its price for one unit, and what January and February come to: quantity and amount."""

    aggregation: dict[str, str]
    amount: str
    january: tuple[str, str]
    february: tuple[str, str]
    more: dict[str, str] = field(default_factory=dict)


# `n` on 11, 21 and 31 January: 10, 5 and 1; on 10 February: 4.
EVENTS = (("10", "2025-01-11"), ("5", "2025-01-21"), ("1", "2025-01-31"), ("4", "2025-02-10"))
NEVER = {"reset_usage": "NEVER"}
KINDS = {
    # 16 / 3 x 0.3 = 1.60, exactly
    "average": Kind({"type": "AVG", "field": "n"}, "0.3", ("5.333333333333", "1.6"), ("4", "1.2")),
    "least": Kind({"type": "MIN", "field": "n"}, "2", ("1", "2"), ("4", "8")),
    "halves": Kind({"type": "SUM_WITH_MULTIPLIER", "field": "n", "multiplier": "0.5"}, "1", ("8", "8"), ("2", "2")),
    # 10 for 21 days, 5 for 11 days and 1 for 1 day of 31: 266 / 31 x 3.1 = 26.60; 4 for 19 days of 28: 8.414...
    "level": Kind({"type": "WEIGHTED_SUM", "field": "n"}, "3.1", ("8.58064516129", "26.6"), ("2.714285714286", "8.41")),
    # 16 for all of February as well: 16 + 76 / 28 = 18.714... x 3.1 = 58.014...
    "seats": Kind(
        {"type": "WEIGHTED_SUM", "field": "n"}, "3.1", ("8.58064516129", "26.6"), ("18.714285714286", "58.01"), NEVER
    ),
    # 10 / 60 + 5 / 60 + 1 / 60, each at 12 digits, x 0.6
    "minutes": Kind(
        {"type": "SUM", "expression": "n / 60"}, "0.6", ("0.266666666667", "0.16"), ("0.066666666667", "0.04")
    ),
    "peaks": Kind({"type": "MAX", "field": "n", "bucket_size": "WEEK"}, "1", ("16", "16"), ("4", "4")),
    "peak": Kind({"type": "MAX", "field": "n", "bucket_size": "MONTH"}, "0.5", ("10", "5"), ("4", "2")),
    "stored": Kind({"type": "SUM", "field": "n"}, "0.1", ("16", "1.6"), ("20", "2"), NEVER),
}


def subscribe(sdk: Any, story: Story, customer: str, kinds: dict[str, Kind]) -> str:
    """A customer on the story's clock who pays for these meters. Returns the subscription's id."""
    plan = sdk.plans.create_plan(name="Meters")
    for name, kind in kinds.items():
        meter = {"name": name, "event_name": "used", "aggregation": kind.aggregation, **kind.more}
        # The SDK writes neither MIN nor what its own list of names lacks.
        feature = story.post("/features", {"name": name, "type": "metered", "meter": meter}, 201)
        sdk.prices.create_price(
            type_="USAGE", entity_type="PLAN", entity_id=plan.id, currency="usd", billing_model="FLAT_FEE",
            billing_period="MONTHLY", invoice_cadence="ARREAR", price_unit_type="FIAT", amount=kind.amount,
            meter_id=feature["meter_id"], display_name=name,
        )  # fmt: skip
    story.post("/customers", {"external_id": customer, "name": customer, "test_clock_id": story.clock["id"]}, 201)
    subscription = sdk.subscriptions.create_subscription(
        external_customer_id=customer, plan_id=plan.id, currency="usd", billing_period="MONTHLY",
        billing_period_count=1, billing_cycle="anniversary", start_date=START,
    )  # fmt: skip
    return str(subscription.id)


def use(sdk: Any, customer: str, number: int, at: str, properties: dict[str, str]) -> None:
    """One event."""
    sdk.events.ingest_event(
        event_name="used", external_customer_id=customer, event_id=f"u-{number}", timestamp=at, properties=properties
    )


def billed(sdk: Any, client: httpx.Client, subscription: str) -> list[dict[str, tuple[str, str]]]:
    """What each finalized invoice with usage says of each line, the oldest first; each can be verified."""
    found = []
    for invoice in reversed(sdk.invoices.query_invoice(subscription_id=subscription).items):
        full = sdk.invoices.get_invoice(id=invoice.id)
        assert client.get(f"/invoices/{invoice.id}/verify").json()["differences"] == []
        assert len(client.get(f"/invoices/{invoice.id}/explain").json()["lines"]) == len(full.line_items)
        if full.line_items and full.invoice_status == "FINALIZED":
            found.append({line.display_name: (line.quantity, line.amount) for line in full.line_items})
    return found


@pytest.fixture
def story(sdk: Any, client: httpx.Client) -> Story:
    """A clock at 1 January 2025."""
    return Story(sdk, client)


def test_what_no_close_could_read_is_refused_when_it_is_saved(story: Story, sdk: Any) -> None:
    """A year of minutes, thousands of values, an expression as deep as it is long: each with its field and reason."""
    meter = {"name": "Wide", "event_name": "used", "aggregation": {"type": "SUM", "field": "n"}}
    values = [{"key": f"p{number}", "values": [str(value) for value in range(501)]} for number in range(2)]
    refused = story.post("/meters", {**meter, "filters": values}, 400)
    assert refused["details"]["field"] == "filters"
    assert "1000 values at most; got 1002" in refused["message"]
    refused = story.post("/meters", {**meter, "aggregation": {"type": "SUM", "expression": "-".join(["n"] * 90)}}, 400)
    assert refused["details"]["field"] == "aggregation.expression"
    minutes = {**meter, "aggregation": {"type": "MAX", "field": "n", "bucket_size": "MINUTE"}}
    price = {
        "type": "USAGE", "entity_type": "PLAN", "entity_id": sdk.plans.create_plan(name="Minutes").id,
        "currency": "usd", "billing_model": "FLAT_FEE", "billing_period_count": 1, "invoice_cadence": "ARREAR",
        "price_unit_type": "FIAT", "amount": "1", "meter_id": story.post("/meters", minutes, 201)["id"],
    }  # fmt: skip
    refused = story.post("/prices", {**price, "billing_period": "ANNUAL"}, 400)
    assert refused["details"]["field"] == "billing_period"
    assert "50000 at most; got 1 x ANNUAL" in refused["message"]
    story.post("/prices", {**price, "billing_period": "MONTHLY"}, 201)


def test_each_aggregation_and_reset_from_events_to_invoices(story: Story, sdk: Any, client: httpx.Client) -> None:
    subscription = subscribe(sdk, story, "meters", KINDS)
    stored = client.get("/meters").json()["items"]
    assert {meter["name"]: meter["aggregation"] for meter in stored if meter["name"] in KINDS} == {
        name: kind.aggregation for name, kind in KINDS.items()
    }
    for number, (n, day) in enumerate(EVENTS):
        story.advance(f"{day}T06:00:00Z")
        use(sdk, "meters", number, f"{day}T00:00:00Z", {"n": n})
    story.advance("2025-02-15T00:00:00Z")
    so_far = client.post("/subscriptions/usage", json={"subscription_id": subscription}).json()
    charges = {charge["meter_display_name"]: charge["amount"] for charge in so_far["charges"]}
    # of February's 28 days 14 have passed: 4 for 5 days; and with the 16 of before, (16 x 14 + 4 x 5) / 28 x 3.1
    assert (charges["level"], charges["seats"]) == (2.21, 27.01)
    story.advance("2025-03-02T00:00:00Z")
    january, february = billed(sdk, client, subscription)
    assert january == {name: kind.january for name, kind in KINDS.items()}
    assert february == {name: kind.february for name, kind in KINDS.items()}
