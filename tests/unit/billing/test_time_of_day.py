"""Commitments by the time of day: which promise a window has, what is within and beyond it, at which price."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.commitments import (
    Commitment,
    CommitmentBuckets,
    CommitmentType,
    DueCommitment,
    TimeBucket,
    check_aligned,
    worth_of,
)
from billing.errors import Invalid
from billing.explain import explain_line
from billing.invoices import Invoice, build_final_invoice, verify
from billing.meters import UsagePart, UsageQuantity, UsageSnapshot
from billing.money import decimal_text
from billing.periods import Period
from billing.prices import BillingModel, Price, Tier, TierMode
from billing.simulation.simulate import simulate
from billing.terms import LineKind
from billing.windows import WindowSize, windows_of
from tests.simulation.documents import METER, document

from .builders import inputs, span, tiered, usage_due, utc

DAY = span("2025-02-01", "2025-02-02")
PER_CALL = replace(
    tiered(TierMode.SLAB, (None, "1", "0")),
    billing_model=BillingModel.FLAT_FEE,
    tier_mode=None,
    tiers=(),
    amount=Decimal(1),
)
NIGHT = TimeBucket(22 * 60, 6 * 60, CommitmentType.amount, Decimal(5), overage_factor=Decimal(2), true_up=True)
NOON = TimeBucket(12 * 60, 14 * 60, CommitmentType.quantity, Decimal(10))


def promise(*buckets: TimeBucket, value: str = "0", **changes: Any) -> Commitment:
    return Commitment(
        CommitmentType.amount, Decimal(value), "line_1", windowed=True, time_buckets=tuple(buckets), **changes
    )


def billed(
    commitment: Commitment, by_hour: Mapping[int, int], price: Price = PER_CALL, period: Period = DAY
) -> Invoice:
    """An invoice for calls by hour. It is verified as well, from what it was computed from."""
    due = usage_due(price, period)
    buckets = CommitmentBuckets(WindowSize.HOUR, "UTC", utc("2025-02-01"))
    windows = windows_of(period, buckets.size, buckets.zone, buckets.anchor)
    parts = tuple(
        UsagePart(window, Fraction(by_hour[window.start.hour])) for window in windows if window.start.hour in by_hour
    )
    whole = UsageQuantity(Decimal(sum(by_hour.values())), len(parts))
    usage = UsageSnapshot("snap", price.meter_id or "", period, utc("2025-03-01"), whole, parts=parts, bucketed=True)
    committed = DueCommitment(commitment, period, price=price, buckets=buckets)
    given_inputs = replace(inputs(due, usage=(usage,)), commitments=(committed,))
    invoice = build_final_invoice(given_inputs)
    assert verify(given_inputs, invoice) == ()
    return invoice


def shown(invoice: Invoice) -> list[tuple[str, str, str]]:
    return [(line.kind.value, decimal_text(line.quantity), str(line.amount)) for line in invoice.lines]


def test_a_window_has_the_promise_of_the_time_in_which_it_starts() -> None:
    # 23 o'clock: 5 within, 3 beyond x 2; 5 o'clock: 4 within, 1 missing; noon: 10 within, 2 beyond; 15 o'clock: plain.
    # Night has 8 hours: 6 without a call miss 5 each
    assert shown(billed(promise(NIGHT, NOON), {23: 8, 5: 4, 12: 12, 15: 7})) == [
        ("usage", "26", "26.00"), ("overage", "3", "6.00"), ("overage", "2", "2.00"), ("true_up", "1", "31.00"),
    ]  # fmt: skip


def test_outside_of_all_the_commitment_itself_is_promised() -> None:
    # day hours promise 3 at 1.5: 15 o'clock 3 within and 1 beyond, 16 o'clock 2; 14 hours without a call miss 3 each
    with_base = promise(NIGHT, value="3", overage_factor=Decimal("1.5"), true_up=True)
    invoice = billed(with_base, {15: 4, 16: 2})
    assert [(line.display_name, str(line.amount)) for line in invoice.lines] == [
        ("Talk time", "5.00"),
        ("Talk time beyond the commitment", "1.50"),
        ("Talk time: true-up to the commitment", "43.00"),
        ("Talk time: true-up to the commitment, 22:00 to 06:00 UTC", "40.00"),
    ]


def test_a_time_of_day_has_its_own_price() -> None:
    tiers = (Tier(Decimal(5), Decimal("0.5")), Tier(None, Decimal("0.1")))
    cheap = replace(PER_CALL, billing_model=BillingModel.TIERED, amount=None, tier_mode=TierMode.SLAB, tiers=tiers)
    # 10 of them are worth 5 x 0.5 + 5 x 0.1 = 3; 30 cost 2.5 + 2.5 = 5: 2 of 5 are beyond, 12 of 30 calls
    noon = replace(NOON, price=cheap)
    assert worth_of(noon.type, noon.value, noon.price) == 3
    invoice = billed(promise(noon), {12: 30, 15: 2})
    assert shown(invoice) == [("usage", "20", "5.00"), ("overage", "12", "2.00")]
    text = "\n".join(explain_line(invoice.lines[0]))
    assert "price: 1 usd a unit; quantity 20" in text
    assert "12:00 to 14:00 UTC: 2 tiers, each unit in its own tier" in text
    assert "tier 2 (from 5 and more): 25 x 0.1 = 2.5" in text


def test_a_cap_leaves_less_than_the_windows_cost() -> None:
    # 26 within, 3 and 2 beyond; the price stops at 28.5: half of the 5 beyond is left, 1.5 x 2 and 1
    capped = replace(PER_CALL, maximum_amount=Decimal("28.5"))
    assert shown(billed(promise(NIGHT, NOON), {23: 8, 5: 4, 12: 12, 15: 7}, capped)) == [
        ("usage", "26", "26.00"), ("overage", "3", "3.00"), ("overage", "2", "1.00"), ("true_up", "1", "31.00"),
    ]  # fmt: skip


def test_a_window_that_the_period_cuts_is_promised_its_share() -> None:
    # two hours and a half of the night: 12.5; 3 were used at 23 o'clock
    short = span("2025-02-01T21:30", "2025-02-02T00:00")
    half = promise(replace(NIGHT, end=0))
    assert shown(billed(half, {23: 3}, period=short)) == [("usage", "3", "3.00"), ("true_up", "1", "7.00")]


def test_over_midnight() -> None:
    assert [minutes // 60 for minutes in range(0, 24 * 60, 60) if NIGHT.contains(minutes)] == [0, 1, 2, 3, 4, 5, 22, 23]
    evening = replace(NIGHT, end=0)
    assert [minutes // 60 for minutes in range(0, 24 * 60, 60) if evening.contains(minutes)] == [22, 23]
    assert (NIGHT.hours, evening.hours) == ("22:00 to 06:00 UTC", "22:00 to 00:00 UTC")
    assert promise(NIGHT, NOON).bucket_at(utc("2025-02-01T13:59:59")) == 1


REFUSED: list[tuple[Callable[[], object], str, str]] = [
    (lambda: replace(NIGHT, start=24 * 60), "start", "start must be a time from 00:00 to 23:59"),
    (lambda: replace(NIGHT, end=-1), "end", "end must be a time from 00:00 to 23:59"),
    (lambda: replace(NIGHT, end=NIGHT.start), "end", "end must not be the start, 22:00: nothing lies between"),
    (lambda: replace(NIGHT, value=Decimal(0)), "commitment_value", "commitment_value must be above 0; got 0"),
    (
        lambda: replace(NIGHT, overage_factor=Decimal("0.9")),
        "overage_factor",
        "overage_factor must be 1 or more; got 0.9",
    ),
    (lambda: promise(), "commitment_amount", "a commitment must be above 0; got 0"),
    (lambda: promise(NIGHT, value="-1"), "commitment_amount", "a commitment must be above 0; got -1"),
    (
        lambda: replace(promise(NIGHT), windowed=False),
        "commitment_time_buckets",
        "commitment_time_buckets are for window commitments: set is_window_commitment",
    ),
    (
        lambda: promise(NOON, NIGHT, replace(NOON, start=13 * 60, end=15 * 60)),
        "commitment_time_buckets[2]",
        "commitment_time_buckets[2] must not overlap one before: both contain 13:00",
    ),
    (
        lambda: promise(NIGHT, replace(NOON, start=20 * 60, end=23 * 60)),
        "commitment_time_buckets[1]",
        "commitment_time_buckets[1] must not overlap one before: both contain 22:00",
    ),
    (
        lambda: check_aligned(NIGHT, WindowSize.DAY, "UTC", utc("2025-02-01")),
        "start",
        "start must be of a meter with windows shorter than a day; they are DAY",
    ),
    (
        lambda: check_aligned(replace(NIGHT, start=22 * 60 + 1), WindowSize.HOUR, "UTC", utc("2025-02-01")),
        "start",
        "start must be where a window of HOUR starts in UTC; 22:01 UTC is inside one",
    ),
    (
        lambda: check_aligned(NIGHT, WindowSize.TWELVE_HOURS, "UTC", utc("2025-02-01")),
        "start",
        "start must be where a window of 12HOUR starts in UTC; 22:00 UTC is inside one",
    ),
    (
        lambda: check_aligned(replace(NIGHT, start=0), WindowSize.TWELVE_HOURS, "UTC", utc("2025-02-01")),
        "end",
        "end must be where a window of 12HOUR starts in UTC; 06:00 UTC is inside one",
    ),
    # hours of India begin at the half hour of UTC
    (
        lambda: check_aligned(NIGHT, WindowSize.HOUR, "Asia/Kolkata", utc("2025-02-01")),
        "start",
        "start must be where a window of HOUR starts in Asia/Kolkata; 22:00 UTC is inside one",
    ),
]


@pytest.mark.parametrize(("make", "field", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], field: str, message: str) -> None:
    with pytest.raises(Invalid) as refusal:
        make()
    assert (refusal.value.field, refusal.value.message) == (field, message)


def test_what_fits_the_windows() -> None:
    promise(NIGHT, NOON, replace(NOON, start=14 * 60, end=22 * 60))  # they may touch
    check_aligned(NIGHT, WindowSize.MINUTE, "UTC", utc("2025-02-01T11:47"))
    check_aligned(NIGHT, WindowSize.THIRTY_MINUTES, "Asia/Kolkata", utc("2025-02-01"))
    india = replace(NIGHT, start=16 * 60 + 30, end=30)  # 22:00 to 06:00 there
    check_aligned(india, WindowSize.HOUR, "Asia/Kolkata", utc("2025-02-01"))
    # 18:30 UTC is midnight in India and 06:30 noon
    half_days = replace(NIGHT, start=18 * 60 + 30, end=6 * 60 + 30)
    check_aligned(half_days, WindowSize.TWELVE_HOURS, "Asia/Kolkata", utc("2025-02-01"))
    check_aligned(replace(NIGHT, start=6 * 60, end=0), WindowSize.SIX_HOURS, "UTC", utc("2025-02-01"))


@given(
    st.lists(st.integers(0, 40), min_size=24, max_size=24),
    st.integers(0, 23),
    st.integers(1, 23),
    st.decimals("0.01", 30, places=2),
    st.booleans(),
)
def test_laws_of_promises(hours: list[int], start: int, length: int, value: Decimal, true_up: bool) -> None:
    """With factor 1 and no true-up a promise changes nothing but names; a true-up brings every window up to it."""
    bucket = TimeBucket(start * 60, (start + length) % 24 * 60, CommitmentType.amount, value, true_up=true_up)
    invoice = billed(promise(bucket), dict(enumerate(hours)))
    used = sum(line.amount for line in invoice.lines if line.kind is not LineKind.true_up)
    missing = sum(line.amount for line in invoice.lines if line.kind is LineKind.true_up)
    assert used == sum(hours)
    short = [max(value - count, Decimal(0)) for hour, count in enumerate(hours) if bucket.contains(hour * 60)]
    assert missing == (sum(short) if true_up else 0)
    assert sum(line.quantity for line in invoice.lines if line.kind is not LineKind.true_up) == sum(hours)


AT_NIGHT: dict[str, Any] = {
    "start": {"hour": 22}, "end": {"hour": 6}, "commitment_type": "amount", "commitment_value": "5",
}  # fmt: skip
PATH = "subscription.line_commitments.use"


def told(
    commitment: dict[str, Any], size: str | None = "HOUR", use: dict[str, Any] | None = None, **parts: Any
) -> dict[str, Any]:
    meter = {**METER, "aggregation": {**METER["aggregation"], **({"bucket_size": size} if size else {})}}
    price = {"key": "use", "type": "USAGE", "meter": "calls", "billing_model": "FLAT_FEE", "amount": "1", **(use or {})}
    return simulate(
        document(
            meters=[meter],
            plans=[{"key": "pro", "prices": [price]}],
            subscription={
                "plan": "pro",
                "start_date": "2026-01-01T00:00:00Z",
                "billing_period": "DAILY",
                "line_commitments": {"use": {"commitment_type": "amount", "is_window_commitment": True, **commitment}},
            },
            **{
                "usage": [{"meter": "calls", "at": "2026-01-01T23:00:00Z", "quantity": "20"}],
                "until": "2026-01-02T03:00:00Z",
                **parts,
            },
        )
    )


def in_bucket(**changes: Any) -> dict[str, Any]:
    return {"commitment_time_buckets": [{**AT_NIGHT, **changes}]}


@pytest.mark.parametrize(
    ("commitment", "size", "path", "message"),
    [
        (in_bucket(start={"hour": 24}), "HOUR", "[0].start.hour", "from 0 to 23"),
        (in_bucket(end={"hour": 6, "minute": 60}), "HOUR", "[0].end.minute", "from 0 to 59"),
        (in_bucket(end={"hour": 22}), "HOUR", "[0].end", "must not be the start"),
        (in_bucket(end={"hour": 6, "minute": 30}), "HOUR", "[0].end", "06:30 UTC is inside one"),
        (in_bucket(), "DAY", "[0].start", "shorter than a day"),
        (in_bucket(price={"billing_model": "FLAT_FEE"}), "HOUR", "[0].price.amount", "0 or more"),
        (in_bucket(price={"billing_model": "TIERED", "tiers": [{"unit_amount": "1"}]}), "HOUR", "[0].price.tier_mode",
         "tier_mode"),
        (in_bucket(price={"billing_model": "PACKAGE", "amount": "1"}), "HOUR", "[0].price.transform_quantity",
         "is required"),
        ({"commitment_time_buckets": [AT_NIGHT, AT_NIGHT]}, "HOUR", "[1]", "must not overlap"),
    ],
)  # fmt: skip
def test_a_document_is_refused_with_the_path(commitment: dict[str, Any], size: str, path: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as refusal:
        told(commitment, size)
    assert refusal.value.field == f"{PATH}.commitment_time_buckets{path}"


@pytest.mark.parametrize(
    ("commitment", "size", "path"),
    [
        ({}, "HOUR", "commitment_amount"),
        ({**in_bucket(), "commitment_quantity": "3"}, "HOUR", "commitment_amount"),
        ({**in_bucket(), "is_window_commitment": False}, "HOUR", "commitment_time_buckets"),
        (in_bucket(), None, "is_window_commitment"),
        ({**in_bucket(), "is_window_commitment": False}, None, "commitment_time_buckets"),
    ],
)
def test_a_commitment_is_refused_with_the_path(commitment: dict[str, Any], size: str | None, path: str) -> None:
    with pytest.raises(Invalid) as refusal:
        told(commitment, size)
    assert refusal.value.field == f"{PATH}.{path}"


def test_a_price_keeps_the_tier_mode_and_the_packages_of_its_line() -> None:
    # 20 at night in packages of 8 as the line's: 3 x 2 = 6, of which 5 are promised
    packed = told(
        in_bucket(price={"billing_model": "PACKAGE", "amount": "2"}),
        use={"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 8}},
    )
    assert packed["invoices"][0]["total"] == "6"
    # 10 x 0.5 + 10 x 0.25 = 7.5, unit by unit as the line's tiers
    tiers = [{"up_to": 10, "unit_amount": "0.5"}, {"unit_amount": "0.25"}]
    own = {"billing_model": "TIERED", "tier_mode": "SLAB", "amount": None, "tiers": [{"unit_amount": "1"}]}
    slab = told(in_bucket(price={"billing_model": "TIERED", "tiers": tiers}), use=own)
    assert slab["invoices"][0]["total"] == "7.5"
    volume = told(in_bucket(price={"billing_model": "TIERED", "tiers": tiers, "tier_mode": "VOLUME"}), use=own)
    assert volume["invoices"][0]["total"] == "5"


def test_late_usage_is_rated_with_the_promises_of_its_period() -> None:
    """On time or late, the customer pays the same."""
    late = {"meter": "calls", "at": "2026-01-01T22:30:00Z", "quantity": "9", "received_at": "2026-01-02T12:00:00Z"}
    bucket = in_bucket(overage_factor="2", true_up_enabled=True, price={"billing_model": "FLAT_FEE", "amount": "0.5"})
    totals = []
    for received in ({}, {"received_at": None}):
        uses = [{"meter": "calls", "at": "2026-01-01T23:00:00Z", "quantity": "20"}, {**late, **received}]
        result = told(bucket, usage=uses, until="2026-01-03T03:00:00Z")
        totals.append(sum(Decimal(invoice["total"]) for invoice in result["invoices"]))
    # of the first day: 10 at 23 o'clock, 5 within and 5 x 2; 4.5 at 22 o'clock; 0.5 and six hours x 5 missing: 50.
    # The second day misses 8 x 5 = 40
    assert totals == [90, 90]


def test_what_is_beyond_each_promise_costs_its_own_factor() -> None:
    """10 an hour by day at 3 beyond, 5 by night at 2: 13 and 15 are 8 beyond, 9 and 6 are 5 beyond."""
    night = replace(NIGHT, true_up=False)
    invoice = billed(promise(night, value="10", overage_factor=Decimal(3)), {8: 13, 9: 15, 1: 9, 2: 6})
    assert shown(invoice) == [("usage", "30", "30.00"), ("overage", "8", "24.00"), ("overage", "5", "10.00")]


def test_a_line_that_stays_within_its_promises_says_so_and_one_all_beyond_them_is_overage_alone() -> None:
    (line, _) = billed(promise(NIGHT), {23: 3}).lines  # and a true-up of what is missing
    part = line.derivation.commitment
    assert part is not None
    assert (line.kind, part.line_item_id, part.whole, part.within) == (
        LineKind.usage, "line_1", Fraction(3), Fraction(3),
    )  # fmt: skip
    nothing = replace(NIGHT, value=Decimal("0.001"), true_up=False)
    over = billed(promise(nothing), {23: 3}).lines[-1]
    assert over.derivation.commitment is not None
    assert (over.kind, over.derivation.commitment.line_item_id) == (LineKind.overage, "line_1")
