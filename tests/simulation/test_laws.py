"""Laws that hold for every story: sums add up, no time is billed twice or missed, order of arrival changes nothing.

Stories are generated: dates across ten years, every time zone, cadences, discounts, taxes, cancellation at any moment.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.periods import known_zones
from billing.simulation.simulate import simulate

Json = dict[str, Any]
ZONES = sorted(known_zones())
SPAN = timedelta(days=200)
seconds = st.integers(0, 10 * 365 * 86400)
moments = seconds.map(lambda count: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=count))
shares = st.integers(0, 10**6)
amounts = st.decimals("0", "1000", places=3).map(str)
quantities = st.decimals("0", "5000", places=4).map(str)


def text(instant: datetime) -> str:
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000).isoformat()


@st.composite
def stories(draw: st.DrawFn) -> Json:
    """A subscription to a seat in advance, a fee in arrear, and metered calls, for about half a year."""
    start = draw(moments)
    period = draw(st.sampled_from(["WEEKLY", "MONTHLY", "QUARTERLY"]))
    fixed: Json = {"type": "FIXED", "billing_model": "FLAT_FEE"}
    tiers = [{"up_to": 100, "unit_amount": draw(amounts), "flat_amount": draw(amounts)}, {"unit_amount": draw(amounts)}]
    used = draw(st.lists(st.tuples(shares, quantities), max_size=8))
    actions = [
        {"at": text(start + SPAN * share / 10**6), "do": "cancel", "type": kind}
        for share, kind in draw(
            st.lists(st.tuples(shares, st.sampled_from(["immediate", "end_of_period"])), max_size=2)
        )
    ]
    return {
        "name": "generated",
        "currency": draw(st.sampled_from(["usd", "jpy", "kwd"])),
        "customer": {"external_id": "acme", "timezone": draw(st.sampled_from(ZONES))},
        "meters": [{"key": "calls", "event_name": "call", "aggregation": {"type": "SUM", "field": "n"}}],
        "plans": [{"key": "pro", "prices": [
            {"key": "seat", **fixed, "amount": draw(amounts), "invoice_cadence": "ADVANCE"},
            {"key": "fee", **fixed, "amount": draw(amounts), "invoice_cadence": "ARREAR"},
            {"key": "use", "type": "USAGE", "meter": "calls", "billing_model": "TIERED",
             "tier_mode": draw(st.sampled_from(["SLAB", "VOLUME"])), "tiers": tiers},
        ], "entitlements": [{"meter": "calls", "usage_limit": draw(st.integers(0, 500))}]}],
        "coupons": [{"key": "off", "type": "percentage", "percentage_off": draw(st.sampled_from(["10", "33.3", "100"])),
                     "cadence": draw(st.sampled_from(["once", "forever"]))}],
        "tax_rates": [{"key": "tax", "type": "percentage", "percentage_value": "18",
                       "inclusive": draw(st.booleans())}],
        "subscription": {
            "plan": "pro", "start_date": text(start), "billing_period": period,
            "billing_cycle": draw(st.sampled_from(["anniversary", "calendar"])),
            "coupons": draw(st.sampled_from([[], ["off"]])), "tax_rates": draw(st.sampled_from([[], ["tax"]])),
            "proration_behavior": draw(st.sampled_from(["none", "create_prorations"])),
        },
        "usage": [{"meter": "calls", "at": text(start + SPAN * share / 10**6), "quantity": quantity}
                  for share, quantity in used],
        "actions": actions,
        "until": text(start + SPAN),
    }  # fmt: skip


HAPPENINGS: list[Json] = [
    {"do": "pause"},
    {"do": "resume"},
    {"do": "add_addon", "addon": "support"},
    {"do": "remove_addon", "addon": "support"},
    {"do": "add_payment_method"},
    *(
        {"do": "change_plan", "plan": plan, **when}
        for plan in ("pro", "team")
        for when in ({}, {"when": "immediate"}, {"when": "end_of_period"})
    ),
    {"do": "change_plan", "plan": "team", "billing_period": "WEEKLY"},
    {"do": "change_plan", "plan": "pro", "billing_period": "QUARTERLY"},
    {"do": "change_plan", "plan": "pro", "billing_period": "QUARTERLY", "when": "end_of_period"},
    {"do": "change_plan", "plan": "team", "billing_period": "MONTHLY", "when": "end_of_period"},
    {"do": "change_quantity", "price": "seat", "quantity": "3"},
    {"do": "change_quantity", "price": "team_seat", "quantity": "0.5", "when": "immediate"},
    {"do": "apply_coupon", "coupon": "off"},
    {"do": "cancel", "type": "immediate"},
]


WALLET = {"key": "w", "initial_credits": "35.123456", "conversion_rate": "0.7", "allowed_price_types": ["ALL"]}

LATER = {
    "key": "later",
    "wallet_type": "POST_PAID",
    "initial_credits": "44.5",
    "conversion_rate": "0.3",
    "allowed_price_types": ["USAGE"],
}


@st.composite
def happenings(draw: st.DrawFn, start: datetime) -> list[Json]:
    """Up to seven actions at any moment, and up to two cancellations at a date."""
    happened = draw(st.lists(st.tuples(shares, st.sampled_from(HAPPENINGS)), max_size=7))
    actions = [{"at": text(start + SPAN * share / 10**6), **kind} for share, kind in happened]
    for share, later in draw(st.lists(st.tuples(shares, st.integers(1, 90)), max_size=2)):
        at = start + SPAN * share / 10**6
        end = text(at + timedelta(days=later))
        actions.append({"at": text(at), "do": "cancel", "type": "scheduled", "cancel_at": end})
    return actions


@st.composite
def eventful_stories(draw: st.DrawFn) -> Json:
    """The same with another plan, an add-on, a wallet and grants, and everything that can happen to a subscription."""
    story = draw(stories())
    start = datetime.fromisoformat(story["subscription"]["start_date"])
    team = [
        {
            "key": "team_seat",
            "type": "FIXED",
            "billing_model": "FLAT_FEE",
            "amount": draw(amounts),
            "invoice_cadence": "ADVANCE",
        },
        {
            "key": "team_use",
            "type": "USAGE",
            "meter": "calls",
            "billing_model": "PACKAGE",
            "amount": draw(amounts),
            "transform_quantity": {"divide_by": 100},
        },
    ]
    helping = {
        "key": "help",
        "type": "FIXED",
        "billing_model": "FLAT_FEE",
        "amount": draw(amounts),
        "invoice_cadence": draw(st.sampled_from(["ADVANCE", "ARREAR"])),
    }
    story["plans"].append(
        {
            "key": "team",
            "prices": team,
            "credit_grants": [
                {
                    "key": "gift",
                    "credits": "20",
                    "cadence": "RECURRING",
                    "period": "MONTHLY",
                    "expiration_type": "BILLING_CYCLE",
                }
            ],
            "entitlements": draw(
                st.sampled_from([[], [{"meter": "calls", "usage_reset_period": "DAILY", "usage_limit": 50}]])
            ),
        }
    )
    story["addons"] = [
        {
            "key": "support",
            "prices": [helping],
            "entitlements": [{"meter": "calls", "usage_limit": 70}],
            "credit_grants": [
                {"key": "thanks", "credits": "3", "cadence": "ONETIME"},
                {"key": "minutes", "credits": "7", "cadence": "RECURRING", "period": "MONTHLY"},
            ],
        }
    ]
    story["wallets"] = draw(st.sampled_from([[], [WALLET], [LATER], [WALLET, LATER]]))
    story["actions"] = draw(happenings(start))
    story["subscription"]["trial_period_days"] = draw(st.sampled_from([0, 0, 10]))
    for used in story["usage"]:
        late = timedelta(days=draw(st.sampled_from([0, 0, 20, 70])))
        used["received_at"] = text(datetime.fromisoformat(used["at"]) + late)
    story["settings"] = {"late_usage": draw(st.sampled_from(["next_invoice", "credit_note"]))}
    declined = {"outcome": "declined", "kind": "soft"}
    story["payments"] = draw(st.lists(st.sampled_from(["succeeded", declined, "unknown"]), max_size=8))
    return story  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(eventful_stories())
def test_whatever_happens_sums_add_up_and_wallets_are_their_transactions(story: Json) -> None:
    result = simulate(story)
    inclusive = story["tax_rates"][0]["inclusive"]
    for invoice in result["invoices"]:
        lines = invoice["lines"]
        subtotal, discount, tax, credits, total = (
            Decimal(invoice[name])
            for name in ("subtotal", "total_discount", "total_tax", "total_prepaid_credits_applied", "total")
        )
        assert subtotal == sum(Decimal(line["amount"]) for line in lines) >= 0
        assert credits == sum(Decimal(line["prepaid_credits"]) for line in lines)
        assert total == subtotal - discount + (0 if inclusive else tax) - credits >= 0
    for wallet in result["wallets"]:
        signed = {"credit": 1, "debit": -1}
        moved = sum(signed[each["type"]] * Decimal(each["credit_amount"]) for each in wallet["transactions"])
        assert Decimal(wallet["credit_balance"]) == moved >= 0
    times = [entry["at"] for entry in result["timeline"]]
    assert times == sorted(times)


@settings(max_examples=150, deadline=None)
@given(eventful_stories())
def test_no_moment_is_credited_twice(story: Json) -> None:
    """Of a price in advance every moment is charged at most once more than it is credited, and never credited more."""
    story["coupons"][0]["percentage_off"] = "10"
    for price in (price for owner in (*story["plans"], *story["addons"]) for price in owner["prices"]):
        if price["type"] == "FIXED":
            price["amount"] = "500"
    story["subscription"]["proration_behavior"] = "create_prorations"
    lines = [line for invoice in simulate(story)["invoices"] for line in invoice["lines"]]
    signs = {"fixed": 1, "proration_charge": 1, "proration_credit": -1}
    in_advance = {"seat", "team_seat"} | {
        price["key"] for price in story["addons"][0]["prices"] if price["invoice_cadence"] == "ADVANCE"
    }
    for key in in_advance:
        own = [line for line in lines if line["price"] == key]
        for moment in {line["period_start"] for line in own}:
            covering = [line for line in own if line["period_start"] <= moment < line["period_end"]]
            assert sum(signs[line["kind"]] for line in covering) in (0, 1)


@settings(max_examples=80, deadline=None)
@given(eventful_stories())
def test_whatever_happens_a_story_stopped_earlier_is_the_beginning_of_it(story: Json) -> None:
    start = datetime.fromisoformat(story["subscription"]["start_date"])
    middle = simulate({**story, "until": text(start + SPAN / 2)})
    whole = simulate(story)
    assert whole["timeline"][: len(middle["timeline"])] == middle["timeline"]
    assert whole["refused"][: len(middle["refused"])] == middle["refused"]


@settings(max_examples=60, deadline=None)
@given(stories())
def test_sums_add_up(story: Json) -> None:
    inclusive = story["tax_rates"][0]["inclusive"]
    for invoice in simulate(story)["invoices"]:
        number = {name: Decimal(invoice[name]) for name in (
            "subtotal", "total_discount", "total_tax", "total", "amount_paid", "amount_remaining")}  # fmt: skip
        assert number["subtotal"] == sum(Decimal(line["amount"]) for line in invoice["lines"]) >= 0
        assert number["total_discount"] == sum(Decimal(line["discount"]) for line in invoice["lines"])
        tax = 0 if inclusive else number["total_tax"]
        assert number["total"] == number["subtotal"] - number["total_discount"] + tax >= 0
        assert number["amount_paid"] + number["amount_remaining"] == number["total"]


@settings(max_examples=60, deadline=None)
@given(stories())
def test_no_time_is_billed_twice_and_none_is_missed(story: Json) -> None:
    result = simulate(story)
    start = datetime.fromisoformat(story["subscription"]["start_date"])
    current = result["subscription"]
    ended = current["status"] == "cancelled"
    closed = current["current_period_end" if ended else "current_period_start"]
    for price in ("seat", "fee", "use"):
        lines = [
            line for invoice in result["invoices"] for line in invoice["lines"]
            if line["price"] == price and line["kind"] in ("fixed", "usage")
        ]  # fmt: skip
        at = start
        for line in lines:
            assert datetime.fromisoformat(line["period_start"]) == at
            at = datetime.fromisoformat(line["period_end"])
            assert at > datetime.fromisoformat(line["period_start"])
        if price == "seat":
            assert at >= datetime.fromisoformat(current["current_period_end"])
        else:
            assert at == datetime.fromisoformat(closed)


@settings(max_examples=40, deadline=None)
@given(stories(), st.randoms(use_true_random=False))
def test_order_of_arrival_and_repetition_change_nothing(story: Json, random: Any) -> None:
    events = [
        {"event_id": f"e{place}", "event_name": "call", "timestamp": use["at"], "properties": {"n": use["quantity"]}}
        for place, use in enumerate(story["usage"])
    ]
    repeated = events + [{**event, "properties": {"n": "9"}} for event in events]
    first, second = events[:], repeated[: len(events)]
    random.shuffle(second)
    plain = simulate({**story, "usage": [], "events": first})
    assert (
        simulate({**story, "usage": [], "events": [*second, *repeated[len(events) :]]})["invoices"]
        == (plain["invoices"])
    )
    assert simulate(story)["invoices"] == plain["invoices"]


@settings(max_examples=30, deadline=None)
@given(stories())
def test_a_story_stopped_earlier_is_the_beginning_of_the_same_story(story: Json) -> None:
    start = datetime.fromisoformat(story["subscription"]["start_date"])
    middle = simulate({**story, "until": text(start + SPAN / 2)})
    whole = simulate(story)
    assert whole["timeline"][: len(middle["timeline"])] == middle["timeline"]
    for early, late in zip(middle["invoices"], whole["invoices"], strict=False):
        if early["invoice_status"] != "DRAFT":
            assert early == late
