"""Meters over events in memory, worked by hand: each fold, filters, identity, rejected values, buckets, windows."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import Invalid
from billing.event_values import event_value, property_text
from billing.meters import (
    AggregationType,
    Filter,
    Meter,
    ResetUsage,
    UsageQuantity,
    parse_aggregation,
    parse_bucket_size,
    parse_reset_usage,
)
from billing.periods import Period
from billing.usage_aggregation import (
    UsageEvent,
    first_accepted,
    matches,
    measure,
    measure_buckets,
    measure_chosen,
    measure_parts,
    rejected_events,
)
from billing.windows import WindowSize, window_at, windows_of

from .builders import span, utc

FEBRUARY = span("2025-02-01", "2025-03-01")


def meter(kind: AggregationType = AggregationType.SUM, **changes: object) -> Meter:
    field = None if kind is AggregationType.COUNT else "n"
    multiplier = Decimal("0.5") if kind is AggregationType.SUM_WITH_MULTIPLIER else None
    made = Meter("meter", "calls", "call", kind, field, multiplier=multiplier)
    return replace(made, **changes)  # type: ignore[arg-type]


def event(name: str, at: str, n: object = None, **properties: object) -> UsageEvent:
    own = {} if n is None else {"n": n}
    return UsageEvent(name, "call", utc(at), {**own, **properties})


EVENTS = (
    event("a", "2025-01-31T23:59:59", "100"),
    event("b", "2025-02-01", "3"),
    event("c", "2025-02-10", 4),
    event("d", "2025-02-15", "bad"),
    event("e", "2025-02-20", Decimal("2.5")),
    event("f", "2025-02-20T12:00", "3.0"),
    event("g", "2025-02-28T23:59:59.999", "-7"),
    event("h", "2025-03-01", "100"),
)


@pytest.mark.parametrize(
    ("kind", "quantity", "rejected"),
    [
        (AggregationType.COUNT, "6", 0),
        (AggregationType.SUM, "12.5", 2),  # 3 + 4 + 0 + 2.5 + 3 + 0
        (AggregationType.SUM_WITH_MULTIPLIER, "6.25", 2),
        (AggregationType.MAX, "4", 2),
        (AggregationType.MIN, "0", 2),  # a rejected value counts 0, and is reported
        (AggregationType.LATEST, "0", 2),
        (AggregationType.AVG, "2.083333333333", 2),  # 12.5 / 6
        (AggregationType.COUNT_UNIQUE, "6", 0),  # 3, 4, bad, 2.5, 3.0 and -7 are six texts
    ],
)
def test_folds(kind: AggregationType, quantity: str, rejected: int) -> None:
    usage = measure(meter(kind), EVENTS, FEBRUARY)
    assert (str(usage.quantity.normalize()), usage.event_count, usage.rejected_values) == (quantity, 6, rejected)


@pytest.mark.parametrize("kind", AggregationType)
def test_events_that_were_chosen_by_their_reader_measure_the_same(kind: AggregationType) -> None:
    """A reader that has asked for the period's events need not have each looked at again."""
    own = [each for each in EVENTS if FEBRUARY.contains(each.at)]
    assert measure_chosen(meter(kind), own, FEBRUARY) == measure(meter(kind), EVENTS, FEBRUARY)
    assert measure_chosen(meter(kind), EVENTS, FEBRUARY).event_count == len(EVENTS)


def test_an_average_is_exact() -> None:
    assert measure(meter(AggregationType.AVG), EVENTS, FEBRUARY).value == Fraction("12.5") / 6


@pytest.mark.parametrize("kind", list(AggregationType))
def test_no_event_is_zero(kind: AggregationType) -> None:
    assert measure(meter(kind), (), FEBRUARY) == UsageQuantity(Decimal("0"), 0)


def test_a_level_is_weighted_by_the_time_that_it_lasts() -> None:
    levels = meter(AggregationType.WEIGHTED_SUM)
    # +10 for 28 of 28 days, +4 for the last 14, -6 for the last 7: 10 + 2 - 1.5
    changes = (event("a", "2025-02-01", 10), event("b", "2025-02-15", "4"), event("c", "2025-02-22", "-6"))
    assert measure(levels, changes, FEBRUARY).quantity == Decimal("10.5")
    # the level starts at 0 in March, or goes on at 8 where the meter never resets
    march = span("2025-03-01", "2025-04-01")
    assert measure(levels, changes, march).quantity == 0
    assert measure(replace(levels, reset_usage=ResetUsage.NEVER), changes, march).quantity == 8
    # a third of the time: exact, shown with 12 digits
    third = measure(levels, (event("a", "2025-02-03", 1),), span("2025-02-01", "2025-02-04"))
    assert (third.value, str(third.quantity)) == (Fraction(1, 3), "0.333333333333")
    # a level below nothing is nothing; a moment has no level
    assert measure(levels, (event("a", "2025-02-03", -1),), FEBRUARY).quantity == 0
    assert measure(levels, changes, span("2025-02-15", "2025-02-15")).quantity == 0


@pytest.mark.parametrize(
    ("kind", "quantity"),
    [(AggregationType.SUM, "112.5"), (AggregationType.COUNT, "7"), (AggregationType.MAX, "100")],
)
def test_a_meter_that_never_resets_measures_everything_before_the_end(kind: AggregationType, quantity: str) -> None:
    assert measure(meter(kind, reset_usage=ResetUsage.NEVER), EVENTS, FEBRUARY).quantity == Decimal(quantity)


def test_latest_at_one_instant_is_the_last_accepted_and_then_the_larger_id() -> None:
    latest, at = meter(AggregationType.LATEST), "2025-02-05"
    early, late = utc("2025-02-06"), utc("2025-02-07")
    first = replace(event("z", at, 1), received_at=early)
    second = replace(event("a", at, 2), received_at=late)
    third = replace(event("b", at, 3), received_at=late)
    assert measure(latest, (second, first), FEBRUARY).quantity == 2
    assert measure(latest, (third, first, second), FEBRUARY).quantity == 3
    # times count in milliseconds
    assert (
        measure(latest, (replace(first, timestamp=utc("2025-02-05T00:00:00.000999")), second), FEBRUARY).quantity == 2
    )


def test_one_id_counts_once_and_the_first_accepted_wins() -> None:
    late = replace(event("a", "2025-02-01", 9), received_at=utc("2025-02-20"))
    early = replace(event("a", "2025-02-15", 1), received_at=utc("2025-02-16"))
    assert first_accepted((late, early)) == (early,)
    assert first_accepted((late, replace(late, event_name="other"))) == (late,)
    assert first_accepted((event("b", "2025-02-02"), event("a", "2025-02-01"))) == (
        event("a", "2025-02-01"),
        event("b", "2025-02-02"),
    )


def test_filters_are_and_of_ors_on_texts() -> None:
    filtered = meter(filters=(Filter("region", ("eu", "1")), Filter("up", ("true",))))
    assert matches(filtered, event("a", "2025-02-01", region="eu", up=True))
    assert matches(filtered, event("a", "2025-02-01", region=Decimal("1.0"), up="true"))
    assert not matches(filtered, event("a", "2025-02-01", region="eu"))
    assert not matches(filtered, event("a", "2025-02-01", region="us", up=True))
    assert not matches(filtered, replace(event("a", "2025-02-01", region="eu", up=True), event_name="other"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"), (Decimal("1.0"), "1"), (Decimal("1.50"), "1.5"), (True, "true"), (False, "false"), ("", ""),
        (None, None), ({"x": 1}, None), ([1], None),
    ],
)  # fmt: skip
def test_the_text_of_a_property(value: object, text: str | None) -> None:
    assert property_text({"n": value}, "n") == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("73.25", "73.25"), ("1e3", "1000"), ("2.5E-3", "0.0025"), ("+7", "7"), (".5", "0.5"), ("8.", "8"),
        ("007", "7"), ("0.0000000000005", "0.000000000001"), ("0.0000000000004999", "0"), ("1e-400", "0"),
        ("99999999999999999999999999.9999999999994", "99999999999999999999999999.999999999999"),
        ("100000000000000000000000000", None), ("-4", None), ("-0", "0"), (" 5", None), ("1,000", None), ("NaN", None),
        ("inf", None), ("0x10", None), ("", None), ("1e50", None), ("½", None), ("١٢", None), (None, None),
        ("1" * 61, None),
    ],
)  # fmt: skip
def test_the_number_in_a_text(text: str | None, value: str | None) -> None:
    found = event_value(text)
    assert found == (None if value is None else Decimal(value))


def test_a_change_of_a_level_may_be_negative() -> None:
    assert event_value("-4.5", negative=True) == Decimal("-4.5")
    assert event_value("-1e26", negative=True) is None


def test_rejected_values_are_named() -> None:
    assert [one.event_id for one in rejected_events(meter(), EVENTS, FEBRUARY)] == ["d", "g"]
    unique = meter(AggregationType.COUNT_UNIQUE)
    nameless = event("x", "2025-02-02")
    assert rejected_events(unique, (*EVENTS, nameless), FEBRUARY) == (nameless,)
    assert measure(unique, (*EVENTS, nameless), FEBRUARY).rejected_values == 1


BUCKETED = [
    # day buckets of a zone 5:30 ahead: 18:30 UTC is the next local day
    (AggregationType.SUM, None, [("2025-02-01", "2025-02-01T18:30", 3), ("2025-02-01T18:30", "2025-02-02T18:30", 12)]),
    (AggregationType.MAX, None, [("2025-02-01", "2025-02-01T18:30", 2), ("2025-02-01T18:30", "2025-02-02T18:30", 5)]),
]


@pytest.mark.parametrize(("kind", "_group", "expected"), BUCKETED)
def test_buckets_are_cut_in_the_customers_zone(
    kind: AggregationType, _group: None, expected: list[tuple[str, str, int]]
) -> None:
    daily = meter(kind, bucket_size=WindowSize.DAY)
    sent = (
        event("a", "2025-02-01T00:00", 1), event("b", "2025-02-01T18:29", 2), event("c", "2025-02-01T18:30", 3),
        event("d", "2025-02-02T01:00", 4), event("e", "2025-02-02T18:29:59", 5),
    )  # fmt: skip
    usage, parts = measure_buckets(daily, sent, FEBRUARY, "Asia/Kolkata", FEBRUARY.start)
    assert [(part.period, part.quantity) for part in parts] == [(span(s, e), Fraction(n)) for s, e, n in expected]
    assert usage.value == sum(part.quantity for part in parts)


def test_groups_have_their_own_maximum_in_each_bucket() -> None:
    grouped = meter(AggregationType.MAX, bucket_size=WindowSize.HOUR, group_by="node")
    sent = (
        event("a", "2025-02-01T00:10", 4, node="x"), event("b", "2025-02-01T00:50", 6, node="x"),
        event("c", "2025-02-01T00:20", 5, node="y"), event("d", "2025-02-01T00:20", 1),
        event("e", "2025-02-01T01:00", 2, node="y"),
    )  # fmt: skip
    usage, parts = measure_buckets(grouped, sent, FEBRUARY, "UTC", FEBRUARY.start)
    assert [(part.group, int(part.quantity)) for part in parts] == [("", 1), ("x", 6), ("y", 5), ("y", 2)]
    assert (usage.quantity, usage.event_count) == (Decimal(14), 5)


def test_allowance_windows_are_measured_one_by_one() -> None:
    weeks = windows_of(FEBRUARY, WindowSize.WEEK, "UTC", FEBRUARY.start)
    parts = measure_parts(meter(), EVENTS, weeks)
    # Saturday 1 Feb and Sunday are a short first week
    assert [part.period for part in parts][:2] == [span("2025-02-01", "2025-02-03"), span("2025-02-03", "2025-02-10")]
    assert [part.quantity for part in parts] == [3, 0, 4, Fraction("5.5"), 0]


@pytest.mark.parametrize(
    ("size", "zone", "at", "start", "end"),
    [
        (WindowSize.MINUTE, "UTC", "2025-02-01T10:17:42.5", "2025-02-01T10:17", "2025-02-01T10:18"),
        (WindowSize.FIFTEEN_MINUTES, "UTC", "2025-02-01T10:44:59", "2025-02-01T10:30", "2025-02-01T10:45"),
        (WindowSize.THIRTY_MINUTES, "UTC", "2025-02-01T10:44:59", "2025-02-01T10:30", "2025-02-01T11:00"),
        # Kathmandu is 5:45 ahead: its hours begin at a quarter past
        (WindowSize.HOUR, "Asia/Kathmandu", "2025-02-01T10:10", "2025-02-01T09:15", "2025-02-01T10:15"),
        (WindowSize.SIX_HOURS, "Asia/Kolkata", "2025-02-01T10:00", "2025-02-01T06:30", "2025-02-01T12:30"),
        # 30 March 2025: Berlin loses the hour from 2 to 3, so its window from 0 to 3 has two hours
        (WindowSize.THREE_HOURS, "Europe/Berlin", "2025-03-30T00:30", "2025-03-29T23:00", "2025-03-30T01:00"),
        (WindowSize.TWELVE_HOURS, "UTC", "2025-02-01T12:00", "2025-02-01T12:00", "2025-02-02"),
        (WindowSize.DAY, "Europe/Berlin", "2025-03-30T12:00", "2025-03-29T23:00", "2025-03-30T22:00"),
        (WindowSize.WEEK, "UTC", "2025-02-02T23:00", "2025-01-27", "2025-02-03"),
        # billing months of the anchor of 31 January, clamped
        (WindowSize.MONTH, "UTC", "2025-03-15", "2025-02-28T09:00", "2025-03-31T09:00"),
    ],
)
def test_windows(size: WindowSize, zone: str, at: str, start: str, end: str) -> None:
    assert window_at(size, zone, utc("2025-01-31T09:00"), utc(at)) == span(start, end)


@given(
    st.sampled_from([WindowSize.HOUR, WindowSize.SIX_HOURS, WindowSize.DAY, WindowSize.WEEK, WindowSize.MONTH]),
    st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo"]),
    st.integers(0, 15 * 365 * 24 * 60),
    st.integers(1, 9 * 24 * 60),
)
def test_windows_cover_a_period_without_gaps(size: WindowSize, zone: str, start: int, minutes: int) -> None:
    begin = utc("2015-01-01") + timedelta(minutes=start)
    period = Period(begin, begin + timedelta(minutes=minutes))
    windows = windows_of(period, size, zone, utc("2020-01-31"))
    assert windows[0].start == period.start
    assert windows[-1].end == period.end
    assert all(left.end == right.start for left, right in pairwise(windows))


@given(st.lists(st.decimals(0, 1000, places=3), max_size=12), st.integers(0, 10**6), st.integers(0, 12))
def test_the_order_of_arrival_and_a_split_change_nothing(values: list[Decimal], seed: int, cut: int) -> None:
    sent = [event(f"e{i}", f"2025-02-{i + 1:02}T10:00", str(value)) for i, value in enumerate(values)]
    shuffled = list(sent) + sent[:cut]  # some come twice
    random.Random(seed).shuffle(shuffled)
    for kind in (AggregationType.SUM, AggregationType.MAX, AggregationType.AVG, AggregationType.WEIGHTED_SUM):
        one = measure(meter(kind), first_accepted(sent), FEBRUARY)
        assert measure(meter(kind), first_accepted(shuffled), FEBRUARY) == one
    at = utc("2025-02-01") + timedelta(days=cut)
    whole = measure(meter(), sent, FEBRUARY).value
    parts = measure_parts(meter(), sent, (Period(FEBRUARY.start, at), Period(at, FEBRUARY.end)))
    assert sum(part.quantity for part in parts) == whole == sum(Fraction(value) for value in values)


REFUSED: list[tuple[Callable[[], object], str, str]] = [
    (
        lambda: meter(AggregationType.SUM_WITH_MULTIPLIER, multiplier=None),
        "aggregation.multiplier",
        "aggregation.multiplier must be above 0 for SUM_WITH_MULTIPLIER and expressions, and absent for others",
    ),
    (
        lambda: meter(AggregationType.SUM_WITH_MULTIPLIER, multiplier=Decimal(0)),
        "aggregation.multiplier",
        "aggregation.multiplier must be above 0 for SUM_WITH_MULTIPLIER and expressions, and absent for others",
    ),
    (
        lambda: meter(multiplier=Decimal(2)),
        "aggregation.multiplier",
        "aggregation.multiplier must be above 0 for SUM_WITH_MULTIPLIER and expressions, and absent for others",
    ),
    (
        lambda: meter(AggregationType.AVG, bucket_size=WindowSize.DAY),
        "aggregation.bucket_size",
        "aggregation.bucket_size is for SUM and MAX only",
    ),
    (
        lambda: meter(bucket_size=WindowSize.DAY, reset_usage=ResetUsage.NEVER),
        "reset_usage",
        "reset_usage must be BILLING_PERIOD for a meter with buckets",
    ),
    (
        lambda: meter(bucket_size=WindowSize.DAY, group_by="x"),
        "aggregation.group_by",
        "aggregation.group_by is for MAX with a bucket_size only",
    ),
    (
        lambda: meter(AggregationType.MAX, group_by="x"),
        "aggregation.group_by",
        "aggregation.group_by is for MAX with a bucket_size only",
    ),
    (
        lambda: UsageQuantity(Decimal("0.3"), 1, exact=Fraction(1, 3)),
        "quantity",
        "quantity must be 1/3 at 12 digits; got 0.3",
    ),
    (
        lambda: UsageEvent("e", "call", datetime(2025, 1, 1)),  # noqa: DTZ001
        "timestamp",
        "timestamp must be an instant in UTC; got 2025-01-01T00:00:00",
    ),
    (
        lambda: UsageEvent("e", "call", utc("2025-01-01"), {}, datetime(2025, 1, 1)),  # noqa: DTZ001
        "received_at",
        "received_at must be an instant in UTC; got 2025-01-01T00:00:00",
    ),
    (
        lambda: measure(meter(bucket_size=WindowSize.DAY), (), FEBRUARY),
        "aggregation.bucket_size",
        "meter meter has buckets: they are measured one by one",
    ),
    (
        lambda: measure_buckets(meter(), (), FEBRUARY, "UTC", FEBRUARY.start),
        "aggregation.bucket_size",
        "meter meter has no buckets",
    ),
    # what a running stack cannot read yet is refused where the API creates it
    (
        lambda: parse_aggregation("MEDIAN"),
        "aggregation.type",
        (
            "aggregation.type must be one of COUNT, SUM, MAX, LATEST, COUNT_UNIQUE, AVG, MIN, "
            "SUM_WITH_MULTIPLIER, WEIGHTED_SUM; got 'MEDIAN'"
        ),
    ),
    (
        lambda: parse_reset_usage("ALWAYS"),
        "reset_usage",
        "reset_usage must be one of BILLING_PERIOD, NEVER; got 'ALWAYS'",
    ),
    (
        lambda: parse_bucket_size("YEAR"),
        "aggregation.bucket_size",
        f"aggregation.bucket_size must be one of {', '.join(WindowSize)}; got 'YEAR'",
    ),
]


@pytest.mark.parametrize(("make", "field", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], field: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        make()
    assert (refused.value.field, refused.value.message) == (field, message)


def test_dots_lead_into_objects_unless_there_is_a_property_of_that_name() -> None:
    assert property_text({"usage": {"model": "a"}}, "usage.model") == "a"
    assert property_text({"usage": {"model": "a"}, "usage.model": "b"}, "usage.model") == "b"
    assert property_text({"usage": {"model": "a"}, "usage.model": None}, "usage.model") == "a"
    assert property_text({"usage": {"model": "a"}, "usage.model": {}}, "usage.model") is None
    assert property_text({"usage": "a"}, "usage.model") is None
    assert property_text({"usage": {"model": {"name": "a"}}}, "usage.model.name") == "a"


def test_buckets_by_their_names() -> None:
    assert [parse_bucket_size(size.value) for size in WindowSize] == list(WindowSize)
