"""Usage as people look at it: charts of a customer's meters, and stored events as they arrive."""

from datetime import date, timedelta
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
    assert drawn("Talk  SUM 9", days, 20).splitlines() == [
        "Talk  SUM 9",
        "  6 │         ██",
        "    │         ██",
        "    │▄▄       ██",
        "    │██       ██",
        "    │██       ██",
        "  0 └────────────",
        "     2025-02-27 2025-03-02",
        "  most: 6 on 2025-03-02",
    ]


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


def test_days_are_those_of_the_customers_calendar(api: WrittenApi, run: Run) -> None:
    api.answer("GET", "/customers/external/acme", {"id": "cust_1", "timezone": "Asia/Kolkata"})
    api.items("/meters", {"id": "meter_1", "name": "Talk", "aggregation": {"type": "SUM"}})
    api.answer("POST", "/events/usage/meter", {"type": "SUM", "value": 1234567.5})
    api.answer(
        "POST", "/events/usage/meter", {"results": [{"window_size": "2025-01-31T18:30:00Z", "value": 1234567.5}]}
    )
    shown = run("usage", "show", "acme").out
    assert "days in Asia/Kolkata" in shown
    assert "most: 1,234,567.5 on 2025-02-01" in shown


def test_a_meter_that_has_no_days_is_shown_without_a_chart(api: WrittenApi, run: Run) -> None:
    level = {"id": "meter_1", "name": "Seats", "aggregation": {"type": "WEIGHTED_SUM"}}
    api.items("/meters", level, {"id": "meter_2", "name": "Ever", "reset_usage": "NEVER"}, {"id": "meter_3"})
    for value in ({"value": 2.5}, {"value": 7}, {}):
        api.answer("POST", "/events/usage/meter", value)
    shown = run("usage", "show", "acme").out
    assert "Seats  WEIGHTED_SUM 2.5\n  of the whole time: it has no days" in shown
    assert "Nothing on 1 meter more." in shown
    assert len([seen for seen in api.seen if seen.method == "POST"]) == 3


def test_a_year_is_drawn_in_lines_that_fit() -> None:
    days = [(date(2025, 1, 1) + timedelta(days=number), Decimal(number)) for number in range(365)]
    lines = drawn("Talk", days, 76).splitlines()
    assert max(map(len, lines)) == 76
    assert lines[-2:] == [f"{'':7}2025-12-12 2025-12-31", "  most: 364 on 2025-12-31"]
    assert lines[1] == "  364 │", "by one scale"
    assert lines[-8].endswith("█")


def test_a_customer_without_usage(api: WrittenApi, run: Run) -> None:
    api.items("/meters", {"id": "meter_1", "name": "Talk"})
    api.answer("POST", "/events/usage/meter", {"type": "SUM"})
    assert run("usage", "show", "acme").out == "No usage of acme on 1 meter.\n"
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
