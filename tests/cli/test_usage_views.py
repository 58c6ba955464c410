"""Usage as people look at it: charts of a customer's meters, and stored events as they arrive."""

from datetime import date
from decimal import Decimal

import pytest

from starter.cli.usage_chart import columns, drawn, with_gaps
from tests.cli.conftest import Run, WrittenApi


def test_columns_are_in_proportion_and_nothing_used_is_invisible() -> None:
    values = [Decimal(number) for number in (0, 1, 400, 800)]
    assert columns(values, 2) == ["   █", " ▁██"]
    assert columns([], 1) == [""]
    assert columns([Decimal(0)], 1) == [" "]


def test_days_without_events_are_gaps() -> None:
    days = [(date(2025, 2, 27), Decimal(3)), (date(2025, 3, 2), Decimal(6))]
    assert [str(value) for _, value in with_gaps(days)] == ["3", "0", "0", "6"]
    assert drawn("Talk  SUM 9", days).splitlines()[-2:] == ["  2025-02-27 2025-03-02", "  most: 6 on 2025-03-02"]


def test_a_customers_meters_are_drawn(api: WrittenApi, run: Run) -> None:
    talk = {"id": "meter_1", "name": "Talk", "aggregation": {"type": "SUM"}}
    api.items("/meters", talk, {"id": "meter_2", "name": "Idle"})
    days = [{"window_size": "2025-01-01T00:00:00Z", "value": 2}, {"window_size": "2025-01-03T00:00:00Z", "value": 0.5}]
    api.answer("POST", "/events/usage/meter", {"type": "SUM", "value": 2.5})
    api.answer("POST", "/events/usage/meter", {"type": "SUM", "results": days})
    api.answer("POST", "/events/usage/meter", {"type": "SUM"})
    shown = run("usage", "show", "acme").out
    assert "Talk  SUM 2.5" in shown
    assert "most: 2 on 2025-01-01" in shown
    assert "Idle" not in shown
    asked = [seen.body for seen in api.seen if seen.method == "POST"]
    assert asked[0] == {"meter_id": "meter_1", "external_customer_id": "acme"}
    assert asked[1] == {"meter_id": "meter_1", "external_customer_id": "acme", "window_size": "DAY"}
    assert asked[2] == {"meter_id": "meter_2", "external_customer_id": "acme"}


def test_a_customer_without_usage(api: WrittenApi, run: Run) -> None:
    api.items("/meters", {"id": "meter_1", "name": "Talk"})
    api.answer("POST", "/events/usage/meter", {"type": "SUM"})
    assert run("usage", "show", "acme").out == "No usage of acme on 1 meters.\n"
    assert run("usage", "show", "acme", "--meter", "meter_1").code == 2


def stored(event_id: str, minute: int) -> dict[str, object]:
    at = f"2025-01-01T00:{minute:02d}:00Z"
    return {"id": event_id, "external_customer_id": "acme", "event_name": "call", "timestamp": at, "properties": {}}


def test_events_are_shown_oldest_first_across_pages(api: WrittenApi, run: Run) -> None:
    api.answer("POST", "/events/query", {"events": [stored("e-3", 3), stored("e-2", 2)], "iter_last_key": "k"})
    api.answer("POST", "/events/query", {"events": [stored("e-2", 2), stored("e-1", 1)]})
    shown = run("events", "tail", "--once", "--customer", "acme").out
    assert shown.splitlines() == [f"2025-01-01 00:0{number}:00Z  acme  call  {{}}" for number in (1, 2, 3)]
    assert api.seen[0].body["external_customer_id"] == "acme"
    assert api.seen[1].body["iter_last_key"] == "k"


def test_an_event_that_arrives_is_shown_once(api: WrittenApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter((None, None))

    def pause(seconds: float) -> None:
        if next(looks, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr("starter.cli.event_tail.time.sleep", pause)
    api.answer("POST", "/events/query", {"events": [stored("e-1", 1)]})
    api.answer("POST", "/events/query", {"events": [stored("e-2", 2), stored("e-1", 1)]})
    shown = run("events", "tail").out
    assert [line.split("  ")[0] for line in shown.splitlines()] == ["2025-01-01 00:01:00Z", "2025-01-01 00:02:00Z"]
