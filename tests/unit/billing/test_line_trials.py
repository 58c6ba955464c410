"""Trials of single prices: nothing is charged before their end, and then the rest of the period at once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.due_lines import advance_lines, arrear_lines
from billing.errors import Invalid
from billing.line_trials import end_trials, line_trial_end, next_trial_end
from billing.periods import BillingPeriod, Cadence, Period
from billing.prices import InvoiceCadence, Price
from billing.simulation.simulate import simulate
from billing.subscriptions import SubscriptionState, SubscriptionStatus, open_subscription
from billing.terms import BillingReason, DueLine, LineItem, Terms
from tests.simulation.documents import SEAT, USE, document

from .builders import seat, span, talk, terms, utc

Json = dict[str, Any]


def on_trial(price: Price, until: str, **changes: object) -> Terms:
    plain = terms(price, start="2025-01-01")
    line = replace(plain.lines[0], trial_end=utc(until), **changes)  # type: ignore[arg-type]
    return replace(plain, lines=(line,))


def spans(lines: Sequence[DueLine]) -> list[tuple[Period, str]]:
    return [(line.period, str(line.share)) for line in lines]


def running(**changes: Any) -> SubscriptionState:
    return replace(
        SubscriptionState(SubscriptionStatus.active, span("2025-01-01", "2025-02-01")),
        **changes,
    )


def test_nothing_in_advance_is_billed_before_the_trial_ends() -> None:
    given = on_trial(seat(), "2025-01-15")
    assert open_subscription(given).invoice is None
    assert next_trial_end(given, running(), given.start) == utc("2025-01-15")
    due = end_trials(given, running(), utc("2025-01-15"))
    assert due is not None
    assert (due.reason, due.period) == (BillingReason.SUBSCRIPTION_TRIAL_END, span("2025-01-15", "2025-02-01"))
    assert spans(due.lines) == [(span("2025-01-15", "2025-02-01"), "17/31")]
    assert next_trial_end(given, running(), utc("2025-01-15")) is None
    # from the next boundary on it is a line like any other
    assert spans(advance_lines(given, span("2025-02-01", "2025-03-01"), None)) == [
        (span("2025-02-01", "2025-03-01"), "1")
    ]


def test_a_trial_that_ends_with_the_period_is_over_when_the_next_one_opens() -> None:
    given = on_trial(seat(), "2025-02-01")
    assert next_trial_end(given, running(), given.start) is None
    assert len(advance_lines(given, span("2025-02-01", "2025-03-01"), None)) == 1


def test_a_line_in_arrear_costs_its_share_from_the_trials_end() -> None:
    given = on_trial(seat(invoice_cadence=InvoiceCadence.ARREAR), "2025-01-11")
    assert next_trial_end(given, running(), given.start) is None
    assert spans(arrear_lines(given, span("2025-01-01", "2025-02-01"), None)) == [
        (span("2025-01-11", "2025-02-01"), "21/31")
    ]


def test_a_line_of_another_cadence_runs_from_the_trials_end() -> None:
    weekly = seat(cadence=Cadence(BillingPeriod.WEEKLY))
    due = end_trials(on_trial(weekly, "2025-01-15"), running(), utc("2025-01-15"))
    assert due is not None
    assert spans(due.lines) == [
        (span("2025-01-15", "2025-01-22"), "1"),
        (span("2025-01-22", "2025-01-29"), "1"),
        (span("2025-01-29", "2025-02-05"), "1"),
    ]


@pytest.mark.parametrize(
    ("given", "state"),
    [
        (on_trial(seat(), "2025-01-15", end=utc("2025-01-10")), running()),  # taken away while on trial
        (on_trial(seat(), "2025-01-15", end=utc("2025-01-15")), running()),
        (on_trial(seat(), "2025-01-15"), running(status=SubscriptionStatus.paused)),
        (on_trial(seat(), "2025-01-15"), running(status=SubscriptionStatus.cancelled)),
        (on_trial(seat(), "2025-01-15", start=utc("2025-01-15")), running()),  # the subscription's own trial was longer
        (on_trial(seat(), "2025-01-15"), running(current_period=span("2025-02-01", "2025-03-01"))),
        (terms(seat(), talk(), start="2025-01-01"), running()),
    ],
)
def test_no_trial_ends(given: Terms, state: SubscriptionState) -> None:
    assert next_trial_end(given, state, given.start) is None
    assert end_trials(given, state, utc("2025-01-15")) is None


def test_the_end_of_the_subscription_cuts_what_follows_the_trial() -> None:
    due = end_trials(on_trial(seat(), "2025-01-15"), running(cancel_at=utc("2025-01-25")), utc("2025-01-15"))
    assert due is not None
    assert spans(due.lines) == [(span("2025-01-15", "2025-01-25"), "10/31")]


def test_days_are_local_and_a_price_has_one_trial() -> None:
    price = replace(seat(), trial_period_days=7)
    start = utc("2025-03-28T12:00")  # Berlin turns its clocks on the 30th: 13:00 there is 11:00 UTC a week later
    assert line_trial_end(price, start, "Europe/Berlin") == utc("2025-04-04T11:00")
    assert line_trial_end(seat(), start, "UTC") is None
    before = LineItem("old", price, Decimal(1), start, trial_end=utc("2025-04-04"))
    other = LineItem("other", replace(seat(), id="price_other"), Decimal(1), start)
    assert line_trial_end(price, utc("2025-04-20"), "UTC", (other, before)) == utc("2025-04-04")


def test_a_trial_end_is_in_utc() -> None:
    with pytest.raises(Invalid) as refusal:
        LineItem("line", seat(), Decimal(1), utc("2025-01-01"), trial_end=datetime(2025, 1, 2))  # noqa: DTZ001
    assert refusal.value.field == "trial_end"


TRIED = {**SEAT, "key": "tried", "amount": "31", "trial_period_days": 14}


def told(*actions: Json, **parts: Any) -> list[tuple[str, str]]:
    """When each invoice was drafted and its total."""
    plans = [{"key": "pro", "prices": [TRIED, USE]}, {"key": "other", "prices": [{**SEAT, "amount": "0"}]}]
    result = simulate(document(plans=plans, actions=list(actions), until="2026-02-01T00:00:00Z", **parts))
    drafted = [each["at"][:10] for each in result["timeline"] if each["event"] == "invoice.drafted"]
    return list(zip(drafted, (invoice["total"] for invoice in result["invoices"]), strict=True))


def on(day: str, **action: Any) -> Json:
    return {"at": f"2026-01-{day}T00:00:00Z", **action}


CANCELLED = [("2026-01-10", "0")]


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([], [("2026-01-15", "17"), ("2026-02-01", "31")]),
        ([on("10", do="cancel", type="immediate")], CANCELLED),  # nothing was charged, and nothing is credited
        # paused while on trial: resumed after its end the line is charged from then on, a month from the 20th
        ([on("10", do="pause"), on("20", do="resume")], [*CANCELLED, ("2026-01-20", "31")]),
        # resumed before its end: the month runs from the 12th, 28 of its 31 days are left on the 15th
        ([on("10", do="pause"), on("12", do="resume")], [*CANCELLED, ("2026-01-15", "28")]),
        # leaving the plan and coming back gives no second trial
        ([on("05", do="change_plan", plan="other", when="immediate"),
          on("20", do="change_plan", plan="pro", when="immediate")],
         [("2026-01-05", "0"), ("2026-01-20", "12"), ("2026-02-01", "31")]),
    ],
)  # fmt: skip
def test_what_happens_while_a_price_is_on_trial(actions: list[Json], expected: list[tuple[str, str]]) -> None:
    assert told(*actions) == expected


def test_the_trial_of_a_price_runs_beside_that_of_the_subscription() -> None:
    parts: Json = {"subscription": {"plan": "pro", "start_date": "2026-01-01T00:00:00Z", "trial_period_days": 10}}
    # the month begins on the 11th; 27 of its 31 days are left on the 15th
    assert told(**parts) == [("2026-01-15", "27")]
    parts["subscription"]["trial_period_days"] = 20
    assert told(**parts) == [("2026-01-21", "31")]
