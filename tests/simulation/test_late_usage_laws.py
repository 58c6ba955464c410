"""Laws of late usage: within the look-back it does not matter when an event, its change or its voiding is known.

They hold to the last digit, without coupons and tax, for every price model, meter, allowance and commitment that the
stories draw: a closed period is rated again as a whole, so its corrections end in the very sum of a period in which
everything was known. With coupons they hold for credits of percentages only (late lines take no coupons), with tax up
to the one rounding that each invoice has.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.simulation.simulate import simulate

Json = dict[str, Any]
START = datetime(2026, 1, 1, tzinfo=UTC)
ENDS = [datetime(2026, month, 1, tzinfo=UTC) for month in range(2, 8)]
USED_MONTHS = 3
LOOK_BACK = timedelta(days=62)
shares = st.integers(0, 10**6)
amounts = st.decimals("0", "20", places=3).map(str)

METERS: list[Json] = [
    {"aggregation": {"type": "SUM", "field": "n"}},
    {"aggregation": {"type": "MAX", "field": "n"}},
    {"aggregation": {"type": "AVG", "field": "n"}},
    {"aggregation": {"type": "LATEST", "field": "n"}, "reset_usage": "NEVER"},
    {"aggregation": {"type": "WEIGHTED_SUM", "field": "n"}, "reset_usage": "NEVER"},
    {"aggregation": {"type": "SUM", "field": "n", "bucket_size": "DAY"}},
    {"aggregation": {"type": "SUM", "field": "n", "bucket_size": "HOUR"}},
    {"aggregation": {"type": "MAX", "field": "n", "bucket_size": "WEEK", "group_by": "region"}},
]
TIERS = [{"up_to": 40, "unit_amount": "0.3", "flat_amount": "2"}, {"unit_amount": "0.111"}]
PRICES: list[Json] = [
    {"billing_model": "FLAT_FEE", "amount": "0.335"},
    {"billing_model": "FLAT_FEE", "amount": "0.5", "maximum_amount": "33.33"},
    {"billing_model": "PACKAGE", "amount": "3.1", "transform_quantity": {"divide_by": 7}},
    {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": TIERS},
    {"billing_model": "TIERED", "tier_mode": "VOLUME", "tiers": TIERS},
]
ALLOWANCES: list[list[Json]] = [
    [],
    *(
        [{"meter": "calls", "usage_limit": limit, "usage_reset_period": reset}]
        for limit, reset in ((30, "MONTHLY"), (3, "DAILY"), (60, "NEVER"), (80, "QUARTERLY"))
    ),
]
COMMITMENTS: list[Json] = [
    {},
    {"commitment": {"commitment_amount": "25.5", "overage_factor": "1.5", "enable_true_up": True}},
    {"commitment": {"commitment_amount": "60", "commitment_duration": "QUARTERLY", "enable_true_up": True}},
    {
        "line_commitments": {
            "use": {"commitment_type": "quantity", "commitment_quantity": "50", "overage_factor": "1.1"}
        }
    },
]
NIGHT = {
    "start": {"hour": 22}, "end": {"hour": 6}, "commitment_type": "quantity", "commitment_value": "10",
    "price": {"billing_model": "FLAT_FEE", "amount": "0.5"}, "overage_factor": "1.5", "true_up_enabled": True,
}  # fmt: skip
WINDOWED = {"commitment_type": "amount", "is_window_commitment": True, "enable_true_up": True}
OF_BUCKETS: dict[str, list[Json]] = {
    "DAY": [{"line_commitments": {"use": {**WINDOWED, "commitment_amount": "1.5", "overage_factor": "2"}}}],
    "HOUR": [{"line_commitments": {"use": {**WINDOWED, "commitment_time_buckets": [NIGHT]}}}],
}
"""Commitments that only a meter with such buckets can have."""


@st.composite
def events(draw: st.DrawFn, closes: list[datetime]) -> list[Json]:
    """Events of three months, each known at some time within the look-back of its month."""
    found = []
    drawn = st.tuples(st.integers(0, USED_MONTHS - 1), shares, shares, st.decimals("0", "60", places=2))
    for place, (month, share, delay, quantity) in enumerate(draw(st.lists(drawn, min_size=1, max_size=7))):
        start = ENDS[month - 1] if month else START
        at = start + (ENDS[month] - start) * share / (10**6 + 1) + timedelta(milliseconds=place)
        found.append(
            {
                "event_id": f"e{place}",
                "event_name": "call",
                "timestamp": text(at),
                "received_at": text(at + (known_by(month, closes) - at) * delay / 10**6),
                "properties": {"n": str(quantity), "region": "eu" if place % 2 else "us"},
            }
        )
    return found


@st.composite
def changes(draw: st.DrawFn, sent: list[Json], closes: list[datetime]) -> list[Json]:
    """Some of the events are amended or voided, once each, after they came and within the look-back."""
    actions: list[Json] = []
    for event in sent:
        kind = draw(st.sampled_from([None, None, "void_event", "amend_event"]))
        if kind is None:
            continue
        came, month = datetime.fromisoformat(event["received_at"]), datetime.fromisoformat(event["timestamp"]).month - 1
        at = came + (known_by(month, closes) - came) * draw(shares) / 10**6
        action = {"at": text(at), "do": kind, "event_id": event["event_id"]}
        if kind == "amend_event":
            action["properties"] = {"n": draw(amounts), "region": "eu"}
        actions.append(action)
    return actions


@st.composite
def stories(draw: st.DrawFn) -> Json:
    """A subscription to calls of one meter, by any price, allowance and commitment."""
    ended = draw(st.sampled_from([None, datetime(2026, 4, 20, tzinfo=UTC)]))
    closes = ENDS if ended is None else [*ENDS[:USED_MONTHS], ended, ended + LOOK_BACK]
    sent, meter = draw(events(closes)), draw(st.sampled_from(METERS))
    promised = COMMITMENTS + OF_BUCKETS.get(meter["aggregation"].get("bucket_size", ""), [])
    cancelled = [] if ended is None else [{"at": text(ended), "do": "cancel", "type": "immediate"}]
    return {
        "name": "generated",
        "customer": {"external_id": "acme"},
        "meters": [{"key": "calls", "event_name": "call", **meter}],
        "plans": [{"key": "pro", "prices": [{"key": "use", "type": "USAGE", "meter": "calls",
                                             **draw(st.sampled_from(PRICES))}],
                   "entitlements": draw(st.sampled_from(ALLOWANCES))}],
        "tax_rates": [{"key": "tax", "type": "percentage", "percentage_value": "18"}],
        "subscription": {"plan": "pro", "start_date": text(START), **draw(st.sampled_from(promised))},
        "events": sent,
        "actions": [*draw(changes(sent, closes)), *cancelled],
        "until": "2026-07-02T00:00:00Z",
    }  # fmt: skip


def known_by(month: int, closes: list[datetime]) -> datetime:
    """The last moment at which an event of a month is still corrected: before the second close after it, in 62 days."""
    return min(closes[month + 2], ENDS[month] + LOOK_BACK)


def text(instant: datetime) -> str:
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000).isoformat()


def in_time(story: Json) -> Json:
    """The same story with everything known before the first month ends, in an order of its own."""
    dead = {action["event_id"] for action in story["actions"] if action["do"] == "void_event"}
    amended = {action["event_id"]: action["properties"] for action in story["actions"] if action["do"] == "amend_event"}
    kept = [
        {**event, "received_at": event["timestamp"], "properties": amended.get(event["event_id"], event["properties"])}
        for event in story["events"]
        if event["event_id"] not in dead
    ]
    actions = [action for action in story["actions"] if action["do"] == "cancel"]
    return {**story, "events": kept, "actions": actions}


def charged(result: Json) -> dict[tuple[str | None, str], Decimal]:
    """What each price, and each true-up of the whole subscription, came to for each of its periods."""
    found: dict[tuple[str | None, str], Decimal] = defaultdict(Decimal)
    for invoice in result["invoices"]:
        for line in invoice["lines"]:
            if not line["description"].startswith("Credit carried"):
                found[line["price"], line["period_start"]] += Decimal(line["amount"])
    return {key: amount for key, amount in found.items() if amount}


def cost(result: Json) -> Decimal:
    """What the customer pays in the end: all totals less what is left in the wallet."""
    paid = sum((Decimal(invoice["total"]) for invoice in result["invoices"]), Decimal(0))
    return paid - sum((Decimal(wallet["balance"]) for wallet in result["wallets"]), Decimal(0))


@settings(max_examples=120, deadline=None)
@given(stories())
def test_it_does_not_matter_when_usage_is_known(story: Json) -> None:
    late, known = simulate(story), simulate(in_time(story))
    assert late["refused"] == known["refused"] == []
    assert charged(late) == charged(known)
    assert cost(late) == cost(known)


@settings(max_examples=40, deadline=None)
@given(stories())
def test_tax_of_late_usage_differs_by_the_rounding_of_each_invoice_at_most(story: Json) -> None:
    story["subscription"]["tax_rates"] = ["tax"]
    late, known = simulate(story), simulate(in_time(story))
    assert abs(cost(late) - cost(known)) <= Decimal("0.01") * len(late["invoices"])


@settings(max_examples=40, deadline=None)
@given(stories())
def test_no_correction_without_a_difference(story: Json) -> None:
    invoices = simulate(story)["invoices"]
    adjustments = [line for invoice in invoices for line in invoice["lines"] if line["kind"] == "adjustment"]
    assert all(Decimal(line["amount"]) for line in adjustments)
    known = simulate(in_time(story))["invoices"]
    assert not [line for invoice in known for line in invoice["lines"] if line["kind"] == "adjustment"]


@settings(max_examples=40, deadline=None)
@given(stories(), shares)
def test_a_discount_in_per_cent_shrinks_with_a_credit(story: Json, percent: int) -> None:
    """Voided and amended downwards: what is credited is what was paid, so the order does not matter either."""
    off = str(Decimal(percent % 100 + 1))
    story["coupons"] = [{"key": "off", "type": "percentage", "percentage_off": off, "cadence": "forever"}]
    story["subscription"] = {**story["subscription"], "coupons": ["off"]}
    for name in ("commitment", "line_commitments"):  # a true-up that comes late takes no coupon; some need buckets
        story["subscription"].pop(name, None)
    for event in story["events"]:
        event["received_at"] = event["timestamp"]
    for action in story["actions"]:
        if action.pop("properties", None):
            action["do"] = "void_event"
    if story["meters"][0]["aggregation"]["type"] != "SUM":  # an average may rise when an event is voided
        story["meters"] = [{"key": "calls", "event_name": "call", **METERS[0]}]
    story["plans"][0]["prices"][0].update({"billing_model": "FLAT_FEE", "amount": "0.335"})
    for name in ("tier_mode", "tiers", "transform_quantity", "maximum_amount"):
        story["plans"][0]["prices"][0].pop(name, None)
    late, known = simulate(story), simulate(in_time(story))
    assert abs(cost(late) - cost(known)) <= Decimal("0.01") * 2 * USED_MONTHS
