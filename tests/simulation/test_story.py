"""Laws of a story: the order of time, what a refusal leaves, what is known when."""

from typing import Any

import pytest

from billing.errors import Invalid
from billing.simulation.simulate import simulate
from tests.simulation.documents import SEAT, USE, document

Json = dict[str, Any]


def usage(at: str, quantity: str, received_at: str | None = None) -> Json:
    entry = {"meter": "calls", "at": at, "quantity": quantity}
    return entry if received_at is None else {**entry, "received_at": received_at}


def test_a_refused_action_changes_nothing_and_the_story_goes_on() -> None:
    actions = [
        {"at": "2026-01-05T00:00:00Z", "do": "pay", "invoice": 0, "amount": "1"},
        {"at": "2026-01-05T00:00:00Z", "do": "pay", "invoice": 7, "amount": "1"},
        {"at": "2026-01-05T00:00:00Z", "do": "void_event", "event_id": "none"},
    ]
    plain, told = simulate(document()), simulate(document(actions=actions))
    assert [refusal["action"] for refusal in told["refused"]] == [0, 1, 2]
    assert [refusal["code"] for refusal in told["refused"]] == ["conflict", "not_found", "not_found"]
    assert told["invoices"] == plain["invoices"]
    assert told["timeline"] == plain["timeline"]


def test_actions_happen_in_the_order_of_time_whatever_their_order_in_the_document() -> None:
    cancel = {"at": "2026-02-10T00:00:00Z", "do": "cancel", "type": "immediate"}
    late = {"at": "2026-02-11T00:00:00Z", "do": "cancel", "type": "end_of_period"}
    for actions, refused in (([late, cancel], 0), ([cancel, late], 1)):
        result = simulate(document(actions=actions))
        assert [refusal["action"] for refusal in result["refused"]] == [refused]
        assert result["subscription"]["status"] == "cancelled"


def test_the_boundary_comes_before_an_action_at_the_same_instant() -> None:
    cancel = {"at": "2026-02-01T00:00:00Z", "do": "cancel", "type": "end_of_period"}
    result = simulate(document(actions=[cancel]))
    assert result["subscription"] == {
        "status": "cancelled",
        "current_period_start": "2026-02-01T00:00:00Z",
        "current_period_end": "2026-03-01T00:00:00Z",
    }


def test_an_invoice_in_its_grace_is_a_draft_with_the_usage_known_so_far() -> None:
    entries = [usage("2026-01-05T00:00:00Z", "10"), usage("2026-01-31T00:00:00Z", "4", "2026-02-01T01:30:00Z")]
    early = simulate(document(usage=entries, until="2026-02-01T01:00:00Z"))["invoices"][-1]
    late = simulate(document(usage=entries, until="2026-02-01T01:59:59Z"))["invoices"][-1]
    final = simulate(document(usage=entries, until="2026-02-01T02:00:00Z"))["invoices"][-1]
    assert [invoice["invoice_status"] for invoice in (early, late, final)] == ["DRAFT", "DRAFT", "FINALIZED"]
    assert [invoice["total"] for invoice in (early, late, final)] == ["15", "17", "17"]
    assert (early["number"], early["finalized_at"], early["attempts"]) == (None, None, [])


def test_order_of_arrival_before_the_end_of_the_grace_changes_nothing() -> None:
    entries = [usage(f"2026-01-{day:02d}T00:00:00Z", str(day)) for day in range(2, 30)]
    shuffled = [{**entry, "received_at": "2026-02-01T01:00:00Z"} for entry in reversed(entries)]
    assert simulate(document(usage=entries))["invoices"] == simulate(document(usage=shuffled))["invoices"]


def test_usage_after_its_invoice_is_on_the_next_one_unless_the_tenant_ignores_it() -> None:
    entries = [usage("2026-01-05T00:00:00Z", "10"), usage("2026-01-06T00:00:00Z", "4", "2026-02-01T02:00:00Z")]
    late = simulate(document(usage=entries))["invoices"]
    assert [line["quantity"] for line in late[1]["lines"]] == ["1", "10"]
    assert [(line["kind"], line["quantity"], line["amount"]) for line in late[2]["lines"][2:]] == [
        ("adjustment", "4", "2")
    ]
    ignored = simulate(document(usage=entries, settings={"late_usage": "ignore"}))["invoices"]
    assert [len(invoice["lines"]) for invoice in ignored] == [1, 2, 2]


def test_an_event_that_is_amended_counts_as_amended_or_is_corrected_after_its_invoice() -> None:
    event = {"event_id": "e", "event_name": "call", "timestamp": "2026-01-05T00:00:00Z", "properties": {"n": "10"}}
    amend = {"do": "amend_event", "event_id": "e", "properties": {"n": "6"}}
    in_time = simulate(document(events=[event], actions=[{**amend, "at": "2026-02-01T01:00:00Z"}]))
    assert in_time["invoices"][1]["lines"][1]["quantity"] == "6"
    later = simulate(document(events=[event], actions=[{**amend, "at": "2026-02-02T00:00:00Z"}]))
    assert later["invoices"][1]["lines"][1]["quantity"] == "10"
    assert (later["invoices"][2]["lines"][2]["quantity"], later["invoices"][2]["lines"][2]["amount"]) == ("-4", "-2")


def test_the_providers_answers_are_taken_in_order() -> None:
    answers = ["unknown", "requires_action", {"outcome": "declined", "kind": "hard"}]
    invoices = simulate(document(payments=answers, until="2026-04-10T00:00:00Z"))["invoices"]
    assert [invoice["payment_status"] for invoice in invoices] == ["SUCCEEDED", "PENDING", "FAILED", "SUCCEEDED"]
    assert [len(invoice["attempts"]) for invoice in invoices] == [1, 1, 1, 1]


def test_a_new_payment_method_is_charged_at_once() -> None:
    answers = [{"outcome": "declined", "kind": "hard"}]
    actions = [{"at": "2026-01-03T00:00:00Z", "do": "add_payment_method"}]
    invoice = simulate(document(payments=answers, actions=actions))["invoices"][0]
    assert [attempt["at"] for attempt in invoice["attempts"]] == ["2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"]
    assert invoice["payment_status"] == "SUCCEEDED"


def test_an_exhausted_schedule_ends_a_subscription_that_the_tenant_does_not_keep() -> None:
    settings = {"dunning_days": [1], "on_exhausted_subscription": "cancel", "on_exhausted_invoice": "open"}
    declined = {"outcome": "declined", "kind": "soft"}
    result = simulate(document(settings=settings, payments=[declined, declined]))
    assert result["subscription"]["status"] == "cancelled"
    assert result["subscription"]["current_period_end"] == "2026-01-02T00:00:00Z"
    assert [event["event"] for event in result["timeline"]][-6:] == [
        "subscription.past_due", "invoice.drafted", "subscription.cancelled", "invoice.finalized", "wallet.credited",
        "invoice.paid",
    ]  # fmt: skip


def test_an_exhausted_schedule_leaves_a_paused_subscription_as_it_is() -> None:
    """It is not past due, and there is nothing to end: it accrues nothing until somebody resumes it."""
    declined = {"outcome": "declined", "kind": "soft"}
    settings = {"dunning_days": [10], "on_exhausted_subscription": "cancel"}
    pause = {"at": "2026-01-05T00:00:00Z", "do": "pause"}
    result = simulate(document(settings=settings, payments=[declined, declined], actions=[pause]))
    assert (result["subscription"]["status"], result["refused"]) == ("paused", [])
    assert "invoice.uncollectible" in [event["event"] for event in result["timeline"]]


def test_a_voided_invoice_is_owed_by_nobody() -> None:
    answers = [{"outcome": "declined", "kind": "soft"}]
    actions = [{"at": "2026-01-01T12:00:00Z", "do": "void_invoice", "invoice": 0}]
    invoice = simulate(document(payments=answers, actions=actions))["invoices"][0]
    assert (invoice["invoice_status"], invoice["payment_status"]) == ("VOIDED", "VOIDED")
    assert (invoice["amount_remaining"], len(invoice["attempts"])) == ("0", 1)


def test_a_period_without_any_line_is_skipped_and_takes_no_number() -> None:
    plans = [{"key": "pro", "prices": [{**SEAT, "billing_period": "QUARTERLY"}]}]
    invoices = simulate(document(plans=plans, until="2026-04-02T00:00:00Z"))["invoices"]
    assert [invoice["invoice_status"] for invoice in invoices] == ["FINALIZED", "SKIPPED", "SKIPPED", "FINALIZED"]
    assert [invoice["number"] for invoice in invoices] == ["INV-202601-00001", None, None, "INV-202604-00001"]


def test_an_override_is_what_this_subscription_pays() -> None:
    overrides = {"use": {"billing_model": "PACKAGE", "amount": "3", "transform_quantity": {"divide_by": 10}}}
    subscription = {"plan": "pro", "start_date": "2026-01-01T00:00:00Z", "price_overrides": overrides}
    result = simulate(document(subscription=subscription, usage=[usage("2026-01-05T00:00:00Z", "11")]))
    assert [line["amount"] for line in result["invoices"][1]["lines"]] == ["10", "6"]


def test_counting_takes_a_whole_number_of_events() -> None:
    meters = [{"key": "calls", "event_name": "call", "aggregation": {"type": "COUNT"}}]
    plans = [{"key": "pro", "prices": [USE]}]
    result = simulate(document(meters=meters, plans=plans, usage=[usage("2026-01-05T00:00:00Z", "7")]))
    assert result["invoices"][0]["lines"][0]["quantity"] == "7"
    with pytest.raises(Invalid, match=r"usage\[0\].quantity must be a whole number"):
        simulate(document(meters=meters, plans=plans, usage=[usage("2026-01-05T00:00:00Z", "7.5")]))
    for aggregation, what in (
        ({"type": "COUNT_UNIQUE", "field": "n"}, "a COUNT_UNIQUE meter"),
        ({"type": "SUM", "expression": "n"}, "a meter that has an expression"),
        ({"type": "MAX", "field": "n", "bucket_size": "DAY", "group_by": "node"}, "a meter that groups"),
    ):
        meter = {**meters[0], "aggregation": aggregation}
        with pytest.raises(Invalid, match=rf"usage\[0\].meter must not be {what}: write events instead"):
            simulate(document(meters=[meter], plans=plans, usage=[usage("2026-01-05T00:00:00Z", "7")]))


def test_events_from_nowhere_in_time_are_reported() -> None:
    old = {"event_id": "old", "event_name": "call", "timestamp": "2022-01-01T00:00:00Z",
           "received_at": "2026-01-01T00:00:00Z", "properties": {"n": 1}}  # fmt: skip
    ahead = {**old, "event_id": "ahead", "timestamp": "2026-01-03T00:00:00Z", "received_at": "2026-01-01T00:00:00Z"}
    result = simulate(document(events=[old, ahead]))
    assert result["rejected_events"] == [
        {"event_id": "old", "reason": "timestamp_too_old"},
        {"event_id": "ahead", "reason": "timestamp_ahead"},
    ]


def change(at: str, do: str, **fields: Any) -> Json:
    return {"at": at, "do": do, **fields}


TEAM: Json = {"key": "team", "prices": [{**SEAT, "key": "team_seat", "amount": "4"}]}


@pytest.mark.parametrize(
    ("actions", "code", "message"),
    [
        ([change("2026-01-05T00:00:00Z", "resume")], "conflict", "resume is not possible: the subscription is active"),
        ([change("2026-01-05T00:00:00Z", "change_plan", plan="pro")], "conflict", "the plan is pro already"),
        ([change("2026-01-05T00:00:00Z", "change_quantity", price="team_seat", quantity="2")], "not_found",
         "does not pay price 'team_seat'"),
        ([change("2026-01-05T00:00:00Z", "change_quantity", price="use", quantity="2")], "validation_error",
         "is metered"),
        ([change("2026-01-05T00:00:00Z", "change_quantity", price="seat", quantity="-2")], "validation_error",
         "0 or more"),
        ([change("2026-01-04T00:00:00Z", "cancel", type="immediate"),
          change("2026-01-05T00:00:00Z", "change_plan", plan="team")], "conflict", "the subscription is cancelled"),
        ([change("2026-01-04T00:00:00Z", "pause"),
          change("2026-01-05T00:00:00Z", "change_quantity", price="seat", quantity="9")], "conflict",
         "the subscription is paused"),
        ([change("2025-12-04T00:00:00Z", "pause")], "conflict", "has not started"),
    ],
)  # fmt: skip
def test_a_change_that_the_rules_refuse_is_listed(actions: list[Json], code: str, message: str) -> None:
    plans = [{"key": "pro", "prices": [SEAT, USE]}, TEAM]
    refused = simulate(document(plans=plans, actions=actions))["refused"]
    assert [(each["action"], each["code"]) for each in refused] == [(len(actions) - 1, code)]
    assert message in refused[0]["message"]


def test_a_later_change_of_plan_replaces_one_that_waits() -> None:
    plans = [{"key": "pro", "prices": [SEAT]}, TEAM, {"key": "big", "prices": [{**SEAT, "key": "big_seat"}]}]
    actions = [
        change("2026-01-05T00:00:00Z", "change_plan", plan="team"),
        change("2026-01-06T00:00:00Z", "change_plan", plan="big", when="end_of_period"),
    ]
    result = simulate(document(plans=plans, meters=[], actions=actions))
    assert [line["price"] for line in result["invoices"][1]["lines"]] == ["big_seat"]
    changes = [entry["at"] for entry in result["timeline"] if entry["event"] == "subscription.plan_changed"]
    assert changes == ["2026-02-01T00:00:00Z"]


def test_a_change_that_waits_is_forgotten_when_the_subscription_ends_first() -> None:
    plans = [{"key": "pro", "prices": [SEAT]}, TEAM]
    actions = [
        change("2026-01-05T00:00:00Z", "change_plan", plan="team"),
        change("2026-01-06T00:00:00Z", "cancel", type="end_of_period"),
    ]
    result = simulate(document(plans=plans, meters=[], actions=actions))
    assert [invoice["invoice_status"] for invoice in result["invoices"]] == ["FINALIZED", "SKIPPED"]
    assert result["subscription"]["status"] == "cancelled"


def test_a_coupon_on_a_line_follows_its_quantity() -> None:
    subscription = {"plan": "pro", "start_date": "2026-01-01T00:00:00Z", "line_coupons": {"seat": ["ten"]}}
    actions = [change("2026-02-15T00:00:00Z", "change_quantity", price="seat", quantity="2")]
    invoices = simulate(document(subscription=subscription, actions=actions))["invoices"]
    discounts = [[line["discount"] for line in invoice["lines"] if line["price"] == "seat"] for invoice in invoices]
    # 1 seat of 10: 1. Half of February is left: 2 x 10 x 1/2 = 10, 1 off, and the credit of 9 / 2. March: 2 seats.
    assert discounts == [["1"], ["1"], ["0", "1"], ["2"]]
    assert [line["amount"] for line in invoices[2]["lines"]] == ["-4.5", "10"]
