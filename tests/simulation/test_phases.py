"""Phases: what their pieces cost, and what becomes of them when the subscription changes meanwhile."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.errors import Invalid
from billing.simulation.simulate import simulate
from tests.simulation.documents import METER, SEAT, USE, document, with_value

Json = dict[str, Any]
START = datetime(2026, 1, 1, tzinfo=UTC)
ONCE = {**SEAT, "key": "setup", "billing_period": "ONETIME", "amount": "7"}
BIG = {**SEAT, "key": "big_seat", "amount": "20"}
SUPPORT = {**SEAT, "key": "help", "amount": "4"}
PLANS = [{"key": "pro", "prices": [SEAT, USE]}, {"key": "big", "prices": [BIG]}]


def day(text: str) -> str:
    return f"2026-{text}T00:00:00Z"


def phase(start: str, end: str | None = None, **parts: Any) -> Json:
    return {"start_date": day(start), **({"end_date": day(end)} if end else {}), **parts}


def told(phases: list[Json], *actions: Json, subscription: Json | None = None, **parts: Any) -> Json:
    agreed = {"plan": "pro", "start_date": day("01-01"), "phases": phases, **(subscription or {})}
    given = {"plans": PLANS, "addons": [{"key": "support", "prices": [SUPPORT]}], **parts}
    return simulate(document(subscription=agreed, actions=list(actions), **given))


def lines(result: Json, price: str = "seat") -> list[tuple[str, str, str, str]]:
    """Kind, quantity and amount of a price's lines, and the day on which each begins."""
    found = [line for invoice in result["invoices"] for line in invoice["lines"] if line["price"] == price]
    return [(line["kind"], line["quantity"], line["amount"], line["period_start"][5:10]) for line in found]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 200 * 86400), min_size=2, max_size=6, unique=True),
    st.lists(st.integers(0, 9), min_size=5, max_size=5),
    st.sampled_from(["ADVANCE", "ARREAR"]),
)
def test_every_moment_costs_what_its_phase_says(cuts: list[int], quantities: list[int], cadence: str) -> None:
    """The seat's lines cover the time without a gap, and each costs its quantity's share of the month."""
    moments = [START + timedelta(seconds=second) for second in sorted(cuts)]
    phases: list[Json] = [
        {"start_date": begins.isoformat(), "end_date": ends.isoformat(), "quantities": {"seat": str(quantity)}}
        for (begins, ends), quantity in zip(pairwise(moments), quantities, strict=False)
    ]
    seat = {**SEAT, "invoice_cadence": cadence}
    result = told(phases, plans=[{"key": "pro", "prices": [seat]}], until=day("09-01"))
    found = [line for invoice in result["invoices"] for line in invoice["lines"]]
    at = START
    for line in found:
        begins, ends = (datetime.fromisoformat(line[name]) for name in ("period_start", "period_end"))
        assert (begins, line["kind"]) == (at, "fixed")
        at = ends
        wanted = next(
            (int(each["quantities"]["seat"]) for each in phases
             if each["start_date"] <= begins.isoformat() < each["end_date"]), 1,
        )  # fmt: skip
        month = begins.replace(day=1, hour=0, minute=0, second=0)
        whole = (month + timedelta(days=32)).replace(day=1) - month
        exact = 10 * wanted * Fraction((ends - begins) // timedelta(seconds=1), whole // timedelta(seconds=1))
        assert line["quantity"] == str(wanted)
        assert abs(Fraction(Decimal(line["amount"])) - exact) <= Fraction(1, 200)
    assert at >= datetime(2026, 9, 1, tzinfo=UTC)


def test_phases_that_say_the_same_are_one_line_and_a_gap_has_the_subscriptions_terms() -> None:
    cheap = {"price_overrides": {"seat": {"amount": "3"}}}
    result = told(
        [phase("01-11", "01-15", **cheap), phase("01-15", "01-21", **cheap), phase("02-01", "03-01", **cheap)]
    )
    # 10 x 10/31, 3 x 10/31, 10 x 11/31; February whole at 3; March again at 10
    assert [line[2] for line in lines(result)] == ["3.23", "0.97", "3.55", "3", "10"]


def test_a_phase_in_a_trial_changes_what_comes_after_it() -> None:
    trial = {"trial_period_days": 10}
    plans = [{"key": "pro", "prices": [SEAT, ONCE]}]
    early, over = phase("01-01", "02-11", quantities={"seat": "2"}), phase("01-02", "01-08", quantities={"seat": "9"})
    items = [{"price": "help", "quantity": "3"}]
    result = told([{**early, "line_items": items}], subscription=trial, plans=plans)
    assert lines(result) == [
        ("fixed", "2", "20", "01-11"),
        ("fixed", "1", "10", "02-11"),
        ("fixed", "1", "10", "03-11"),
    ]
    assert lines(result, "help") == [("fixed", "3", "12", "01-11")]
    assert lines(result, "setup") == [("fixed", "1", "7", "01-11")]
    assert lines(told([{**over, "line_items": items}], subscription=trial, plans=plans), "help") == []


def test_the_trial_of_a_price_is_over_for_every_piece_that_begins_after_it() -> None:
    plans = [{"key": "pro", "prices": [{**SEAT, "trial_period_days": 10}]}]
    result = told([phase("01-06", "01-21", quantities={"seat": "2"})], plans=plans, until=day("02-02"))
    # charged from 11 January on: 20 x 10/31, then 10 x 11/31
    assert sorted(lines(result)) == [
        ("fixed", "1", "10", "02-01"), ("fixed", "1", "3.55", "01-21"), ("fixed", "2", "6.45", "01-11"),
    ]  # fmt: skip


def test_a_one_time_charge_is_not_repeated_by_a_phase() -> None:
    cheaper = {"price_overrides": {"setup": {"amount": "5"}}}
    plans = [{"key": "pro", "prices": [SEAT, ONCE]}]
    assert [line[2] for line in lines(told([phase("01-01", "02-01", **cheaper)], plans=plans), "setup")] == ["5"]
    assert [line[2] for line in lines(told([phase("01-05", "02-01", **cheaper)], plans=plans), "setup")] == ["7"]


def test_another_quantity_goes_on_through_phases_that_do_not_say_theirs() -> None:
    phases = [
        phase("02-01", "03-01", price_overrides={"seat": {"amount": "20"}}),
        phase("03-01", quantities={"seat": "2"}, line_items=[{"price": "help"}]),
    ]
    more = {"at": day("01-11"), "do": "change_quantity", "price": "seat", "quantity": "4"}
    assert lines(told(phases, more)) == [
        ("fixed", "1", "10", "01-01"), ("proration_credit", "1", "-6.77", "01-11"),
        ("proration_charge", "4", "27.1", "01-11"), ("fixed", "4", "80", "02-01"), ("fixed", "2", "20", "03-01"),
    ]  # fmt: skip
    later = {**more, "at": day("03-05"), "quantity": "1"}
    assert lines(told([phase("03-01", "04-01", quantities={"seat": "2"})], later, until=day("04-02")))[-1] == (
        ("fixed", "1", "10", "04-01")
    )
    helping = {"at": day("03-11"), "do": "change_quantity", "price": "help", "quantity": "2"}
    assert [line[2] for line in lines(told(phases, helping), "help")] == ["4", "-2.71", "5.42"]


def test_a_change_takes_back_what_was_billed_for_a_phase_to_come() -> None:
    phases = [phase("01-16", "02-01", quantities={"seat": "3"}), phase("02-01", quantities={"seat": "5"})]
    change = {"at": day("01-11"), "do": "change_plan", "plan": "big"}
    # January was opened with 10 x 15/31 = 4.84 and 30 x 16/31 = 15.48; 5 of the first 15 days are unused, 1.61
    assert lines(told(phases, change)) == [
        ("fixed", "1", "4.84", "01-01"), ("fixed", "3", "15.48", "01-16"),
        ("proration_credit", "1", "-1.61", "01-11"), ("proration_credit", "3", "-15.48", "01-16"),
    ]  # fmt: skip
    assert [line[2] for line in lines(told(phases, change), "big_seat")] == ["13.55", "20", "20"]


def test_whether_a_plan_is_dearer_is_asked_of_what_is_paid_now() -> None:
    phases = [phase("02-01", price_overrides={"seat": {"amount": "100"}})]
    change = {"at": day("01-11"), "do": "change_plan", "plan": "big"}
    assert lines(told(phases, change), "big_seat")[0] == ("proration_charge", "1", "13.55", "01-11")


def test_items_of_a_phase_are_the_subscriptions_and_stay_when_the_plan_or_the_period_changes() -> None:
    phases = [phase("01-01", "04-01", line_items=[{"price": "help"}]), phase("04-01", line_items=[{"price": "help"}])]
    plain = {"at": day("01-11"), "do": "change_plan", "plan": "big"}
    assert [line[2] for line in lines(told(phases, plain, until=day("02-02")), "help")] == ["4", "4"]
    quarterly = {**plain, "billing_period": "QUARTERLY"}
    # the quarter opens with the months from 11 January on, the third one cut by its phase: 4 x 21/31
    assert lines(told(phases, quarterly, until=day("04-02")), "help") == [
        ("fixed", "1", "4", "01-01"), ("fixed", "1", "4", "01-11"), ("fixed", "1", "4", "02-11"),
        ("fixed", "1", "2.71", "03-11"), ("fixed", "1", "4", "04-01"), ("proration_credit", "1", "-2.71", "01-11"),
    ]  # fmt: skip


def test_a_pause_keeps_what_was_agreed_and_delays_what_would_begin_in_it() -> None:
    phases = [
        phase("01-01", "02-11", quantities={"seat": "2"}),
        phase("02-11", "04-01", quantities={"seat": "3"}),
        phase("04-01", quantities={"seat": "4"}),
    ]
    pause, resume = {"at": day("01-16"), "do": "pause"}, {"at": day("02-16"), "do": "resume"}
    early = {**resume, "at": day("01-18")}
    # 16 of 31 days are unused; the period from the resume on is a whole one: 20 x 24/31 and 30 x 7/31
    assert lines(told(phases, pause, early, until=day("01-20"))) == [
        ("fixed", "2", "20", "01-01"), ("proration_credit", "2", "-10.32", "01-16"),
        ("fixed", "2", "15.48", "01-18"), ("fixed", "3", "6.77", "02-11"),
    ]  # fmt: skip
    # three seats from the resume on; then 30 x 16/31 and, from April on, 40 x 15/31
    assert lines(told(phases, pause, resume, until=day("03-17")))[2:] == [
        ("fixed", "3", "30", "02-16"), ("fixed", "3", "15.48", "03-16"), ("fixed", "4", "19.35", "04-01"),
    ]  # fmt: skip


def test_a_commitment_of_a_line_that_a_phase_cuts_is_shared_out_to_its_pieces() -> None:
    commitment = {"commitment_type": "amount", "commitment_amount": "31", "enable_true_up": True}
    phases = [phase("01-11", price_overrides={"use": {"amount": "1"}})]
    result = told(phases, subscription={"line_commitments": {"use": commitment}}, until=day("02-02"))
    # nothing was used: 31 x 10/31 and 31 x 21/31 are missing
    assert [line[2] for line in lines(result, "use") if line[0] == "true_up"] == ["10", "21"]


def test_coupons_of_a_phase_are_for_what_begins_in_it() -> None:
    phases = [phase("01-01", "02-01", coupons=["ten"], line_coupons={"use": ["five"]})]
    coupons = [
        {"key": "ten", "type": "percentage", "percentage_off": "10", "cadence": "forever"},
        {"key": "five", "type": "fixed", "amount_off": "5", "currency": "usd", "cadence": "forever"},
    ]
    usage = [{"meter": "calls", "at": day(at), "quantity": "40"} for at in ("01-05", "02-05")]
    result = told(phases, coupons=coupons, usage=usage)
    # January: 10 % of the seat; on 1 February 5 and 10 % of 20 - 5 of its usage, nothing off the new seat
    assert [invoice["total_discount"] for invoice in result["invoices"]] == ["1", "6.5", "0"]


WRONG: list[tuple[str, Any, str, str]] = [
    ("", [phase("01-11", "02-01"), phase("01-21")], "[1].start_date", "must not be before the end of the phase before"),
    ("", [phase("02-01", "03-01"), phase("01-11", "01-21")], "[1].start_date", "must not be before the end"),
    ("", [{"start_date": "2025-12-31T00:00:00Z"}], "[0].start_date", "must not be before the subscription's start"),
    ("", [phase("01-11", "01-11")], "[0].end_date", "must be after its start_date"),
    ("", [phase("01-11"), phase("02-11")], "[0].end_date", "only the last phase goes on"),
    ("", [phase("01-11", "07-01")], "[0].end_date", "must not be after the subscription's end_date"),
    ("", [phase("06-01")], "[0].start_date", "must be before the subscription's end_date"),
    ("[0].quantities.desk", "1", "[0].quantities.desk", "names no price of this subscription"),
    ("[0].quantities.use", "1", "[0].quantities.use", "must be absent"),
    ("[0].quantities.seat", "-1", "[0].quantities.seat", "0 or more"),
    ("[0].price_overrides.desk", {}, "[0].price_overrides.desk", "names no price of this subscription"),
    ("[0].price_overrides.seat.amount", "-1", "[0].price_overrides.seat.amount", "0 or more"),
    ("[0].price_overrides.use.amount", "2", "[0].price_overrides.use", "at one price"),
    ("[0].coupons", ["half"], "[0].coupons[0]", "names no coupon"),
    ("[0].coupons", ["ten", "ten"], "[0].coupons[1]", "a second time"),
    ("[0].line_coupons.desk", ["ten"], "[0].line_coupons.desk", "names no price of this subscription"),
    ("[0].line_coupons.seat", ["half"], "[0].line_coupons.seat[0]", "names no coupon"),
    ("[0].line_items", [{"price": "desk"}], "[0].line_items[0].price", "names no price of the document"),
    ("[0].line_items", [{"price": "seat"}], "[0].line_items[0].price", "which the subscription pays already"),
    ("[0].line_items", [{"price": "setup"}], "[0].line_items[0].price", "a one-time charge has no phase"),
    ("[0].line_items", [{"price": "help", "quantity": "-1"}], "[0].line_items[0].quantity", "0 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "field", "message"), WRONG)
def test_phases_that_make_no_sense_are_refused_by_their_path(path: str, value: Any, field: str, message: str) -> None:
    base = document(
        plans=[{"key": "pro", "prices": [SEAT, USE]}, {"key": "other", "prices": [ONCE, SUPPORT]}],
        meters=[METER],
        subscription={
            "plan": "pro", "start_date": day("01-01"), "end_date": day("06-01"), "phases": [phase("01-11")],
            "line_commitments": {
                "use": {"commitment_type": "amount", "commitment_amount": "5", "commitment_duration": "QUARTERLY"}
            },
        },
    )  # fmt: skip
    with pytest.raises(Invalid) as refusal:
        simulate(with_value(f"subscription.phases{path}", value, base))
    assert refusal.value.field == f"subscription.phases{field}"
    assert message in refusal.value.message
