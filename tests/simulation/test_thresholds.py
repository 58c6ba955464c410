"""Threshold invoices: when they come, and that the customer pays in the end what he would have paid without them."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.errors import Invalid
from billing.explain import Figure, explanations
from billing.scenario.parse import parse_scenario
from billing.simulation.simulate import play, simulate
from tests.simulation.documents import BASE, METER, SEAT, USE, document, with_value
from tests.simulation.test_laws import eventful_stories

Json = dict[str, Any]
USED = ("usage", "overage", "true_up", "adjustment")


def use(at: str, quantity: str, received_at: str | None = None) -> Json:
    late = {} if received_at is None else {"received_at": f"2026-{received_at}Z"}
    return {"meter": "calls", "at": f"2026-{at}Z", "quantity": quantity, **late}


def told(threshold: str, *usage: Json, subscription: Json | None = None, **parts: Any) -> Json:
    agreed = {"plan": "pro", "start_date": "2026-01-01T00:00:00Z", "auto_invoice_threshold": threshold}
    given = {"plans": [{"key": "pro", "prices": [USE]}], "until": "2026-03-02T00:00:00Z", **parts}
    return simulate(document(subscription={**agreed, **(subscription or {})}, usage=list(usage), **given))


def reached(result: Json) -> list[tuple[str, str]]:
    """The hour (day and hour) and the subtotal of each threshold invoice."""
    return [
        (invoice["period_end"][5:16], invoice["subtotal"])
        for invoice in result["invoices"]
        if invoice["billing_reason"] == "AUTO_INVOICE_THRESHOLD"
    ]


def charged(result: Json, *kinds: str) -> dict[tuple[str, str], Decimal]:
    """What lines of these kinds charge, by price and by the start of their period."""
    found: dict[tuple[str, str], Decimal] = {}
    for invoice in result["invoices"]:
        for line in invoice["lines"]:
            if line["kind"] in kinds and line["description"] != "Credit carried to the customer's balance":
                key = (line["price"] or "", line["period_start"])
                found[key] = found.get(key, Decimal(0)) + Decimal(line["amount"])
    return found


@settings(max_examples=120, deadline=None)
@given(eventful_stories(), st.sampled_from(["0.5", "50", "1000"]), st.booleans(), st.lists(st.integers(0, 900)))
def test_with_a_threshold_usage_costs_what_it_costs_without(
    story: Json, threshold: str, committed: bool, late: list[int]
) -> None:
    """Price by price and period by period, whatever happens: tiers, allowances, commitments, changes, late events."""
    for entry, hours in zip(story["usage"], late, strict=False):
        entry["received_at"] = (datetime.fromisoformat(entry["at"]) + timedelta(hours=hours)).isoformat()
    story["currency"], story["subscription"]["coupons"], story["payments"] = "usd", [], []
    story["actions"] = [each for each in story["actions"] if each["do"] != "apply_coupon"]
    if committed:
        story["subscription"]["commitment"] = {
            "commitment_amount": "700", "overage_factor": "1.5", "enable_true_up": True,
            "commitment_duration": "QUARTERLY",
        }  # fmt: skip
    plain = simulate(story)
    story["subscription"]["auto_invoice_threshold"] = threshold
    often = simulate(story)
    running = plain["subscription"]["current_period_start"]  # on account of it, more may have been billed
    closed, so_far = charged(plain, *USED), charged(often, *USED)
    assert {key: amount for key, amount in so_far.items() if key in closed or key[1] < running} == closed
    assert often["subscription"] == plain["subscription"]
    for invoice in often["invoices"]:
        if invoice["billing_reason"] == "AUTO_INVOICE_THRESHOLD":
            assert Decimal(invoice["subtotal"]) >= Decimal(threshold)
            assert all(Decimal(line["amount"]) > 0 for line in invoice["lines"])


def test_what_comes_at_a_full_hour_is_seen_at_the_next() -> None:
    assert reached(told("10", use("01-05T10:00:00", "20"))) == [("01-05T11:00", "10")]
    assert reached(told("10", use("01-05T10:00:00.001", "19.98"))) == []
    assert reached(told("10", use("01-05T09:59:59.999", "20"))) == [("01-05T10:00", "10")]


def test_the_last_hour_of_a_period_is_its_close() -> None:
    assert reached(told("10", use("01-31T23:30:00", "20"))) == []
    assert reached(told("10", use("01-31T22:30:00", "20"))) == [("01-31T23:00", "10")]


def test_what_comes_late_is_seen_when_it_comes() -> None:
    late = use("01-05T10:00:00", "20", received_at="01-07T03:20:00")
    assert reached(told("10", late)) == [("01-07T04:00", "10")]


def test_a_threshold_invoice_is_final_at_once_and_the_period_goes_on() -> None:
    result = told("10", use("01-05T10:00:00", "20"), until="2026-01-05T11:00:00Z")
    (invoice,) = result["invoices"]
    assert (invoice["invoice_status"], invoice["finalized_at"], invoice["payment_status"]) == (
        "FINALIZED", "2026-01-05T11:00:00Z", "SUCCEEDED",
    )  # fmt: skip
    assert result["subscription"]["current_period_start"] == "2026-01-01T00:00:00Z"
    assert invoice["lines"][0]["period_end"] == "2026-01-05T11:00:00Z"


def test_nothing_is_looked_at_in_a_trial_while_paused_or_after_the_end() -> None:
    assert reached(told("10", use("01-05T10:00:00", "50"), subscription={"trial_period_days": 10})) == []
    actions = [{"at": "2026-01-05T09:00:00Z", "do": "pause"}, {"at": "2026-01-08T09:00:00Z", "do": "resume"}]
    assert reached(told("10", use("01-05T10:00:00", "50"), actions=actions)) == []
    end = [{"at": "2026-01-05T10:30:00Z", "do": "cancel", "type": "immediate"}]
    result = told("10", use("01-05T10:00:00", "50"), actions=end)
    assert reached(result) == []
    assert result["invoices"][0]["total"] == "25"


def test_a_level_reaches_the_threshold_by_the_time_that_passes() -> None:
    meter = {**METER, "aggregation": {"type": "WEIGHTED_SUM", "field": "n"}}
    # 744 from the start at 0.5 a month: 0.5 an hour, so 10 after 20 hours, and again after each 20 more
    result = told("10", use("01-01T00:00:00", "744"), meters=[meter], until="2026-01-03T00:00:00Z")
    assert reached(result) == [("01-01T20:00", "10"), ("01-02T16:00", "10")]


def test_less_usage_than_was_billed_is_given_back_net_of_the_discount_it_had() -> None:
    event = {"event_id": "e", "event_name": "call", "timestamp": "2026-01-05T10:00:00Z", "properties": {"n": "200"}}
    amend = {"at": "2026-01-20T00:00:00Z", "do": "amend_event", "event_id": "e", "properties": {"n": "120"}}
    result = told(
        "100", events=[event], actions=[amend], subscription={"coupons": ["ten"], "tax_rates": ["gst"]},
        plans=[{"key": "pro", "prices": [{**USE, "display_name": "Calls"}, {**SEAT, "amount": "50"}]}],
    )  # fmt: skip
    # 100 less 10 % = 90 and 16.2 tax; at the close 60 are right: 40 less its discount, 36, go off the seat's 45
    assert [invoice["subtotal"] for invoice in result["invoices"]] == ["50", "100", "14", "50"]
    line = next(line for line in result["invoices"][2]["lines"] if line["price"] == "use")
    assert (line["kind"], line["quantity"], line["amount"], line["discount"]) == ("usage", "-80", "-36", "0")
    assert result["invoices"][2]["total"] == "10.62"  # (45 - 36) x 1.18


def test_the_explanation_of_a_line_below_what_was_billed_adds_up() -> None:
    event = {"event_id": "e", "event_name": "call", "timestamp": "2026-01-05T10:00:00Z", "properties": {"n": "200"}}
    amend = {"at": "2026-01-20T00:00:00Z", "do": "amend_event", "event_id": "e", "properties": {"n": "120"}}
    agreed = {**BASE["subscription"], "auto_invoice_threshold": "100", "coupons": ["ten"]}
    close = play(parse_scenario(document(subscription=agreed, events=[event], actions=[amend]))).invoices[2]
    found = next(each for each in explanations(close.invoice, close.inputs) if each.line.derivation.billed_before)
    assert found.sum_of(Figure.amount) == -36  # 60 - 100 + 4 of the discount
    assert "billed before, on reaching the threshold: -100.00 usd" in found.text
    assert "of that a discount had taken off 4.00 usd" in found.text


def test_a_voided_threshold_invoice_is_billed_at_the_close() -> None:
    void = {"at": "2026-01-31T23:30:00Z", "do": "void_invoice", "invoice": 0}
    result = told("10", use("01-05T10:00:00", "20"), actions=[void])
    assert [invoice["subtotal"] for invoice in result["invoices"]] == ["10", "10", "0"]
    early = told("10", use("01-05T10:00:00", "20"), actions=[{**void, "at": "2026-01-05T12:30:00Z"}])
    assert reached(early) == [("01-05T11:00", "10"), ("01-05T13:00", "10")]  # what was voided is unbilled again


@pytest.mark.parametrize("threshold", ["0", "-1", "0.001"])
def test_a_threshold_that_makes_no_sense_is_refused(threshold: str) -> None:
    with pytest.raises(Invalid, match="must be above 0") as refusal:
        simulate(with_value("subscription.auto_invoice_threshold", threshold))
    assert refusal.value.field == "subscription.auto_invoice_threshold"
