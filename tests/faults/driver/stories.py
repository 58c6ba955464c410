"""Random billing years: customers in zones that change their clocks, anchored at month ends, with all that can happen.

Owns chance by a seed. A part that a running stack cannot play (`starter.simulate.gaps`) is left out again.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from billing.codec import instant_text
from billing.money import ZERO, decimal_text, exponent, minus, total
from billing.scenario.document import Scenario
from billing.scenario.parse import parse_scenario
from billing.simulation.simulate import simulate
from starter.simulate.gaps import gaps_of

Json = dict[str, Any]
DAY = timedelta(days=1)
ZONES = (
    "America/New_York", "Europe/Paris", "Europe/London", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kolkata",
    "Pacific/Auckland", "America/St_Johns", "Africa/Casablanca", "America/Santiago", "America/Chicago", "UTC",
)  # fmt: skip
CURRENCIES = ("usd", "eur", "jpy", "kwd", "inr")
AGGREGATIONS: tuple[Json, ...] = (
    {"type": "SUM", "field": "n"},
    {"type": "MAX", "field": "n"},
    {"type": "COUNT"},
    {"type": "LATEST", "field": "n"},
)
SOFT: Json = {"outcome": "declined", "kind": "soft"}
HARD: Json = {"outcome": "declined", "kind": "hard"}
PAYMENTS: tuple[str | Json, ...] = ("succeeded", "succeeded", "unknown", SOFT, SOFT, HARD, "requires_action")


@dataclass(frozen=True, slots=True)
class Settings:
    """The billing settings that all customers of a tenant share."""

    finalization_delay_seconds: int
    due_date_days: int
    dunning_days: tuple[int, ...]
    dunning_hour: int | None
    on_exhausted_invoice: str
    on_exhausted_subscription: str
    late_usage: str

    def part(self) -> Json:
        """As a scenario and the API write it."""
        return {
            "finalization_delay_seconds": self.finalization_delay_seconds,
            "due_date_days": self.due_date_days,
            "dunning_days": list(self.dunning_days),
            "dunning_hour": self.dunning_hour,
            "on_exhausted_invoice": self.on_exhausted_invoice,
            "on_exhausted_subscription": self.on_exhausted_subscription,
            "late_usage": self.late_usage,
        }


@dataclass(frozen=True, slots=True)
class Story:
    """One customer's year and what the simulator makes of it."""

    name: str
    document: Json
    scenario: Scenario
    expected: Json


def settings_of_tenant(chance: random.Random) -> Settings:
    """How one tenant bills."""
    return Settings(
        finalization_delay_seconds=chance.choice((0, 3600, 7200, 86_400)),
        due_date_days=chance.choice((1, 14)),
        dunning_days=chance.choice(((1, 3, 5), (1, 2), (2, 4, 6, 9))),
        dunning_hour=chance.choice((None, 2, 9)),
        on_exhausted_invoice=chance.choice(("uncollectible", "open")),
        on_exhausted_subscription="keep",
        late_usage=chance.choice(("credit_note", "credit_note", "credit_note", "next_invoice")),
    )


def story(seed: str, settings: Settings, months: int) -> Story:
    """The story of that seed, the same each time."""
    chance = random.Random(seed)
    plain = _plain(chance, seed, settings, months)
    expected = _expected(plain)
    if expected is None:
        raise AssertionError(f"seed {seed}: a stack cannot play the plainest story: {plain}")
    for add, likely in chance.sample(PARTS, len(PARTS)):
        richer = add(chance, plain, expected) if chance.random() < likely else None
        played = richer and _expected(richer)
        if richer and played:
            plain, expected = richer, played
    return Story(plain["name"], plain, parse_scenario(plain), expected)


def month_ends(told: Story) -> int:
    """How often the customer's clock moves over the end of a month."""
    zone = ZoneInfo(told.scenario.customer.timezone)
    days = _days(told)
    return sum(one.astimezone(zone).month != other.astimezone(zone).month for one, other in pairwise(days))


def clock_changes(told: Story) -> int:
    """How often the customer's clock moves over a change between standard and summer time."""
    zone = ZoneInfo(told.scenario.customer.timezone)
    days = _days(told)
    return sum(one.astimezone(zone).utcoffset() != other.astimezone(zone).utcoffset() for one, other in pairwise(days))


def _days(told: Story) -> list[datetime]:
    start, until = told.scenario.subscription.start_date, told.scenario.until
    return [start + DAY * count for count in range((until - start).days + 1)]


def _expected(document: Json) -> Json | None:
    """What the simulator makes of it; None when a stack cannot play it, or may play it otherwise."""
    result = simulate(document)
    return None if gaps_of(parse_scenario(document)) or _charges_race(document, result) else result


def _charges_race(document: Json, result: Json) -> bool:
    """Whether a new card is charged for several invoices: at once, so that nobody knows which gets which answer."""
    charged = Counter(attempt["at"] for invoice in result["invoices"] for attempt in invoice["attempts"])
    added = [action["at"] for action in document["actions"] if action["do"] == "add_payment_method"]
    return any(charged[instant_text(datetime.fromisoformat(at))] > 1 for at in added)


def text(instant: datetime) -> str:
    """RFC 3339 with milliseconds."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000).isoformat()


def _start(chance: random.Random, zone: ZoneInfo) -> datetime:
    """Often the last days of a month, sometimes the hour in which clocks change, by the customer's own clock."""
    year, month = chance.choice((2024, 2025)), chance.randint(1, 12)
    first = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=zone)
    local = first - timedelta(days=chance.choice((0, 1, 1, 1, 2, 3, chance.randint(4, 27))))
    return local.replace(hour=chance.choice((0, 0, 2, 23, 12)), minute=chance.choice((0, 30))).astimezone(UTC)


def _plain(chance: random.Random, seed: str, settings: Settings, months: int) -> Json:
    zone = chance.choice(ZONES)
    start = _start(chance, ZoneInfo(zone))
    fixed: Json = {"type": "FIXED", "billing_model": "FLAT_FEE"}
    period = chance.choice(("MONTHLY", "MONTHLY", "MONTHLY", "MONTHLY", "QUARTERLY"))
    aggregation = chance.choice(AGGREGATIONS)
    until = start + timedelta(days=round(30.5 * months), hours=chance.randint(0, 40))
    return {
        "name": f"year {seed}",
        "currency": chance.choice(CURRENCIES),
        "customer": {"external_id": "customer", "timezone": zone},
        "meters": [{"key": "calls", "event_name": "call", "aggregation": dict(aggregation)}],
        "plans": [{"key": "pro", "prices": [
            {"key": "seat", **fixed, "amount": _amount(chance), "invoice_cadence": "ADVANCE"},
            {"key": "fee", **fixed, "amount": _amount(chance), "invoice_cadence": "ARREAR"},
            {"key": "use", "type": "USAGE", "meter": "calls", **_usage_price(chance)},
        ]}],
        "tax_rates": [{"key": "tax", "type": "percentage", "percentage_value": chance.choice(("18", "7.25")),
                       "inclusive": chance.random() < 0.3}],
        "settings": settings.part(),
        "subscription": {
            "plan": "pro", "start_date": text(start), "billing_period": period,
            "billing_cycle": chance.choice(("anniversary", "anniversary", "calendar")),
            "tax_rates": chance.choice(([], ["tax"])),
            "proration_behavior": chance.choice(("none", "create_prorations")),
            "quantities": {"seat": str(chance.randint(1, 9))},
        },
        "events": _events(chance, start, until, aggregation["type"]),
        "payments": [chance.choice(PAYMENTS) for _ in range(chance.randint(0, 8))],
        "actions": [],
        "until": text(until),
    }  # fmt: skip


def _amount(chance: random.Random) -> str:
    return f"{chance.randint(0, 9000) / 100:.2f}"


def _usage_price(chance: random.Random) -> Json:
    tiers = [{"up_to": 100, "unit_amount": "0.0333", "flat_amount": "1"}, {"up_to": None, "unit_amount": "0.0125"}]
    models: tuple[Json, ...] = (
        {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": tiers},
        {"billing_model": "TIERED", "tier_mode": "VOLUME", "tiers": tiers},
        {"billing_model": "FLAT_FEE", "amount": "0.0175"},
        {"billing_model": "PACKAGE", "amount": "0.9", "transform_quantity": {"divide_by": 50}},
    )
    return chance.choice(models)


def _events(chance: random.Random, start: datetime, until: datetime, kind: str) -> list[Json]:
    """Usage of the whole time, some of it a millisecond from the end of a local month."""
    seconds = int((until - start).total_seconds())
    instants = sorted(start + timedelta(seconds=chance.randrange(seconds)) for _ in range(chance.randint(20, 60)))
    return [
        {"event_id": f"e{number}", "event_name": "call", "timestamp": text(at),
         "properties": {} if kind == "COUNT" else {"n": f"{chance.randint(1, 99_999) / 1000:.3f}"}}
        for number, at in enumerate(instants)
    ]  # fmt: skip


def _moment(chance: random.Random, document: Json) -> datetime:
    start, until = (
        datetime.fromisoformat(each) for each in (document["subscription"]["start_date"], document["until"])
    )
    return start + timedelta(seconds=chance.randrange(1, int((until - start).total_seconds()) - 1))


def _with(document: Json, *actions: Json, **parts: Any) -> Json:
    return {**document, **parts, "actions": [*document["actions"], *actions]}


def _wallet(chance: random.Random, document: Json, expected: Json) -> Json | None:
    """A prepaid wallet with top-ups, some of which expire, and a debit."""
    wallet: Json = {
        "key": "w", "initial_credits": "35.25", "conversion_rate": chance.choice(("1", "0.7")),
        "allowed_price_types": [chance.choice(("ALL", "USAGE"))],
    }  # fmt: skip
    at = _moment(chance, document)
    top_up = {"at": text(at), "do": "top_up", "wallet": "w", "credits": "50.5", "expiry_date_utc": text(at + 40 * DAY)}
    debit = {"at": text(_moment(chance, document)), "do": "debit", "wallet": "w", "credits": "3.5"}
    if chance.random() < 0.6:
        levels = chance.choice((("30", "5"), ("34", "33"), ("20", "0")))
        wallet["alert_settings"] = {
            name: {"threshold": level} for name, level in zip(("warning", "critical"), levels, strict=True)
        }
    return _with(document, *chance.choice(((top_up,), (top_up, debit), (debit,))), wallets=[wallet])


def _threshold(chance: random.Random, document: Json, expected: Json) -> Json | None:
    """Usage is invoiced as soon as so much of it is unbilled."""
    reached = chance.choice(("1", "2", "4", "9"))
    return _with(document, subscription={**document["subscription"], "auto_invoice_threshold": reached})


def _cancel(chance: random.Random, document: Json, expected: Json) -> Json | None:
    kind = chance.choice(("immediate", "end_of_period"))
    return _with(document, {"at": text(_moment(chance, document)), "do": "cancel", "type": kind})


def _new_card(chance: random.Random, document: Json, expected: Json) -> Json | None:
    """A new payment method while something may be owed."""
    return _with(document, {"at": text(_moment(chance, document)), "do": "add_payment_method"})


def _owed(chance: random.Random, expected: Json) -> tuple[int, Json] | None:
    owed = [
        (place, invoice)
        for place, invoice in enumerate(expected["invoices"])
        if invoice["finalized_at"] and len(invoice["attempts"]) > 1
    ]
    return chance.choice(owed) if owed else None


def _between(chance: random.Random, invoice: Json) -> str:
    """A moment between an invoice's first attempt and its last."""
    first, last = (datetime.fromisoformat(invoice["attempts"][place]["at"]) for place in (0, -1))
    return text(first + timedelta(seconds=chance.randint(1, max(2, int((last - first).total_seconds()) - 1))))


def _pay(chance: random.Random, document: Json, expected: Json) -> Json | None:
    """Money by hand for an invoice whose card was declined: all of it, or a part."""
    found = _owed(chance, expected)
    if found is None:
        return None
    place, invoice = found
    amount = invoice["amount_due"] if chance.random() < 0.6 else "1"
    return _with(document, {"at": _between(chance, invoice), "do": "pay", "invoice": place, "amount": amount})


def _void(chance: random.Random, document: Json, expected: Json) -> Json | None:
    found = _owed(chance, expected)
    if found is None:
        return None
    return _with(document, {"at": _between(chance, found[1]), "do": "void_invoice", "invoice": found[0]})


def _correction(chance: random.Random, document: Json, expected: Json) -> Json | None:
    """An event that is voided, or amended, within the hour."""
    event = chance.choice(document["events"])
    at = text(datetime.fromisoformat(event["timestamp"]) + timedelta(minutes=chance.randint(1, 60)))
    voided = {"at": at, "do": "void_event", "event_id": event["event_id"]}
    amended = {"at": at, "do": "amend_event", "event_id": event["event_id"], "properties": {"n": "77.125"}}
    return _with(document, chance.choice((voided, amended)))


def _late(chance: random.Random, document: Json, expected: Json) -> Json | None:
    """Events that come weeks late: for most of them the invoice of their period is final."""
    late = {event["event_id"] for event in chance.sample(document["events"], chance.randint(2, 5))}
    events = [
        {**event, "received_at": _later(chance, event["timestamp"])} if event["event_id"] in late else event
        for event in document["events"]
    ]
    return {**document, "events": events}


def _late_corrections(chance: random.Random, document: Json, expected: Json) -> Json | None:
    """Events of some days that are voided, or amended to less, weeks after they were billed."""
    first = chance.randrange(max(1, len(document["events"]) * 2 // 3))
    actions = []
    for event in document["events"][first : first + chance.randint(2, 6)]:
        at = _later(chance, event.get("received_at", event["timestamp"]))
        less = {"n": f"{chance.randint(0, 9_000) / 1000:.3f}"}
        voided = {"at": at, "do": "void_event", "event_id": event["event_id"]}
        amended = {"at": at, "do": "amend_event", "event_id": event["event_id"], "properties": less}
        actions.append(chance.choice((voided, voided, amended)))
    return _with(document, *actions)


def _later(chance: random.Random, instant: str) -> str:
    return text(datetime.fromisoformat(instant) + timedelta(minutes=chance.randint(10 * 24 * 60, 50 * 24 * 60)))


def _credit_note(chance: random.Random, document: Json, expected: Json) -> Json | None:
    """A credit note by hand: all that is left of an invoice, a part of it, sometimes a little more than is left."""
    at = text(_moment(chance, document))
    left = _creditable(simulate({**document, "until": at}))
    if not left:
        return None
    place, kind, most = chance.choice(left)
    unit = Decimal(1).scaleb(-exponent(document["currency"]))
    units = int(most / unit)
    part = chance.choice((units, units, units + 1, *(chance.randint(1, units) for _ in range(6)))) * unit
    return _with(
        document, {"at": at, "do": "credit_note", "invoice": place, "type": kind, "amount": decimal_text(part)}
    )


def _creditable(result: Json) -> list[tuple[int, str, Decimal]]:
    """Which invoices can be credited as things stand, by which type of note and up to which amount."""
    found = []
    for place, invoice in enumerate(result["invoices"]):
        if invoice["invoice_status"] == "FINALIZED":
            notes = [note for note in result["credit_notes"] if note["invoice"] == f"invoices[{place}]"]
            refunded = total(Decimal(note["amount"]) for note in notes if note["type"] == "REFUND")
            found.append((place, "ADJUSTMENT", Decimal(invoice["amount_remaining"])))
            found.append((place, "REFUND", minus(Decimal(invoice["amount_paid"]), refunded)))
    return [each for each in found if each[2] > ZERO]


Part = Callable[[random.Random, Json, Json], Json | None]
PARTS: tuple[tuple[Part, float], ...] = (
    (_wallet, 0.6), (_threshold, 0.5), (_cancel, 0.3), (_new_card, 0.5), (_new_card, 0.3), (_pay, 0.8), (_pay, 0.4),
    (_void, 0.5), (_correction, 0.6), (_correction, 0.3), (_late, 0.6), (_late_corrections, 0.7),
    (_late_corrections, 0.6), (_credit_note, 0.8), (_credit_note, 0.8), (_credit_note, 0.5), (_credit_note, 0.5),
)  # fmt: skip
"""What can be added to a story, and how likely."""
