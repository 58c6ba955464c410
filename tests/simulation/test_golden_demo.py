"""The demo's twelve months as scenarios: the same invoices as its golden files, which know nothing of the engine."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from billing.scenario.decoding import read_json
from billing.simulation.simulate import simulate
from starter.demo import story

DEMO = Path(story.__file__).parent
ANSWERS = {"northwind-labs": ["succeeded", "succeeded", {"outcome": "declined", "kind": "soft"}]}


DROPPED = ("lookup_key", "entity_id", "entity_type", "currency", "billing_cadence", "price_unit_type", "meter_id")
"""What a price of the API has and one of a scenario has not, or has by another name."""


def meter(feature: dict[str, Any]) -> dict[str, Any]:
    made = {name: value for name, value in feature["meter"].items() if name != "name"}
    return {"key": feature["lookup_key"], **made}


def scenario(customer: story.Customer) -> dict[str, Any]:
    prices = [
        {
            "key": price["lookup_key"],
            **{name: price[name] for name in price if name not in DROPPED},
            **({"meter": price["meter_id"]} if "meter_id" in price else {}),
        }
        for price in story.prices("", "call_seconds", "premium_calls")
    ]
    events = []
    with gzip.open(DEMO / "events.ndjson.gz", "rt", encoding="utf-8") as file:
        for line in file:
            event = read_json(line)
            if event["external_customer_id"] == customer.external_id:
                del event["external_customer_id"], event["source"]
                events.append(event)
    return {
        "name": customer.external_id,
        "customer": {"external_id": customer.external_id, "timezone": customer.timezone},
        "meters": [meter(story.CALL_SECONDS), meter(story.PREMIUM_CALLS)],
        "plans": [{"key": "voice_pro", "prices": prices}],
        "tax_rates": [{"key": "gst18", "type": "percentage", "percentage_value": "18"}],
        "subscription": {
            "plan": "voice_pro",
            "start_date": customer.start.isoformat(),
            "proration_behavior": "none",
            "quantities": {"seat": str(customer.seats)},
            "tax_rates": ["gst18"],
        },
        "events": events,
        "payments": ANSWERS.get(customer.external_id, []),
        "until": story.CLOCK_END.isoformat(),
    }


def comparable(invoice: dict[str, Any]) -> dict[str, Any]:
    """What both sides say, with numbers as numbers; invoice numbers are shared by three customers in the demo."""
    lines = [
        (line["price"], Decimal(line["quantity"]), Decimal(line["amount"]), line["period_start"], line["period_end"])
        for line in invoice["lines"]
    ]
    attempts = [
        {"succeeded": "SUCCEEDED", "declined": "FAILED"}[attempt["outcome"]] if isinstance(attempt, dict) else attempt
        for attempt in invoice["attempts"]
    ]
    tax = invoice["tax"] if "tax" in invoice else invoice["total_tax"]
    amounts = [Decimal(amount) for amount in (invoice["subtotal"], tax, invoice["total"])]
    reason = invoice.get("reason", invoice.get("billing_reason"))
    ends = {name: invoice[name] for name in ("period_start", "period_end", "finalized_at", "payment_status", "paid_at")}
    return {"reason": reason, "lines": lines, "attempts": attempts, "amounts": amounts, **ends}


@pytest.mark.parametrize("customer", story.CUSTOMERS, ids=lambda customer: customer.external_id)
def test_a_year_of_the_demo(customer: story.Customer) -> None:
    golden = json.loads((DEMO / "golden" / "invoices.json").read_text(encoding="utf-8"))
    expected = [comparable(each) for each in golden["invoices"] if each["customer"] == customer.external_id]
    result = simulate(scenario(customer))
    assert [comparable(each) for each in result["invoices"] if each["invoice_status"] == "FINALIZED"] == expected
    assert len(expected) >= 12
