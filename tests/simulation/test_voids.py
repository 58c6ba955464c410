"""Voids lose nothing and give nothing twice, whatever was credited before."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.simulation.simulate import simulate
from tests.simulation.documents import SEAT, document
from tests.simulation.test_laws import eventful_stories

Json = dict[str, Any]
PLANS = [{"key": "pro", "prices": [SEAT]}, {"key": "small", "prices": [{**SEAT, "key": "small_seat", "amount": "2"}]}]
DOWN = {"at": "2026-01-11T00:00:00Z", "do": "change_plan", "plan": "small", "when": "immediate"}


def void(invoice: int, day: int) -> Json:
    return {"at": f"2026-01-{day}T00:00:00Z", "do": "void_invoice", "invoice": invoice}


def told(*actions: Json, **parts: Any) -> Json:
    return simulate(document(plans=PLANS, meters=[], actions=list(actions), until="2026-01-25T00:00:00Z", **parts))


@settings(max_examples=100, deadline=None)
@given(eventful_stories(), st.randoms(use_true_random=False))
def test_who_has_every_invoice_voided_has_back_what_was_paid_and_no_more(story: Json, random: Any) -> None:
    for owner in (*story["plans"], *story["addons"]):
        owner.pop("credit_grants", None)
    story["wallets"], story["payments"] = [], []
    order = list(range(len(simulate(story)["invoices"])))
    random.shuffle(order)
    story["actions"] += [{"at": story["until"], "do": "void_invoice", "invoice": place} for place in order]
    result = simulate(story)
    refused = [each for each in result["refused"] if story["actions"][each["action"]]["do"] == "void_invoice"]
    paid = sum(Decimal(invoice["amount_paid"]) for invoice in result["invoices"])
    balance = sum(Decimal(wallet["credit_balance"]) for wallet in result["wallets"])
    assert balance == paid
    assert not refused


def test_a_credit_stays_given_and_its_line_is_not_credited_again() -> None:
    # 21 of 31 days are left: 10 x 21/31 = 6.77 back, 2 x 21/31 = 1.35 to pay: 5.42 carried, 1.35 when that is void
    cancel = {"at": "2026-01-20T00:00:00Z", "do": "cancel", "type": "immediate"}
    result = told(DOWN, void(1, 12), cancel)
    assert [each["amount"] for each in result["wallets"][0]["transactions"]] == ["5.42", "1.35"]
    assert result["invoices"][2]["lines"] == []


def test_a_draft_that_is_voided_gives_its_credit() -> None:
    price = {"key": "use", "type": "USAGE", "meter": "calls", "billing_model": "FLAT_FEE", "amount": "1"}
    pause = {"at": "2026-01-11T00:00:00Z", "do": "pause"}
    early = {"at": "2026-01-11T01:00:00Z", "do": "void_invoice", "invoice": 1}
    plans = [{"key": "pro", "prices": [SEAT, price]}]
    result = simulate(document(plans=plans, actions=[pause, early]))
    assert result["invoices"][1]["invoice_status"] == "VOIDED"
    assert [each["amount"] for each in result["wallets"][0]["transactions"]] == ["6.77"]


def test_what_was_credited_and_never_paid_cannot_be_voided_away() -> None:
    result = told(DOWN, void(0, 12), payments=[{"outcome": "declined", "kind": "soft"}], settings={"dunning_days": []})
    assert [each["code"] for each in result["refused"]] == ["conflict"]
    assert (
        "6.77 of the invoice were credited already, and 6.77 of that were never paid"
        in (result["refused"][0]["message"])
    )
    assert result["invoices"][0]["invoice_status"] == "FINALIZED"
