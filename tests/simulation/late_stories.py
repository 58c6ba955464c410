"""Stories of late usage by number: events that come when they come, are amended and voided, for whoever plays them.

Everything in them can be asked for through the API, so that they are played by the simulator and on a running stack.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]
DAY = timedelta(days=1)
UNTIL = datetime(2026, 8, 20, tzinfo=UTC)
METERS: list[Json] = [
    {"type": "SUM", "field": "n"},
    {"type": "MAX", "field": "n"},
    {"type": "LATEST", "field": "n"},
    {"type": "AVG", "field": "n"},
    {"type": "COUNT"},
    {"type": "SUM", "field": "n", "bucket_size": "DAY"},
]
TIERS = [{"up_to": 40, "unit_amount": "0.3", "flat_amount": "2"}, {"unit_amount": "0.111"}]
PRICES: list[Json] = [
    {"billing_model": "FLAT_FEE", "amount": "0.335"},
    {"billing_model": "PACKAGE", "amount": "3.1", "transform_quantity": {"divide_by": 7}},
    {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": TIERS},
    {"billing_model": "TIERED", "tier_mode": "VOLUME", "tiers": TIERS},
]


def late_story(number: int) -> Json:
    """The story of that number: always the same."""
    dice = random.Random(number)
    start = datetime(2026, 1, dice.choice((1, 15, 31)), dice.choice((0, 10)), tzinfo=UTC)
    events = [_event(dice, start, place) for place in range(9)]
    return {
        "name": f"late {number}",
        "customer": {"external_id": "acme", "timezone": dice.choice(("UTC", "Europe/Berlin", "America/New_York"))},
        "meters": [{"key": "calls", "event_name": "call", "aggregation": dice.choice(METERS)}],
        "plans": [{"key": "pro", "prices": _prices(dice)}],
        "tax_rates": [{"key": "vat", "type": "percentage", "percentage_value": "19", "inclusive": dice.random() < 0.5}],
        "wallets": [{"key": "w", "initial_credits": dice.choice(("5", "40"))}] if dice.random() < 0.5 else [],
        "settings": {
            "late_usage": "ignore" if dice.random() < 0.05 else "next_invoice",
            "late_usage_periods": dice.choice((1, 2, 2, 4)),
            "late_usage_days": dice.choice((0, 20, 62, 62)),
        },
        "subscription": {
            "plan": "pro",
            "start_date": _text(start),
            "end_date": _text(start + dice.randrange(60, 140) * DAY) if dice.random() < 0.3 else None,
            "proration_behavior": dice.choice(("none", "create_prorations")),
            "tax_rates": ["vat"] if dice.random() < 0.7 else [],
        },
        "events": events,
        "actions": _actions(dice, start, events),
        "until": _text(UNTIL),
    }


def _prices(dice: random.Random) -> list[Json]:
    use = {"key": "use", "type": "USAGE", "meter": "calls", **dice.choice(PRICES)}
    seat = {"key": "seat", "type": "FIXED", "billing_model": "FLAT_FEE", "amount": "3.5", "invoice_cadence": "ADVANCE"}
    return [seat, use] if dice.random() < 0.6 else [use]


def _event(dice: random.Random, start: datetime, place: int) -> Json:
    at = start + dice.randrange(95 * 24) * timedelta(hours=1)
    late = dice.choice((0, 0, 10, 35, 50, 61, 62, 63, 80))
    return {
        "event_id": f"e{place}",
        "event_name": "call",
        "timestamp": _text(at),
        "received_at": _text(at + late * DAY),
        "properties": {"n": str(dice.randrange(60))},
    }


def _actions(dice: random.Random, start: datetime, events: list[Json]) -> list[Json]:
    found: list[Json] = []
    for event in dice.sample(events, 4):
        at = datetime.fromisoformat(event["received_at"]) + dice.choice((1, 20, 45, 70)) * DAY
        amended = {"do": "amend_event", "properties": {"n": str(dice.randrange(90))}}
        found.append({"at": _text(at), "event_id": event["event_id"], **(amended if dice.random() < 0.6 else _VOID)})
    if dice.random() < 0.5:
        kind = dice.choice(("immediate", "end_of_period"))
        found.append({"at": _text(start + dice.randrange(40, 130) * DAY), "do": "cancel", "type": kind})
    return sorted(found, key=lambda action: str(action["at"]))


_VOID = {"do": "void_event"}


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
