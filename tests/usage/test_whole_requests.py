"""A request read as a whole makes the events that its parts make one by one, or is left to be read one by one."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.ingestion.events import Event
from models.clickhouse.times import milliseconds
from models.scope import Scope
from starter.ingest.app import stamped
from starter.ingest.timestamps import all_milliseconds
from starter.ingest.whole import read_whole, stamped_whole
from starter.ingest.wire import BadEvent, TimeLimits, parse_bulk, parse_timestamp

NOW = datetime(2025, 12, 2, 10, 0, 0, 123456, tzinfo=UTC)
LIMITS = TimeLimits(NOW)
SCOPE = Scope("tenant_1", "env_1")
USUAL = {
    "event_name": "call",
    "external_customer_id": "c-1",
    "event_id": "e-1",
    "timestamp": "2025-12-02T09:00:00.123Z",
    "source": "test",
    "properties": {"tokens": "12", "seconds": 1.5, "n": 7, "model": None, "ok": True},
}


def whole(sent: list[dict[str, Any]]) -> list[Event] | None:
    events = read_whole(json.dumps({"events": sent}).encode())
    return None if events is None else stamped_whole(SCOPE, events, LIMITS)


def one_by_one(sent: list[dict[str, Any]]) -> list[Event] | None:
    """None where any is refused."""
    try:
        good, bad, _ = parse_bulk(json.dumps({"events": sent}).encode())
        return None if bad else [stamped(SCOPE, checked, LIMITS) for _, checked in good]
    except BadEvent:
        return None


def without_made_ids(events: list[Event] | None) -> list[Event]:
    assert events is not None
    made = [msgspec.structs.replace(one, event_id="") for one in events]
    return [made_ if one.event_id.startswith("event_") else one for one, made_ in zip(events, made, strict=True)]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"event_id": None},
        {"event_id": ""},
        {"timestamp": None},
        {"timestamp": "2025-12-02T09:00:00Z"},
        {"timestamp": "2025-12-02T09:00:00.123456+00:00"},
        {"source": None},
        {"properties": None},
        {"properties": {}},
        {"properties": {"a": {"b": [1, 2**70]}}},
        {"properties": {"a": 2**70, "b": "line\nbreak\u2028"}},
        {"properties": {"text": "x" * 200_000}},
        {"event_name": "  padded "},
    ],
)
def test_usual_requests_are_read_as_a_whole(change: dict[str, Any]) -> None:
    sent = [USUAL | change for _ in range(3)]
    assert without_made_ids(whole(sent)) == without_made_ids(one_by_one(sent))


@pytest.mark.parametrize(
    "change",
    [
        {"event_name": " "},
        {"event_name": "n" * 256},
        {"external_customer_id": ""},
        {"external_customer_id": 7},
        {"event_id": "e" * 256},
        {"source": "s" * 256},
        {"timestamp": "2025-02-29T00:00:00.000Z"},
        {"timestamp": "2025-12-04T09:00:00.000Z"},
        {"timestamp": "2019-12-02T09:00:00.000Z"},
        {"properties": [1]},
        {"properties": {"text": "x" * 300_000}},
    ],
)
def test_one_bad_event_leaves_all_to_be_looked_at(change: dict[str, Any]) -> None:
    sent = [USUAL, USUAL | change, USUAL]
    assert one_by_one(sent) is None
    assert whole(sent) is None


NAMES = st.text(max_size=6) | st.text(min_size=250, max_size=260)
TIMES = st.sampled_from(["2025-12-02T09:00:00Z", "2025-12-02t09:00:00z", "2025-12-02T09:00:00+02:00", "", "2025", None])
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
EVENTS = st.fixed_dictionaries(
    {"event_name": NAMES, "external_customer_id": NAMES},
    optional={
        "event_id": NAMES | st.none(),
        "timestamp": TIMES,
        "source": NAMES | st.none(),
        "properties": st.dictionaries(st.text(max_size=4), VALUES | st.lists(VALUES, max_size=2), max_size=4)
        | st.none(),
    },
)


@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_what_is_read_as_a_whole_is_what_is_read_one_by_one(sent: list[dict[str, Any]]) -> None:
    events = whole(sent)
    if events is not None:
        assert without_made_ids(events) == without_made_ids(one_by_one(sent))


INSTANTS = st.datetimes(timezones=st.just(UTC))


@given(st.lists(INSTANTS, min_size=1, max_size=20), st.integers(0, 9), st.sampled_from(["Z", "+00:00"]))
def test_times_written_alike_are_read_as_each_alone(instants: list[datetime], digits: int, zone: str) -> None:
    texts = [f"{at:%m-%dT%H:%M:%S}.{at.microsecond:06d}000"[: 15 + digits] for at in instants]
    texts = [f"{at.year:04d}-{text.rstrip('.')}{zone}" for at, text in zip(instants, texts, strict=True)]
    assert all_milliseconds(texts) == [milliseconds(parse_timestamp(text)) for text in texts]


@given(st.integers(0, 23), st.characters(max_codepoint=0x17F))
def test_a_time_with_a_wrong_character_is_no_time(at: int, character: str) -> None:
    good = "2025-12-02T09:00:00.123Z"
    bad = good[:at] + character + good[at + 1 :]
    found = all_milliseconds([good, bad, good])
    try:
        alone = milliseconds(parse_timestamp(bad))
    except BadEvent:
        alone = None
    assert found is None or (alone is not None and found[1] == alone)


def test_times_that_only_together_look_like_times_are_none() -> None:
    good = "2025-12-02T09:00:00.123Z"
    assert all_milliseconds([good, good[:5], good[5:] + good]) is None
    assert all_milliseconds([good, good[:-1], good + "Z"]) is None


@given(st.integers(1, 9999), st.integers(0, 13), st.integers(0, 32))
def test_only_days_of_the_calendar_are_read(year: int, month: int, day: int) -> None:
    text = f"{year:04d}-{month:02d}-{day:02d}T00:00:00Z"
    try:
        expected = [milliseconds(datetime(year, month, day, tzinfo=UTC))]
    except ValueError:
        expected = None
    assert all_milliseconds([text]) == expected


def test_an_offset_is_left_to_be_read_alone() -> None:
    at = datetime(2025, 12, 2, 9, tzinfo=timezone(timedelta(hours=2)))
    assert all_milliseconds([at.isoformat()]) is None
