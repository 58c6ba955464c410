"""Stories of credit notes by number: given by hand and for late usage, between declines, payments and voids.

Everything in them can be asked for through the API, so that they are played by the simulator and on a running stack.
"""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from billing.simulation.simulate import simulate
from tests.simulation.late_stories import late_story

Json = dict[str, Any]
START = datetime(2026, 2, 2, 5, 17, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SOFT, HARD = ({"outcome": "declined", "kind": kind} for kind in ("soft", "hard"))
ANSWERS: list[Json] = [SOFT, SOFT, SOFT, HARD, {"outcome": "requires_action"}, {"outcome": "unknown"}]
SUCCEEDED = {"outcome": "succeeded"}


def credit_story(number: int) -> Json:
    """The story of that number: always the same."""
    dice = random.Random(f"credit {number}")
    told = late_story(number)
    told["name"] = f"credit {number}"
    told["settings"] |= {
        "late_usage": dice.choice(("credit_note", "credit_note", "credit_note", "next_invoice")),
        "late_usage_days": 62,
        "dunning_days": dice.choice(([1, 3], [10, 20, 40], [40])),
        "on_exhausted_invoice": dice.choice(("uncollectible", "open")),
        "on_exhausted_subscription": dice.choice(("keep", "keep", "cancel")),
    }
    told["payments"] = [dice.choice(ANSWERS) if dice.random() < 0.45 else SUCCEEDED for _ in range(9)]
    corrected = {action.get("event_id") for action in told["actions"]}
    left = [event for event in told["events"] if event["event_id"] not in corrected]
    told["actions"] += [_void_event(dice, event) for event in dice.sample(left, 3)]
    for at in sorted(START + dice.randrange(4, 190 * 24 * 60) * MINUTE for _ in range(12)):
        until = simulate({**told, "until": _text(at)})
        told["actions"] = sorted([*told["actions"], _action(dice, at, until)], key=lambda action: str(action["at"]))
    return told


def _action(dice: random.Random, at: datetime, until: Json) -> Json:
    """Something that is possible most of the time, as things stand after the story `until` then."""
    kind = dice.random()
    if kind < 0.1 or not until["invoices"]:
        return {"at": _text(at), "do": "add_payment_method"}
    place = dice.randrange(len(until["invoices"]))
    invoice, notes = until["invoices"][place], until["credit_notes"]
    named = {"at": _text(at), "invoice": place}
    if kind < 0.15:
        return {**named, "do": "void_invoice"}
    if kind < 0.3:
        return {**named, "do": "pay", "amount": _part(dice, Decimal(invoice["amount_remaining"]))}
    given = [note for note in notes if (note["invoice"], note["type"]) == (f"invoices[{place}]", "REFUND")]
    left = {
        "ADJUSTMENT": Decimal(invoice["amount_remaining"]),
        "REFUND": Decimal(invoice["amount_paid"]) - sum(Decimal(note["amount"]) for note in given),
    }
    name = dice.choice([name for name, most in left.items() if most] or list(left))
    return {**named, "do": "credit_note", "type": name, "amount": _part(dice, left[name])}


def _part(dice: random.Random, most: Decimal) -> str:
    """A part of what is possible, all of it, or a little more."""
    cents = int(most * 100)
    part = dice.choice((max(cents, 1), cents + 1, *(dice.randrange(1, max(cents, 2)) for _ in range(5))))
    return str(Decimal(part) / 100)


def _void_event(dice: random.Random, event: Json) -> Json:
    at = datetime.fromisoformat(event["received_at"]) + dice.randrange(20, 60) * 24 * 60 * MINUTE
    return {"at": _text(at), "do": "void_event", "event_id": event["event_id"]}


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
