"""Laws of stories whose lines have rates and trials of their own, whatever happens to the subscription."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.simulation.simulate import simulate
from tests.simulation.test_laws import SPAN, eventful_stories, text

Json = dict[str, Any]
NEVER_CHARGED = ("proration_credit", "adjustment")


@st.composite
def stories_of_lines(draw: st.DrawFn) -> Json:
    """Eventful stories in which some lines are taxed by themselves, and some fixed prices have a trial."""
    story: Json = draw(eventful_stories())
    inclusive = story["tax_rates"][0]["inclusive"]
    for key, value in (("low", "5"), ("none", "0")):
        story["tax_rates"].append({"key": key, "type": "percentage", "percentage_value": value, "inclusive": inclusive})
    prices = [price for owner in (*story["plans"], *story["addons"]) for price in owner["prices"]]
    rates = st.sampled_from([[], ["low"], ["none"], ["tax", "low"]])
    story["subscription"]["line_tax_rates"] = {price["key"]: draw(rates) for price in prices}
    for price in prices:
        if price["type"] == "FIXED":
            price["trial_period_days"] = draw(st.sampled_from([0, 0, 3, 14, 45]))
    return story


@settings(max_examples=100, deadline=None)
@given(stories_of_lines())
def test_sums_add_up(story: Json) -> None:
    result = simulate(story)
    exclusive = not story["tax_rates"][0]["inclusive"]
    for invoice in result["invoices"]:
        subtotal, discount, tax, credits, total = (
            Decimal(invoice[name])
            for name in ("subtotal", "total_discount", "total_tax", "total_prepaid_credits_applied", "total")
        )
        assert subtotal == sum(Decimal(line["amount"]) for line in invoice["lines"]) >= 0
        assert total == subtotal - discount + (tax if exclusive else 0) - credits >= 0
        assert tax >= 0
    times = [entry["at"] for entry in result["timeline"]]
    assert times == sorted(times)


@settings(max_examples=60, deadline=None)
@given(stories_of_lines())
def test_a_story_stopped_earlier_is_the_beginning_of_it(story: Json) -> None:
    start = datetime.fromisoformat(story["subscription"]["start_date"])
    middle, whole = simulate({**story, "until": text(start + SPAN / 2)}), simulate(story)
    assert whole["timeline"][: len(middle["timeline"])] == middle["timeline"]


@settings(max_examples=100, deadline=None)
@given(stories_of_lines())
def test_nothing_is_charged_for_a_trial_nor_before_its_end(story: Json) -> None:
    """A price charges from its trial's end at the earliest, and no invoice carries it before that."""
    result = simulate(story)
    start = datetime.fromisoformat(story["subscription"]["start_date"])
    days = {
        price["key"]: price.get("trial_period_days", 0)
        for owner in (*story["plans"], *story["addons"])
        for price in owner["prices"]
    }
    drafted = [
        datetime.fromisoformat(entry["at"])
        for entry in result["timeline"]
        if entry["event"] in ("invoice.drafted", "invoice.skipped")
    ]
    for at, invoice in zip(drafted, result["invoices"], strict=True):
        for line in invoice["lines"]:
            if line["kind"] in NEVER_CHARGED or not days.get(line["price"], 0):
                continue
            # local days: the clocks may have been put forward, and dates skipped (Samoa left out a day)
            earliest = (days[line["price"]] - 2) * 86_400
            begins = datetime.fromisoformat(line["period_start"])
            assert (begins - start).total_seconds() >= earliest
            assert (at - start).total_seconds() >= earliest


@settings(max_examples=60, deadline=None)
@given(stories_of_lines())
def test_no_moment_is_charged_twice(story: Json) -> None:
    """Of a price in advance every moment is charged at most once more than it is credited, trials or not."""
    story["coupons"][0]["percentage_off"] = "10"
    for price in (price for owner in (*story["plans"], *story["addons"]) for price in owner["prices"]):
        if price["type"] == "FIXED":
            price["amount"] = "500"
    story["subscription"]["proration_behavior"] = "create_prorations"
    lines = [line for invoice in simulate(story)["invoices"] for line in invoice["lines"]]
    signs = {"fixed": 1, "proration_charge": 1, "proration_credit": -1}
    for key in ("seat", "team_seat"):
        own = [line for line in lines if line["price"] == key]
        for moment in {line["period_start"] for line in own}:
            covering = [line for line in own if line["period_start"] <= moment < line["period_end"]]
            assert sum(signs[line["kind"]] for line in covering) in (0, 1)
