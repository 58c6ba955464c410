"""A small scenario that tests change in one place."""

import copy
from itertools import pairwise
from typing import Any

Json = dict[str, Any]

METER: Json = {"key": "calls", "event_name": "call", "aggregation": {"type": "SUM", "field": "n"}}
SEAT: Json = {
    "key": "seat", "type": "FIXED", "billing_model": "FLAT_FEE", "amount": "10", "invoice_cadence": "ADVANCE",
}  # fmt: skip
USE: Json = {"key": "use", "type": "USAGE", "meter": "calls", "billing_model": "FLAT_FEE", "amount": "0.5"}
BASE: Json = {
    "name": "base",
    "customer": {"external_id": "acme"},
    "meters": [METER],
    "plans": [{"key": "pro", "prices": [SEAT, USE]}],
    "coupons": [{"key": "ten", "type": "percentage", "percentage_off": "10", "cadence": "forever"}],
    "tax_rates": [{"key": "gst", "type": "percentage", "percentage_value": "18"}],
    "subscription": {"plan": "pro", "start_date": "2026-01-01T00:00:00Z"},
    "until": "2026-03-15T00:00:00Z",
}


def document(**parts: Any) -> Json:
    """The base with whole parts replaced."""
    return {**copy.deepcopy(BASE), **parts}


def with_value(path: str, value: Any, base: Json | None = None) -> Json:
    """The base with the value at `path` (`plans[0].prices[1].amount`) set."""
    changed = copy.deepcopy(base or BASE)
    steps = [int(step) if step.isdigit() else step for step in path.replace("[", ".").replace("]", "").split(".")]
    at: Any = changed
    for step, following in pairwise(steps):
        if isinstance(at, dict) and step not in at:
            at[step] = [] if isinstance(following, int) else {}
        if isinstance(at, list) and step == len(at):
            at.append({})
        at = at[step]
    if isinstance(at, list) and steps[-1] == len(at):
        at.append(value)
    else:
        at[steps[-1]] = value
    return changed
