"""What a customer does in the midst of a period, beside what was promised, discounted and agreed."""

from typing import Any

import pytest

from billing.simulation.simulate import simulate
from tests.simulation.documents import SEAT, USE, document

Json = dict[str, Any]
Lines = list[list[tuple[str, str | None, str]]]
NOON = "2026-01-16T12:00:00Z"
"""Half of January has passed: 15.5 of 31 days."""
PROMISE = {"use": {"commitment_type": "amount", "commitment_amount": "31", "enable_true_up": True}}
BIG = {"key": "big", "prices": [{**SEAT, "key": "large", "amount": "20"}]}
PLANS = [{"key": "pro", "prices": [SEAT, USE]}, BIG]


def told(action: Json | None = None, **parts: Any) -> Json:
    """The story with one action at noon of the 16th of January; none of it may be refused."""
    subscription = {"plan": "pro", "start_date": "2026-01-01T00:00:00Z", **parts.pop("subscription", {})}
    actions = parts.pop("actions", [{"at": NOON, **action}] if action else [])
    result = simulate(document(subscription=subscription, actions=actions, **parts))
    assert result["refused"] == []
    return result


def lines(result: Json) -> Lines:
    return [[(line["kind"], line["price"], line["amount"]) for line in one["lines"]] for one in result["invoices"]]


OPENING = [("fixed", "seat", "10")]
CREDIT = ("proration_credit", "seat", "-5")
CARRIED = ("adjustment", None, "5")
JANUARY = [("fixed", "seat", "10"), ("usage", "use", "0"), ("true_up", "use", "31")]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        # 5 of the 10 are unused; 3 seats for half a month cost 15, whole months 30
        (
            {"do": "change_quantity", "price": "seat", "quantity": "3"},
            [OPENING, [CREDIT, ("proration_charge", "seat", "15")], [("fixed", "seat", "30"), *JANUARY[1:]]],
        ),
        # the promise of a line that has ended shrinks with it: 31 x 15.5 / 31
        (
            {"do": "change_plan", "plan": "big"},
            [
                OPENING, [CREDIT, ("proration_charge", "large", "10")],
                [("usage", "use", "0"), ("fixed", "large", "20"), ("true_up", "use", "15.5")],
            ],
        ),
        (
            {"do": "change_plan", "plan": "big", "billing_period": "ANNUAL"},
            [OPENING, [("usage", "use", "0"), ("fixed", "large", "20"), CREDIT, ("true_up", "use", "15.5")]],
        ),
        (
            {"do": "add_addon", "addon": "help"},
            [OPENING, [("proration_charge", "support", "2")], [*JANUARY[:2], ("fixed", "support", "4"), JANUARY[2]]],
        ),
        (
            {"do": "cancel", "type": "immediate"},
            # 15.50 are missing, 5 are credited
            [OPENING, [("usage", "use", "0"), CREDIT, ("true_up", "use", "15.5")]],
        ),
    ],
)  # fmt: skip
def test_a_change_leaves_the_promise_of_a_line_beside_it(action: Json, expected: Lines) -> None:
    addons = [{"key": "help", "prices": [{**SEAT, "key": "support", "amount": "4"}]}]
    own = {"plans": PLANS, "addons": addons, "subscription": {"line_commitments": PROMISE}}
    assert lines(told(action, until="2026-02-02T00:00:00Z", **own)) == expected


def test_a_trial_of_one_price_leaves_the_promise_of_another() -> None:
    """Free until the 16th at midnight: 16 of 31 days cost 10 x 16 / 31 = 5.16."""
    plans = [{"key": "pro", "prices": [{**SEAT, "trial_period_days": 15}, USE]}]
    found = told(plans=plans, subscription={"line_commitments": PROMISE}, until="2026-02-02T00:00:00Z")
    assert lines(found) == [[("fixed", "seat", "5.16")], JANUARY]


def test_a_promise_goes_on_after_a_pause() -> None:
    """8 calls are 4 of 15.50 (half of January); from February on 4 calls are 2 of 31."""
    usage = [
        {"meter": "calls", "at": "2026-01-05T00:00:00Z", "quantity": "8"},
        {"meter": "calls", "at": "2026-02-05T00:00:00Z", "quantity": "4"},
    ]
    actions = [{"at": NOON, "do": "pause"}, {"at": "2026-02-01T00:00:00Z", "do": "resume"}]
    plans = [{"key": "pro", "prices": [USE]}]
    found = told(plans=plans, usage=usage, actions=actions, subscription={"line_commitments": PROMISE})
    assert lines(found) == [
        [("usage", "use", "4"), ("true_up", "use", "11.5")],
        [("usage", "use", "2"), ("true_up", "use", "29")],
    ]


@pytest.mark.parametrize("subscriptions", ["none", "create_prorations"])
@pytest.mark.parametrize("own", ["none", "create_prorations", None])
@pytest.mark.parametrize(
    "action",
    [
        {"do": "cancel", "type": "immediate"},
        {"do": "cancel", "type": "scheduled", "at": "2026-01-10T00:00:00Z", "cancel_at": NOON},
        {"do": "change_plan", "plan": "big", "when": "immediate"},
        {"do": "change_plan", "plan": "big", "when": "immediate", "billing_period": "ANNUAL"},
    ],
    ids=["cancelled", "cancelled at a date", "another plan", "another period"],
)
def test_unused_time_is_credited_as_the_action_says_or_else_the_subscription(
    action: Json, own: str | None, subscriptions: str
) -> None:
    asked = {**action, **({} if own is None else {"proration_behavior": own})}
    found = told(asked, plans=PLANS, subscription={"proration_behavior": subscriptions}, until="2026-02-02T00:00:00Z")
    credited = CREDIT in [line for one in lines(found) for line in one]
    assert credited is ((own or subscriptions) == "create_prorations")


def test_a_coupon_that_is_taken_later_lowers_its_line_only() -> None:
    """10 % of 8 calls at 0.50 are 0.40; the seats have none."""
    usage = [{"meter": "calls", "at": "2026-01-05T00:00:00Z", "quantity": "8"}]
    found = told({"do": "apply_coupon", "coupon": "ten", "price": "use"}, usage=usage, until="2026-02-02T00:00:00Z")
    _, closing = found["invoices"]
    assert [(line["price"], line["amount"], line["discount"]) for line in closing["lines"]] == [
        ("seat", "10", "0"), ("use", "4", "0.4"),
    ]  # fmt: skip
    assert {"at": NOON, "event": "subscription.updated", "id": "subscription"} in found["timeline"]


COUPONS = [
    {"key": "eu", "type": "fixed", "amount_off": "1", "currency": "eur", "cadence": "once"},
    {"key": "old", "type": "percentage", "percentage_off": "5", "cadence": "once", "redeem_before": NOON},
    {"key": "one", "type": "percentage", "percentage_off": "5", "cadence": "once", "max_redemptions": 1},
]


@pytest.mark.parametrize(
    ("before", "action", "code", "message"),
    [
        ([], {"do": "apply_coupon", "coupon": "eu"}, "validation_error",
         "coupon eu is in eur, the subscription in usd"),
        ([], {"do": "apply_coupon", "coupon": "old"}, "conflict",
         "coupon old could be redeemed before 2026-01-16T12:00:00+00:00"),
        ([{"do": "apply_coupon", "coupon": "one"}], {"do": "apply_coupon", "coupon": "one"}, "conflict",
         "the subscription carries coupon one already"),
        ([{"do": "cancel", "type": "immediate"}], {"do": "apply_coupon", "coupon": "one"}, "conflict",
         "apply_coupon is not possible: the subscription is cancelled"),
        ([{"do": "add_addon", "addon": "help"}], {"do": "add_addon", "addon": "help"}, "conflict",
         "add_addon is not possible: the subscription has help already"),
        ([], {"do": "remove_addon", "addon": "help"}, "not_found", "the subscription has no add-on 'help'"),
        ([], {"do": "change_plan", "plan": "pro"}, "conflict", "change_plan is not possible: the plan is pro already"),
        ([], {"do": "change_quantity", "price": "use", "quantity": "2"}, "validation_error",
         "price use is metered: it has no quantity to change"),
        ([], {"do": "change_quantity", "price": "seat", "quantity": "-1"}, "validation_error",
         "quantity must be 0 or more; got -1"),
        ([], {"do": "void_invoice", "invoice": 1}, "not_found", "there is no invoice 1 at that time"),
        ([], {"do": "void_invoice", "invoice": -1}, "not_found", "there is no invoice -1 at that time"),
        ([], {"do": "void_event", "event_id": "e"}, "not_found", "no event has the event_id 'e' at that time"),
        ([{"do": "terminate_wallet", "wallet": "w"}], {"do": "top_up", "wallet": "w", "credits": "1"}, "conflict",
         "top_up is not possible: wallet w is closed"),
        ([{"do": "pause"}], {"do": "pause"}, "conflict", "pause is not possible: the subscription is paused"),
        ([], {"do": "pause", "at": "2025-12-31T00:00:00Z"}, "conflict", "the subscription has not started"),
    ],
)  # fmt: skip
def test_why_an_action_is_refused(before: list[Json], action: Json, code: str, message: str) -> None:
    actions = [{"at": NOON, **each} for each in (*before, action)]
    addons = [{"key": "help", "prices": [{**SEAT, "key": "support", "amount": "4"}]}]
    result = simulate(document(coupons=COUPONS, addons=addons, wallets=[{"key": "w"}], actions=actions))
    assert result["refused"] == [{"action": len(before), "code": code, "message": message}]


def test_a_void_event_can_be_voided_again_and_not_amended() -> None:
    """As the API answers it: the first void stands, and a new event has to be sent instead of an amendment."""
    at = "2026-01-05T00:00:00Z"
    sent = {"event_id": "e", "event_name": "call", "timestamp": at, "properties": {"n": "4"}}
    void, amend = (
        {"do": "void_event", "event_id": "e"},
        {"do": "amend_event", "event_id": "e", "properties": {"n": "9"}},
    )
    actions = [{"at": NOON, **each} for each in (void, void, amend)]
    result = simulate(document(events=[sent], actions=actions))
    message = "event 'e' is void and cannot be amended; send a new event"
    assert result["refused"] == [{"action": 2, "code": "conflict", "message": message}]


def test_a_new_card_is_not_charged_for_what_was_written_off() -> None:
    """That is a person's to decide; the same invoice, left open, is charged at once."""
    declined = {"outcome": "declined", "kind": "soft"}
    for outcome, attempts in (("uncollectible", 2), ("open", 3)):
        settings = {"dunning_days": [1], "on_exhausted_invoice": outcome}
        found = told({"do": "add_payment_method"}, settings=settings, payments=[declined, declined], until=NOON)
        assert len(found["invoices"][0]["attempts"]) == attempts


def test_usage_is_short_for_events() -> None:
    """With the first value of each filter; a counting meter gets a whole number of events, which may come later."""
    meters = [
        {"key": "eu", "event_name": "call", "aggregation": {"type": "SUM", "field": "n"},
         "filters": [{"key": "region", "values": ["de", "fr"]}]},
        {"key": "fr", "event_name": "call", "aggregation": {"type": "SUM", "field": "n"},
         "filters": [{"key": "region", "values": ["fr"]}]},
        {"key": "hits", "event_name": "hit", "aggregation": {"type": "COUNT"}},
    ]  # fmt: skip
    prices = [{**USE, "key": key, "meter": key, "amount": "1"} for key in ("eu", "fr", "hits")]
    late = "2026-02-02T12:00:00Z"  # the grace is over: its month is closed
    usage = [
        {"meter": "eu", "at": "2026-01-05T00:00:00Z", "quantity": "2.5"},
        {"meter": "hits", "at": "2026-01-05T00:00:00Z", "quantity": "3"},
        {"meter": "hits", "at": "2026-01-06T00:00:00Z", "quantity": "0"},
        {"meter": "eu", "at": "2026-01-07T00:00:00Z", "quantity": "4", "received_at": late},
    ]
    found = told(meters=meters, plans=[{"key": "pro", "prices": prices}], usage=usage, until="2026-03-02T00:00:00Z")
    assert lines(found) == [
        [("usage", "eu", "2.5"), ("usage", "fr", "0"), ("usage", "hits", "3")],
        [("usage", "eu", "0"), ("usage", "fr", "0"), ("usage", "hits", "0"), ("adjustment", "eu", "4")],
    ]
