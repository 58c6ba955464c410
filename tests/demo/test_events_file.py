"""The shipped events: reproducible, small, and with every trap that the story promises."""

import gzip
import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from starter.demo import make_events
from starter.demo.golden.derivation import CUSTOMERS, PREMIUM_MODELS, derive, read_calls

Event = dict[str, Any]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    with gzip.open(make_events.EVENTS_FILE, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


@pytest.fixture(scope="module")
def events(lines: list[str]) -> list[Event]:
    return [{**json.loads(line), "at": datetime.fromisoformat(json.loads(line)["timestamp"])} for line in lines]


def test_the_generator_makes_the_shipped_lines(lines: list[str]) -> None:
    assert make_events.make_lines() == lines


def test_the_file_is_small_and_carries_no_date() -> None:
    content = make_events.EVENTS_FILE.read_bytes()
    assert len(content) < 1_200_000
    assert content[4:8] == bytes(4)  # the modification time in a gzip header
    assert make_events.compressed(["a"]) == make_events.compressed(["a"])


def test_each_line_is_an_event_of_the_wire_format(events: list[Event]) -> None:
    for event in events:
        assert set(event) == {
            "event_name",
            "external_customer_id",
            "event_id",
            "timestamp",
            "source",
            "properties",
            "at",
        }
        assert event["event_name"] == "voice_call"
        assert set(event["properties"]) == {"duration_seconds", "model", "agent", "direction"}
        assert event["at"].utcoffset() is not None
        assert Decimal(event["properties"]["duration_seconds"]) > 0
    assert {event["properties"]["model"] for event in events} == {"sonic-small", *PREMIUM_MODELS}


def test_about_2500_events_a_month_growing(events: list[Event]) -> None:
    months = Counter(event["at"].astimezone(UTC).strftime("%Y-%m") for event in events)
    year = [months[f"2025-{month:02d}"] for month in range(1, 13)]
    assert 2300 < sum(year) / 12 < 2700
    assert year[0] < year[5] < year[11]


def test_weekends_are_calm_and_nights_too(events: list[Event]) -> None:
    days = Counter(event["at"].weekday() for event in events)
    assert days[5] < days[2] / 2
    assert days[6] < days[5]


def test_arrival_is_nearly_in_the_order_of_time(events: list[Event]) -> None:
    latest = events[0]["at"]
    for event in events:
        assert event["at"] > latest - make_events.LATEST_ARRIVAL
        latest = max(latest, event["at"])


@pytest.mark.parametrize("customer", CUSTOMERS, ids=lambda customer: customer.external_id)
def test_calls_stand_on_both_sides_of_each_boundary(customer: Any, events: list[Event]) -> None:
    instants = {event["at"] for event in events if event["external_customer_id"] == customer.external_id}
    for boundary in customer.boundaries():
        if boundary < make_events.YEAR_END:
            assert boundary in instants
            assert boundary - timedelta(milliseconds=1) in instants


def test_events_sent_again_differ_in_every_way(events: list[Event]) -> None:
    by_identity: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        by_identity[event["external_customer_id"], event["event_id"]].append(event)
    again = [(group[0], later) for group in by_identity.values() for later in group[1:]]
    ends = {customer.external_id: customer.boundaries() for customer in CUSTOMERS}
    assert len(again) > 100
    assert any(first == later for first, later in again)
    assert any(first["at"] != later["at"] and first["properties"] == later["properties"] for first, later in again)
    assert any(first["properties"] != later["properties"] for first, later in again)
    assert any(later["at"] - first["at"] > timedelta(days=20) for first, later in again)
    assert any(
        first["at"] < end <= later["at"] < end + timedelta(hours=1)
        for first, later in again
        for end in ends[first["external_customer_id"]]
    )


def test_one_event_id_is_used_by_all_customers(events: list[Event]) -> None:
    assert len({event["external_customer_id"] for event in events if event["event_id"] == "line-check-001"}) == 3


def test_some_calls_are_in_nobodys_period(events: list[Event]) -> None:
    for customer in CUSTOMERS:
        start = customer.boundaries()[0]
        early = [
            event for event in events if event["external_customer_id"] == customer.external_id and event["at"] < start
        ]
        assert early


def test_the_sums_on_purpose(lines: list[str]) -> None:
    calls, _ = read_calls(lines)
    cycles: dict[str, list[Any]] = defaultdict(list)
    for invoice in derive(calls):
        if invoice.reason == "SUBSCRIPTION_CYCLE":
            cycles[invoice.customer.external_id].append(invoice)
    talk = {name: [invoice.lines[1] for invoice in invoices] for name, invoices in cycles.items()}
    assert talk["seine-voix"][3].quantity == 36000  # exactly the first tier
    assert talk["seine-voix"][4].quantity == Decimal("36000.01")  # a cent of a second in the second
    assert talk["northwind-labs"][6].steps[-1].exact == "155.545"  # half a cent behind an even digit
    assert talk["northwind-labs"][6].amount == Decimal("155.55")
    assert cycles["kaveri-health"][2].lines[2].quantity % 50 == 0  # whole packages
    reached = {
        len([step for step in line.steps if step.what.startswith("tier") and "above" in step.what])
        for lines_ in talk.values()
        for line in lines_
    }
    assert reached == {1, 2, 3}
