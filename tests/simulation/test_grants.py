"""Credit grants in a story: when credits of a plan, an add-on or the subscription come, and when they do not."""

from typing import Any

import pytest

from billing.errors import Invalid
from billing.simulation.simulate import simulate
from tests.simulation.documents import SEAT, USE, Json, document

BOOST: Json = {**SEAT, "key": "boost_fee"}
MONTHLY: Json = {"key": "monthly", "credits": "31", "cadence": "RECURRING", "period": "MONTHLY"}
WELCOME: Json = {"key": "welcome", "credits": "5", "cadence": "ONETIME"}
ADD: Json = {"do": "add_addon", "addon": "boost"}
REMOVE: Json = {"do": "remove_addon", "addon": "boost"}


def at(day: str, action: Json) -> Json:
    return {"at": f"{day}T00:00:00Z", **action}


def boosted(*grants: Json, **parts: Any) -> Json:
    """A monthly plan and an add-on that gives credits; the usage is 0, so all credits stay."""
    return document(addons=[{"key": "boost", "prices": [BOOST], "credit_grants": list(grants)}], **parts)


def granted(story: Json) -> list[tuple[str, str]]:
    """Day and credits of each grant."""
    result = simulate(story)
    assert result["refused"] == []
    return [
        (entry["at"][:10], entry["credit_amount"])
        for wallet in result["wallets"]
        for entry in wallet["transactions"]
        if entry["transaction_reason"] == "SUBSCRIPTION_CREDIT_GRANT"
    ]


def test_an_add_on_of_the_start_gives_whole_credits() -> None:
    story = boosted(MONTHLY, WELCOME)
    story["subscription"]["addons"] = [{"addon": "boost"}]
    assert granted(story) == [("2026-01-01", "31"), ("2026-01-01", "5"), ("2026-02-01", "31"), ("2026-03-01", "31")]


def test_a_span_is_given_once_and_a_welcome_once_however_often_the_add_on_returns() -> None:
    # 16 of January's 31 days; then nothing again before February
    actions = [at("2026-01-16", ADD), at("2026-01-20", REMOVE), at("2026-01-25", ADD)]
    story = boosted(MONTHLY, WELCOME, actions=actions)
    assert granted(story) == [("2026-01-16", "16"), ("2026-01-16", "5"), ("2026-02-01", "31"), ("2026-03-01", "31")]


def test_without_prorations_the_first_whole_span_is_given() -> None:
    story = boosted(MONTHLY, actions=[at("2026-01-16", ADD)])
    story["subscription"]["proration_behavior"] = "none"
    assert granted(story) == [("2026-02-01", "31"), ("2026-03-01", "31")]


def test_a_share_has_8_digits_and_one_of_nothing_is_no_lot() -> None:
    # 10 x 16/31 = 5.16129032258...
    assert granted(boosted({**MONTHLY, "credits": "10"}, actions=[at("2026-01-16", ADD)]))[0][1] == "5.16129032"
    tiny = {**MONTHLY, "credits": "0.000000001"}
    assert [day for day, _ in granted(boosted(tiny, actions=[at("2026-01-16", ADD)]))] == ["2026-02-01", "2026-03-01"]


def test_a_grant_with_a_date_of_its_own_counts_from_it() -> None:
    # from 20 January on, and 23 of the 31 days of its span are left on 28 January
    dated = {**MONTHLY, "start_date": "2026-01-20T00:00:00Z"}
    assert granted(boosted(dated, actions=[at("2026-01-05", ADD)])) == [("2026-01-20", "31"), ("2026-02-20", "31")]
    assert granted(boosted(dated, actions=[at("2026-01-28", ADD)])) == [("2026-01-28", "23"), ("2026-02-20", "31")]


def test_a_plan_that_returns_welcomes_nobody_twice() -> None:
    plans = [
        {"key": "pro", "prices": [SEAT, USE], "credit_grants": [WELCOME]},
        {"key": "team", "prices": [{**SEAT, "key": "team_seat", "amount": "15"}]},
    ]
    actions = [
        at("2026-01-10", {"do": "change_plan", "plan": "team"}),
        at("2026-01-20", {"do": "change_plan", "plan": "pro", "when": "immediate"}),
    ]
    assert granted(document(plans=plans, actions=actions)) == [("2026-01-01", "5")]


def test_a_change_at_the_boundary_does_not_take_the_credits_of_the_boundary() -> None:
    plans = [{"key": "pro", "prices": [SEAT, USE], "credit_grants": [MONTHLY]}]
    story = document(
        plans=plans, actions=[at("2026-01-10", {"do": "change_quantity", "price": "seat", "quantity": "0"})]
    )
    assert granted(story) == [("2026-01-01", "31"), ("2026-02-01", "31"), ("2026-03-01", "31")]


@pytest.mark.parametrize("place", ["plans[1]", "addons[0]"])
def test_a_grant_that_makes_no_sense_is_refused_also_where_it_is_never_given(place: str) -> None:
    bad = {"key": "bad", "credits": "0", "cadence": "ONETIME"}
    team = {"key": "team", "prices": [{**SEAT, "key": "other"}], "credit_grants": [bad] if place == "plans[1]" else []}
    addon = {"key": "boost", "prices": [BOOST], "credit_grants": [bad] if place == "addons[0]" else []}
    story = document(addons=[addon])
    story["plans"].append(team)
    with pytest.raises(Invalid) as refusal:
        simulate(story)
    assert refusal.value.field == f"{place}.credit_grants[0].credits"
