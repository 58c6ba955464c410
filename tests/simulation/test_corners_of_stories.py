"""Corners of a story that few customers meet: wallets that end, watches with one half, notes that settle an invoice."""

from datetime import UTC, datetime
from typing import Any

import pytest

from billing.simulation.events import LoggedEvent, Revision
from billing.simulation.simulate import simulate
from billing.usage_aggregation import UsageEvent
from tests.simulation.documents import SEAT, USE, Json, document

JANUARY = "2026-01-01T00:00:00Z"
DECLINED = {"outcome": "declined", "kind": "hard"}


def event(at: str, do: str, **parts: Any) -> Json:
    return {"at": at, "do": do, **parts}


def told(result: Json, prefix: str) -> list[str]:
    return [entry["event"] for entry in result["timeline"] if entry["event"].startswith(prefix)]


def test_a_wallet_that_ends_pays_nothing_any_more() -> None:
    wallet = {"key": "w", "initial_credits": "100", "allowed_price_types": ["ALL"]}
    end = event("2026-01-20T00:00:00Z", "terminate_wallet", wallet="w")
    result = simulate(document(wallets=[wallet], actions=[end, {**end, "at": "2026-01-21T00:00:00Z"}]))
    # the seat of 10 was paid by credits on 1 January, and by the provider on 1 February
    assert [(each["total"], each["amount_paid"]) for each in result["invoices"][:2]] == [("0", "0"), ("10", "10")]
    assert result["wallets"][0]["balance"] == "0"
    assert [(refusal["action"], refusal["code"]) for refusal in result["refused"]] == [(1, "conflict")]


def test_a_note_over_all_that_is_owed_settles_the_invoice() -> None:
    note = event("2026-01-02T00:00:00Z", "credit_note", invoice=0, type="ADJUSTMENT", amount="10")
    result = simulate(document(payments=[DECLINED], actions=[note], until="2026-01-20T00:00:00Z"))
    (invoice,) = result["invoices"]
    assert (invoice["payment_status"], invoice["amount_paid"]) == ("SUCCEEDED", "0")
    assert len(invoice["attempts"]) == 1  # nothing is left to collect
    assert told(result, "invoice.")[-1] == "invoice.paid"


def test_the_subscriptions_own_credits_go_on_when_the_plan_changes() -> None:
    grant = {"key": "gift", "credits": "3", "cadence": "RECURRING", "period": "MONTHLY"}
    plans = [{"key": "pro", "prices": [SEAT]}, {"key": "max", "prices": [{**SEAT, "key": "big", "amount": "20"}]}]
    part = {"plan": "pro", "start_date": JANUARY, "credit_grants": [grant]}
    change = event("2026-01-16T00:00:00Z", "change_plan", plan="max", proration_behavior="none")
    story = document(plans=plans, meters=[], subscription=part)
    without, with_change = simulate(story), simulate({**story, "actions": [change]})
    assert with_change["subscription"] == without["subscription"]
    assert with_change["wallets"] == without["wallets"]
    assert with_change["wallets"][0]["credit_balance"] == "9"  # 3 in each of three months, of usage only


def test_an_event_that_was_taken_back_is_not_reported_and_counts_nothing() -> None:
    sent = {"event_id": "e", "event_name": "call", "timestamp": "2026-01-05T00:00:00Z", "properties": {"n": "no"}}
    reported = simulate(document(events=[sent]))
    voided = simulate(document(events=[sent], actions=[event("2026-01-06T00:00:00Z", "void_event", event_id="e")]))
    assert len(reported["rejected_events"]) == 1
    assert voided["rejected_events"] == []
    assert voided["invoices"] == reported["invoices"]


@pytest.mark.parametrize(
    ("watch", "event_name", "left"),
    [
        ({"alert_settings": {"critical": {"threshold": "5"}}}, "wallet.ongoing_balance.dropped", "2"),
        ({"auto_topup": {"threshold": "5", "amount": "20"}}, "wallet.credited", "22"),
    ],
)
def test_a_wallet_is_watched_for_what_it_asks(watch: Json, event_name: str, left: str) -> None:
    usage = [{"meter": "calls", "at": "2026-01-05T10:15:00Z", "quantity": "16"}]
    wallet = {"key": "w", "initial_credits": "10", **watch}
    result = simulate(document(wallets=[wallet], usage=usage, until="2026-01-06T00:00:00Z"))
    # 16 x 0.5 are used of 10: 2 is left, or 22 where the wallet fills itself; both at the full hour
    assert result["wallets"][0]["real_time_balance"] == left
    assert result["timeline"][-1] == {"at": "2026-01-05T11:00:00Z", "event": event_name, "id": "w"}


def test_usage_of_a_trial_is_owed_by_nobody() -> None:
    wallet = {"key": "w", "initial_credits": "10"}
    part = {"plan": "pro", "start_date": JANUARY, "trial_period_days": 14}
    usage = [{"meter": "calls", "at": "2026-01-05T10:15:00Z", "quantity": "16"}]
    story = document(plans=[{"key": "pro", "prices": [USE]}], wallets=[wallet], usage=usage, subscription=part)
    during = simulate({**story, "until": "2026-01-10T00:00:00Z"})
    assert during["subscription"]["status"] == "trialing"
    assert during["wallets"][0]["real_time_balance"] == "10"


def test_an_event_that_no_filter_wants_is_reported() -> None:
    meter = {"key": "calls", "event_name": "call", "aggregation": {"type": "SUM", "field": "n"},
             "filters": [{"key": "region", "values": ["eu"]}]}  # fmt: skip
    sent = {"event_id": "e", "event_name": "call", "timestamp": "2026-01-05T00:00:00Z",
            "properties": {"n": "1", "region": "us"}}  # fmt: skip
    result = simulate(document(meters=[meter], events=[sent]))
    assert result["rejected_events"] == [{"event_id": "e", "reason": "no_matching_meter"}]


def test_an_event_is_known_as_it_was_told_before_the_cutoff() -> None:
    def at(day: int) -> datetime:
        return datetime(2026, 1, day, tzinfo=UTC)

    first, second = (UsageEvent("e", "call", at(5), {"n": n}, at(5)) for n in ("1", "2"))
    logged = LoggedEvent(first, [Revision(at(5), first, "sent"), Revision(at(9), second, "amended")])
    assert [logged.known_before(at(day)) for day in (5, 6, 9, 10)] == [None, first, first, second]
