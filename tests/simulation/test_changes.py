"""What becomes of a change that waits for the period's end, and of what is due at that very boundary."""

from typing import Any

from billing.simulation.simulate import simulate
from tests.simulation.documents import SEAT, USE, document

Json = dict[str, Any]
YEAR = {"key": "year", "prices": [{**SEAT, "key": "seat_year", "amount": "100"}]}
PLANS = [{"key": "pro", "prices": [SEAT, USE]}, YEAR]
LATER = {
    "at": "2026-01-05T00:00:00Z", "do": "change_plan", "plan": "year", "billing_period": "ANNUAL",
    "when": "end_of_period",
}  # fmt: skip


def told(*actions: Json, **parts: Any) -> Json:
    return simulate(document(plans=PLANS, actions=list(actions), **parts))


def test_another_billing_period_waits_for_the_periods_end() -> None:
    result = told(LATER)
    assert [invoice["period_end"][:10] for invoice in result["invoices"]] == ["2026-02-01", "2026-02-01"]
    assert result["subscription"]["current_period_end"] == "2027-02-01T00:00:00Z"
    assert {"at": "2026-02-01T00:00:00Z", "event": "subscription.plan_changed", "id": "subscription"} in (
        result["timeline"]
    )


def test_the_last_change_that_waits_is_the_one_that_happens() -> None:
    plain = {"at": "2026-01-06T00:00:00Z", "do": "change_plan", "plan": "year", "when": "end_of_period"}
    assert told(LATER, plain)["subscription"]["current_period_end"] == "2026-04-01T00:00:00Z"
    assert told(plain, {**LATER, "at": "2026-01-07T00:00:00Z"})["subscription"]["current_period_end"] == (
        "2027-02-01T00:00:00Z"
    )


def test_a_pause_or_an_end_forgets_what_waits() -> None:
    end = {"at": "2026-01-06T00:00:00Z", "do": "cancel", "type": "end_of_period"}
    ended = told(LATER, end)
    assert ended["subscription"]["status"] == "cancelled"
    assert [line["price"] for line in ended["invoices"][-1]["lines"]] == ["use"]
    pause, resume = ({"at": f"2026-01-{day}T00:00:00Z", "do": do} for day, do in (("10", "pause"), ("12", "resume")))
    assert told(LATER, pause, resume)["subscription"]["current_period_end"] == "2026-04-12T00:00:00Z"


def test_a_commitment_of_a_month_is_measured_by_the_month_that_it_was_made_for() -> None:
    subscription = {
        "plan": "pro", "start_date": "2026-01-01T00:00:00Z",
        "commitment": {"commitment_amount": "31", "enable_true_up": True},
    }  # fmt: skip
    now = {**LATER, "at": "2026-01-11T00:00:00Z", "when": "immediate"}
    lines = told(now, subscription=subscription)["invoices"][1]["lines"]
    # 10 of January's 31 days: 31 x 10/31
    assert [line["amount"] for line in lines if line["kind"] == "true_up"] == ["10"]


def test_credits_due_at_the_boundary_of_a_change_are_given() -> None:
    grant = {"key": "g", "credits": "5", "cadence": "RECURRING", "period": "MONTHLY", "expiration_type": "NEVER"}
    subscription = {
        "plan": "pro", "start_date": "2026-01-01T00:00:00Z", "quantities": {"seat": "3"}, "credit_grants": [grant],
    }  # fmt: skip
    fewer = {"at": "2026-01-05T00:00:00Z", "do": "change_quantity", "price": "seat", "quantity": "2"}
    for actions in ((), (fewer,)):
        granted = told(*actions, subscription=subscription)["wallets"][0]["transactions"]
        assert [each["at"][:10] for each in granted if each["type"] == "credit"] == [
            "2026-01-01", "2026-02-01", "2026-03-01",
        ]  # fmt: skip
