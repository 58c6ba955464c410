"""Usage that comes late in a story: when it still counts in its period, and which invoice corrects it, if any."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings

from billing.codec import from_json, to_json
from billing.errors import Invalid
from billing.invoices import InvoiceInputs, verify
from billing.scenario.parse import parse_scenario
from billing.simulation.simulate import play, simulate

from .documents import SEAT, USE, document, with_value
from .test_late_usage_laws import Json, stories

Corrections = list[tuple[int, str | None, str, str, str]]


def event(at: str, quantity: str, received: str | None = None, name: str = "") -> Json:
    """Calls of 2026: `at` and `received` are "MM-DD" or "MM-DDTHH:MM:SS"."""
    sent = {"event_id": name or f"{at}/{received}", "event_name": "call", "timestamp": instant(at)}
    return sent | {"received_at": instant(received or at), "properties": {"n": quantity}}


def instant(text: str) -> str:
    return f"2026-{text}{'' if 'T' in text else 'T00:00:00'}Z"


def act(at: str, do: str, **more: Any) -> Json:
    return {"at": instant(at), "do": do, **more}


def corrections(result: Json) -> Corrections:
    """The lines that correct usage: place of the invoice, price, start of the period, quantity and amount."""
    return [
        (place, line["price"], line["period_start"][5:10], line["quantity"], line["amount"])
        for place, invoice in enumerate(result["invoices"])
        for line in invoice["lines"]
        if line["description"].startswith("Correction")
    ]


def reasons(result: Json) -> list[str]:
    return [each["reason"] for each in result["rejected_events"]]


def test_an_event_at_the_moment_of_finalizing_is_late_and_one_before_it_is_not() -> None:
    for received, expected in (("02-01T01:59:59", []), ("02-01T02:00:00", [(2, "use", "01-01", "4", "2")])):
        assert corrections(simulate(document(events=[event("01-05", "4", received)]))) == expected


def test_a_draft_shows_what_it_will_correct() -> None:
    result = simulate(document(events=[event("01-05", "4", "02-10")], until="2026-03-01T01:00:00Z"))
    assert result["invoices"][2]["invoice_status"] == "DRAFT"
    assert corrections(result) == [(2, "use", "01-01", "4", "2")]


def test_a_duplicate_that_comes_late_changes_nothing() -> None:
    first, again = event("01-05", "4", "01-06", "e"), event("01-05", "99", "02-10", "e")
    result = simulate(document(events=[first, again]))
    assert corrections(result) == []
    assert result["rejected_events"] == [{"event_id": "e", "reason": "duplicate"}]


def test_late_usage_comes_to_the_plan_of_its_time() -> None:
    """Half of January at 0.5, then at 2; 10 late calls of each half."""
    dear = {**USE, "key": "dear", "amount": "2"}
    result = simulate(
        document(
            plans=[{"key": "pro", "prices": [SEAT, USE]}, {"key": "max", "prices": [dear]}],
            actions=[act("01-16", "change_plan", plan="max", when="immediate")],
            events=[event("01-05", "10", "02-10"), event("01-20", "10", "02-11")],
        )
    )
    assert corrections(result)[0][1:] == ("use", "01-01", "10", "5")
    assert corrections(result)[1][1:] == ("dear", "01-16", "10", "20")


def test_usage_in_a_trial_stays_free() -> None:
    base = with_value("subscription.trial_period_days", 31)
    assert corrections(simulate({**base, "events": [event("01-05", "10", "02-10")]})) == []


def test_the_usage_that_a_cancellation_skipped_is_not_billed_late_either() -> None:
    ended = act("01-20", "cancel", type="immediate", final_usage="skip")
    result = simulate(document(actions=[ended], events=[event("01-05", "10", "02-10")], until="2026-05-01T00:00:00Z"))
    assert corrections(result) == []


def test_nothing_is_corrected_of_a_voided_invoice() -> None:
    actions = [act("02-05", "void_invoice", invoice=1)]
    assert corrections(simulate(document(actions=actions, events=[event("01-05", "4", "02-10")]))) == []


def test_what_a_voided_invoice_charged_for_late_usage_is_charged_by_the_next() -> None:
    """February's close bills 4 late calls of January, and March's again; the third would not look back so far."""
    late, until = [event("01-05", "4", "02-10")], "2026-05-02T00:00:00Z"
    result = simulate(document(actions=[act("03-05", "void_invoice", invoice=2)], events=late, until=until))
    assert corrections(result) == [(2, "use", "01-01", "4", "2"), (3, "use", "01-01", "4", "2")]
    later = simulate(document(actions=[act("04-05", "void_invoice", invoice=2)], events=late, until=until))
    assert corrections(later) == [(2, "use", "01-01", "4", "2")]


def test_who_has_every_invoice_voided_has_back_what_was_paid() -> None:
    """January's 100 calls are voided: 50 less, 40 of them to the wallet. Nobody gets them twice."""
    voids = [act("04-20", "void_invoice", invoice=place) for place in (3, 2, 1, 0)]
    result = simulate(
        document(
            events=[event("01-05", "100", name="e")],
            actions=[act("03-05", "void_event", event_id="e"), *voids],
            until="2026-04-25T00:00:00Z",
        )
    )
    assert result["refused"] == []
    paid = sum(Decimal(invoice["amount_paid"]) for invoice in result["invoices"])
    assert Decimal(result["wallets"][0]["balance"]) == paid == Decimal(80)


def test_a_paused_subscription_has_its_late_usage_billed_when_the_look_back_ends_and_not_again() -> None:
    """Paused on 10 February: 62 days later it is 13 April. The close after the resumption finds nothing new."""
    late = [event("01-05", "4", "03-10"), event("02-05", "6", "03-11")]
    paused, resumed = act("02-10", "pause"), act("05-01", "resume")
    result = simulate(document(events=late, actions=[paused, resumed], until="2026-07-02T00:00:00Z"))
    # January ended on 1 February: what came on 10 March is not too late by then
    assert [each[1:] for each in corrections(result)] == [
        ("use", "01-01", "4", "2"),
        ("use", "02-01", "6", "3"),
    ]
    (place,) = {each[0] for each in corrections(result)}
    assert result["invoices"][place]["finalized_at"] == "2026-04-13T00:00:00Z"


def test_an_ended_subscription_without_a_difference_gets_no_invoice() -> None:
    ended = act("02-10", "cancel", type="immediate")
    unbilled = document(plans=[{"key": "pro", "prices": [{**USE, "billing_period": "ANNUAL"}]}])
    skipped = {**act("01-10", "cancel", type="immediate"), "final_usage": "skip"}
    assert simulate({**unbilled, "actions": [skipped]})["invoices"][-1]["invoice_status"] == "SKIPPED"
    count = len(simulate(document(actions=[ended], until="2026-02-12T00:00:00Z"))["invoices"])
    assert len(simulate(document(actions=[ended], until="2026-12-01T00:00:00Z"))["invoices"]) == count


def test_usage_voided_after_the_end_goes_to_the_wallet_or_is_noted() -> None:
    """6 calls of the last days are voided: 3 back, by an invoice of 0 or by a refund, never by both."""
    story = document(
        events=[event("02-05", "6", name="e")],
        actions=[act("02-10", "cancel", type="immediate"), act("03-01", "void_event", event_id="e")],
        until="2026-12-01T00:00:00Z",
    )
    story["subscription"]["proration_behavior"] = "none"
    by_invoice = simulate(story)
    assert by_invoice["invoices"][-1]["lines"][0]["amount"] == "-3"
    assert by_invoice["wallets"][0]["balance"] == "3"
    noted = simulate({**story, "settings": {"late_usage": "credit_note"}})
    assert corrections(noted) == []
    assert [(note["type"], note["amount"]) for note in noted["credit_notes"]] == [("REFUND", "3")]
    assert noted["wallets"][0]["balance"] == "3"


def test_a_close_without_a_line_of_its_own_can_carry_a_correction() -> None:
    """Calls of a quarter on a monthly subscription: the two closes after it have nothing else to bill."""
    quarterly = {**USE, "billing_period": "QUARTERLY"}
    result = simulate(
        document(
            plans=[{"key": "pro", "prices": [quarterly]}],
            events=[event("02-05", "10"), event("02-06", "4", "04-20")],
            until="2026-07-15T00:00:00Z",
        )
    )
    assert corrections(result) == [(3, "use", "01-01", "4", "2")]
    statuses = [(invoice["invoice_status"], invoice["total"]) for invoice in result["invoices"]]
    assert statuses == [
        ("SKIPPED", "0"),
        ("SKIPPED", "0"),
        ("FINALIZED", "5"),
        ("FINALIZED", "2"),
        ("SKIPPED", "0"),
        ("FINALIZED", "0"),
    ]


def test_a_close_without_a_line_can_give_a_credit_note() -> None:
    """The same voided: a refund on the quarter's invoice, and the close stays without an invoice."""
    quarterly = {**USE, "billing_period": "QUARTERLY"}
    result = simulate(
        document(
            plans=[{"key": "pro", "prices": [quarterly]}],
            settings={"late_usage": "credit_note"},
            events=[event("02-05", "10", name="e")],
            actions=[act("04-10", "void_event", event_id="e")],
            until="2026-07-15T00:00:00Z",
        )
    )
    assert [(note["invoice"], note["amount"], note["at"]) for note in result["credit_notes"]] == [
        ("invoices[2]", "5", "2026-05-01T00:00:00Z")
    ]
    assert [invoice["invoice_status"] for invoice in result["invoices"]].count("SKIPPED") == 4


def test_an_invoice_can_be_credited_by_two_closes() -> None:
    """January's 4 and 6 calls, 2 and 3, are voided in February and in March: each goes to the wallet once."""
    result = simulate(
        document(
            events=[event("01-05", "4", name="a"), event("01-06", "6", name="b")],
            actions=[act("02-10", "void_event", event_id="a"), act("03-10", "void_event", event_id="b")],
            settings={"late_usage": "credit_note"},
            until="2026-04-02T00:00:00Z",
        )
    )
    notes = [(note["invoice"], note["type"], note["amount"], note["at"][:10]) for note in result["credit_notes"]]
    assert notes == [
        ("invoices[1]", "REFUND", "2", "2026-03-01"),
        ("invoices[1]", "REFUND", "3", "2026-04-01"),
    ]
    credited = [each for each in result["wallets"][0]["transactions"] if each["type"] == "credit"]
    assert [each["amount"] for each in credited] == ["2", "3"]


def test_the_level_of_storage_that_is_known_late_corrects_the_months_after_it_too() -> None:
    """10 GB from 1 January, known in February: January, then February in its own invoice, which was still to come."""
    level = {"key": "calls", "event_name": "call", "reset_usage": "NEVER",
             "aggregation": {"type": "LATEST", "field": "n"}}  # fmt: skip
    base = document(meters=[level], until="2026-04-02T00:00:00Z")
    assert corrections(simulate({**base, "events": [event("01-05", "10", "02-10")]})) == [
        (2, "use", "01-01", "10", "5")
    ]
    assert corrections(simulate({**base, "events": [event("01-05", "10", "03-10")]})) == [
        (3, "use", "01-01", "10", "5"),
        (3, "use", "02-01", "10", "5"),
    ]


def test_a_commitment_for_a_quarter_counts_late_usage_once() -> None:
    """60 a quarter with true-up. January 20, February 10, 20 late for January; March: 10 are missing."""
    base = with_value("subscription.commitment", {"commitment_amount": "60", "commitment_duration": "QUARTERLY",
                                                  "enable_true_up": True})  # fmt: skip
    used = [event("01-05", "40"), event("02-05", "20"), event("01-06", "40", "03-10"), event("03-05", "0")]
    result = simulate({**base, "events": used, "until": "2026-04-02T00:00:00Z"})
    assert corrections(result) == [(3, "use", "01-01", "40", "20")]
    true_up = [line["amount"] for line in result["invoices"][3]["lines"] if line["kind"] == "true_up"]
    assert true_up == ["10"]


def test_a_true_up_that_a_correction_brings_is_taken_back_by_the_next() -> None:
    """40 a month with true-up. January's 100 calls cost 50; without the event of 60 they cost 20, so 20 are missing."""
    base = with_value("subscription.commitment", {"commitment_amount": "40", "enable_true_up": True})
    used = [event("01-05", "40"), event("01-06", "60", name="e"), event("01-07", "80", "03-10")]
    actions = [act("02-10", "void_event", event_id="e")]
    result = simulate({**base, "events": used, "actions": actions, "until": "2026-04-02T00:00:00Z"})
    assert corrections(result) == [
        (2, "use", "01-01", "-60", "-30"),
        (2, None, "01-01", "1", "20"),
        (3, "use", "01-01", "80", "40"),
        (3, None, "01-01", "-1", "-20"),
    ]


def test_the_balance_in_real_time_owes_late_usage_once_a_draft_carries_it() -> None:
    """As the product reads it: the running period's own usage, and drafts. Twice is never: the next period runs too."""
    wallet = {"key": "w", "initial_credits": "20"}
    story = document(wallets=[wallet], events=[event("01-05", "4", "02-10")], until="2026-02-15T00:00:00Z")
    for until, left in (("2026-02-15T00:00:00Z", "20"), ("2026-03-01T01:00:00Z", "18"), ("2026-03-02T00:00:00Z", "18")):
        assert simulate({**story, "until": until})["wallets"][0]["real_time_balance"] == left, until


def test_a_tenant_can_look_back_on_fewer_periods_and_days() -> None:
    base = document(events=[event("01-05", "4", "03-10")], until="2026-04-02T00:00:00Z")
    assert len(corrections(simulate(base))) == 1
    assert reasons(simulate(base)) == []
    for setting in ({"late_usage_periods": 1}, {"late_usage_periods": 0}, {"late_usage_days": 36}):
        assert corrections(simulate({**base, "settings": setting})) == []
        assert reasons(simulate({**base, "settings": setting})) == ["too_late"]
    assert len(corrections(simulate({**base, "settings": {"late_usage_days": 37}}))) == 1
    with pytest.raises(Invalid) as refusal:
        simulate({**base, "settings": {"late_usage_periods": -1}})
    assert refusal.value.field == "settings.late_usage_periods"


def test_what_no_invoice_counts_is_reported_by_its_id() -> None:
    """January's invoice is of 1 February and corrected until 1 April, 2:00; the last two arrive then and in May."""
    used = [event("01-05", "1", at) for at in ("01-06", "02-10", "04-01T01:59:59", "04-01T02:00:00", "05-05")]
    used.append({**event("01-05", "1", "05-05", "other"), "event_name": "sms"})
    result = simulate(document(events=used, until="2026-06-15T00:00:00Z"))
    assert [(each["event_id"], each["reason"]) for each in result["rejected_events"]] == [
        ("other", "no_meter_for_event_name"),
        ("01-05/04-01T02:00:00", "too_late"),
        ("01-05/05-05", "too_late"),
    ]
    assert [each[3] for each in corrections(result)] == ["1", "1"]
    ignored = simulate(document(events=used[:2], settings={"late_usage": "ignore"}))
    assert reasons(ignored) == ["too_late"]


def test_usage_that_is_too_late_for_its_month_counts_in_a_level_that_never_ends() -> None:
    level = {"key": "calls", "event_name": "call", "reset_usage": "NEVER",
             "aggregation": {"type": "LATEST", "field": "n"}}  # fmt: skip
    result = simulate(document(meters=[level], events=[event("01-05", "10", "05-05")], until="2026-06-02T00:00:00Z"))
    assert (reasons(result), [each[2:] for each in corrections(result)]) == (
        [],
        [("03-01", "10", "5"), ("04-01", "10", "5")],
    )


def test_a_grace_longer_than_the_look_back_is_waited_for() -> None:
    """Ten days of look-back, twenty of grace: what comes in the grace is on the final invoice, nothing on another."""
    waiting = {"finalization_delay_seconds": 20 * 86400, "late_usage_days": 10}
    ended = act("02-10", "cancel", type="immediate")
    result = simulate(
        document(actions=[ended], settings=waiting, events=[event("02-05", "6", "02-25")], until="2026-04-01T00:00:00Z")
    )
    assert corrections(result) == []
    assert [line["quantity"] for line in result["invoices"][-1]["lines"] if line["kind"] == "usage"] == ["6"]


def test_an_invoice_at_a_threshold_corrects_nothing() -> None:
    """It closes no period: usage of January that comes before it is corrected by February's close."""
    told = document(events=[event("01-05", "4", "02-05"), event("02-10", "30")], until="2026-03-02T00:00:00Z")
    told["subscription"]["auto_invoice_threshold"] = "10"
    result = simulate(told)
    assert [invoice["billing_reason"] for invoice in result["invoices"][2:]] == [
        "AUTO_INVOICE_THRESHOLD",
        "SUBSCRIPTION_CYCLE",
    ]
    assert corrections(result) == [(3, "use", "01-01", "4", "2")]


def test_what_rounds_to_nothing_is_not_credited() -> None:
    """Of 101 calls for 0.404, 0.40 was charged; without the one that is void it is the same."""
    told = document(
        settings={"late_usage": "credit_note"},
        events=[event("01-05", "100"), event("01-06", "1", name="wrong")],
        actions=[act("02-05", "void_event", event_id="wrong")],
    )
    told["plans"][0]["prices"][1]["amount"] = "0.004"
    result = simulate(told)
    assert (result["credit_notes"], corrections(result)) == ([], [])


@settings(max_examples=40, deadline=None)
@given(stories())
def test_every_invoice_with_corrections_can_be_verified_from_what_is_stored(story: Json) -> None:
    story["subscription"]["tax_rates"] = ["tax"]
    for played in play(parse_scenario(story)).invoices:
        if played.finalized_at is not None:
            assert verify(from_json(InvoiceInputs, to_json(played.inputs)), played.invoice) == ()
