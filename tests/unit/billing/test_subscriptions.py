"""What falls due when: cadences, short periods, ends, cancellation; and that no span is billed twice or missed."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.errors import Conflict, Invalid
from billing.invoices import InvoiceLine, billed_line, build_invoice
from billing.periods import BillingCycle, BillingPeriod, Cadence, Period, next_boundary, to_milliseconds
from billing.prices import InvoiceCadence, Price
from billing.subscriptions import (
    CancellationType,
    FinalUsage,
    SubscriptionState,
    SubscriptionStatus,
    billing_anchor,
    cancel,
    clear_past_due,
    close_period,
    finalize_at,
    mark_past_due,
    open_subscription,
)
from billing.terms import BilledLine, BillingReason, DueInvoice, LineItem, LineKind, ProrationBehavior, Terms

from .builders import MONTHLY, inputs, seat, span, talk, terms, utc

QUARTERLY = Cadence(BillingPeriod.QUARTERLY)
ANNUAL = Cadence(BillingPeriod.ANNUAL)
ONETIME = Cadence(BillingPeriod.ONETIME)
ARREAR = InvoiceCadence.ARREAR


def shown(invoice: DueInvoice | None) -> list[tuple[str, str, str, str]]:
    """(line item, first day, last day, share) of each line."""
    assert invoice is not None
    return [
        (line.line_item_id, f"{line.period.start:%m-%d}", f"{line.period.end:%m-%d}", str(line.share))
        for line in invoice.lines
    ]


def closes(agreed: Terms, count: int) -> list[DueInvoice]:
    """The invoices of the first `count` boundaries."""
    state, made = open_subscription(agreed).state, []
    for _ in range(count):
        step = close_period(agreed, state)
        state = step.state
        assert step.invoice is not None
        made.append(step.invoice)
    return made


def billed_by(invoice: DueInvoice | None, credited: str = "0") -> tuple[BilledLine, ...]:
    """The advance lines of an invoice, as a later credit needs them."""
    assert invoice is not None
    lines: list[InvoiceLine] = [
        line
        for line in build_invoice(inputs(*invoice.lines)).lines
        if line.derivation.price is not None and line.derivation.price.invoice_cadence is InvoiceCadence.ADVANCE
    ]
    return tuple(billed_line("inv_1", f"li_{i}", line, Decimal(credited)) for i, line in enumerate(lines))


def test_a_subscription_that_ends_in_its_first_period_pays_for_its_days() -> None:
    support = replace(seat(cadence=ANNUAL), id="support")
    opening = open_subscription(terms(seat(), support, start="2025-02-01", end_date="2025-02-15"))
    assert opening.state.current_period == span("2025-02-01", "2025-02-15")
    # 14 of 28 days, and of 365
    assert shown(opening.invoice) == [("line_0", "02-01", "02-15", "1/2"), ("line_1", "02-01", "02-15", "14/365")]


def test_opening_bills_what_is_due_in_advance() -> None:
    opening = open_subscription(terms(seat(), talk()))
    assert opening.state == SubscriptionState(SubscriptionStatus.active, span("2025-01-31", "2025-02-28"))
    assert opening.invoice is not None
    assert (opening.invoice.reason, opening.invoice.at) == (BillingReason.SUBSCRIPTION_CREATE, utc("2025-01-31"))
    assert shown(opening.invoice) == [("line_0", "01-31", "02-28", "1")]
    assert finalize_at(opening.invoice, 7200) == utc("2025-01-31")  # no usage, no grace


def test_opening_without_advance_lines_makes_no_invoice() -> None:
    assert open_subscription(terms(talk())).invoice is None


def test_a_boundary_closes_arrears_and_opens_advance_in_plan_order() -> None:
    first, second = closes(terms(seat(), talk()), 2)
    assert first.period == span("2025-01-31", "2025-02-28")
    assert shown(first) == [("line_0", "02-28", "03-31", "1"), ("line_1", "01-31", "02-28", "1")]
    assert shown(second) == [("line_0", "03-31", "04-30", "1"), ("line_1", "02-28", "03-31", "1")]
    assert finalize_at(first, 7200) == utc("2025-02-28T02:00")


def test_a_calendar_start_costs_its_share_of_fixed_prices_only() -> None:
    agreed = terms(seat(), talk(), start="2025-01-15", cycle=BillingCycle.calendar, proration=ProrationBehavior.none)
    opening = open_subscription(agreed)
    assert shown(opening.invoice) == [("line_0", "01-15", "02-01", "17/31")]  # whatever the proration behaviour
    (first,) = closes(agreed, 1)
    assert shown(first) == [("line_0", "02-01", "03-01", "1"), ("line_1", "01-15", "02-01", "1")]


def test_an_anchored_start_is_short_never_long() -> None:
    opening = open_subscription(terms(seat(), start="2025-01-20", anchor="2025-03-05"))
    assert shown(opening.invoice) == [("line_0", "01-20", "02-05", "16/31")]  # of 5 January to 5 February


def test_arrear_fixed_line_costs_its_share_of_a_short_period() -> None:
    agreed = terms(seat(invoice_cadence=ARREAR), start="2025-01-15", cycle=BillingCycle.calendar)
    assert shown(closes(agreed, 1)[0]) == [("line_0", "01-15", "02-01", "17/31")]


def test_a_known_end_counts_in_advance_and_the_last_period_is_billed() -> None:
    agreed = terms(seat(), talk(), start="2025-01-01", end_date="2025-02-15")
    first, last = closes(agreed, 2)
    assert shown(first)[0] == ("line_0", "02-01", "02-15", "1/2")  # 14 of 28 days
    assert last.period == span("2025-02-01", "2025-02-15")
    assert shown(last) == [("line_1", "02-01", "02-15", "1")]
    state = SubscriptionState(SubscriptionStatus.active, last.period)
    ended = close_period(agreed, state).state
    assert (ended.status, ended.cancelled_at, ended.next_boundary) == ("cancelled", utc("2025-02-15"), None)
    with pytest.raises(Conflict):
        close_period(agreed, ended)


def test_longer_cadence_is_billed_where_its_own_boundary_lies() -> None:
    agreed = terms(
        seat(cadence=QUARTERLY), seat(cadence=QUARTERLY, invoice_cadence=ARREAR), talk(QUARTERLY), start="2025-01-01"
    )
    assert shown(open_subscription(agreed).invoice) == [("line_0", "01-01", "04-01", "1")]
    january, february, march = closes(agreed, 3)
    assert (january.lines, february.lines) == ((), ())
    assert shown(march) == [
        ("line_0", "04-01", "07-01", "1"), ("line_1", "01-01", "04-01", "1"), ("line_2", "01-01", "04-01", "1"),
    ]  # fmt: skip


def test_shorter_cadence_has_a_line_for_each_of_its_periods() -> None:
    agreed = terms(seat(), seat(invoice_cadence=ARREAR), start="2025-01-31", cadence=ANNUAL)
    opening = shown(open_subscription(agreed).invoice)
    assert [line[1] for line in opening] == [
        "01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30", "12-31",
    ]  # fmt: skip
    year_end = shown(closes(agreed, 1)[0])
    assert [line[0] for line in year_end] == ["line_0"] * 12 + ["line_1"] * 12
    assert year_end[12][1:3] == ("01-31", "02-28")


def test_three_months_and_a_quarter_are_the_same_cadence() -> None:
    agreed = terms(
        seat(cadence=QUARTERLY), start="2025-01-15", cadence=Cadence(BillingPeriod.MONTHLY, 3), anchor="2025-02-01"
    )
    assert shown(open_subscription(agreed).invoice) == [("line_0", "01-15", "02-01", "17/92")]  # of 1 November on


def test_another_cadence_runs_from_its_start_also_with_calendar_billing() -> None:
    agreed = terms(seat(cadence=QUARTERLY), start="2025-01-15", cycle=BillingCycle.calendar)
    assert shown(open_subscription(agreed).invoice) == [("line_0", "01-15", "04-15", "1")]


def test_one_time_lines_are_billed_once_on_the_first_invoice() -> None:
    agreed = terms(seat(cadence=ONETIME), start="2025-01-01")
    assert shown(open_subscription(agreed).invoice) == [("line_0", "01-01", "01-01", "1")]
    assert [invoice.lines for invoice in closes(agreed, 2)] == [(), ()]


def test_min_quantity_is_charged_at_least() -> None:
    opening = open_subscription(terms(seat(min_quantity="10")))
    assert opening.invoice is not None
    assert opening.invoice.lines[0].quantity == 10


def test_immediate_cancel_bills_final_usage_and_credits_unused_advance_time() -> None:
    agreed = terms(seat(), talk(), start="2025-02-01")
    opening = open_subscription(agreed)
    step = cancel(agreed, opening.state, utc("2025-02-15"), CancellationType.immediate, billed_by(opening.invoice))
    assert step.state.status is SubscriptionStatus.cancelled
    assert step.invoice is not None
    assert step.invoice.period == span("2025-02-01", "2025-02-15")
    assert shown(step.invoice) == [("line_1", "02-01", "02-15", "1"), ("line_0", "02-15", "03-01", "1/2")]
    assert step.invoice.lines[1].kind is LineKind.proration_credit


def test_cancel_options() -> None:
    agreed = terms(seat(), seat(invoice_cadence=ARREAR), talk(), start="2025-02-01")
    opening = open_subscription(agreed)
    billed = billed_by(opening.invoice)
    at = utc("2025-02-15")
    none = cancel(agreed, opening.state, at, CancellationType.immediate, billed, ProrationBehavior.none)
    assert shown(none.invoice) == [("line_1", "02-01", "02-15", "1/2"), ("line_2", "02-01", "02-15", "1")]
    skipped = cancel(
        agreed, opening.state, at, CancellationType.immediate, billed, ProrationBehavior.none, FinalUsage.skip
    )
    assert shown(skipped.invoice) == [("line_1", "02-01", "02-15", "1/2")]


def test_cancel_credits_lines_that_were_billed_for_later_months() -> None:
    agreed = terms(seat(), start="2025-01-01", cadence=ANNUAL)
    opening = open_subscription(agreed)
    billed = billed_by(opening.invoice)
    step = cancel(agreed, opening.state, utc("2025-11-16"), CancellationType.immediate, billed)
    assert shown(step.invoice) == [("line_0", "11-16", "12-01", "1/2"), ("line_0", "12-01", "01-01", "1")]


def test_what_was_credited_whole_is_not_credited_again() -> None:
    agreed = terms(seat(), start="2025-02-01")
    opening = open_subscription(agreed)
    step = cancel(
        agreed, opening.state, utc("2025-02-15"), CancellationType.immediate, billed_by(opening.invoice, "62.5")
    )
    assert shown(step.invoice) == []


def test_cancel_at_the_period_end() -> None:
    agreed = terms(seat(), talk(), start="2025-02-01")
    step = cancel(agreed, open_subscription(agreed).state, utc("2025-02-10"), CancellationType.end_of_period)
    assert step.invoice is None
    assert (step.state.status, step.state.cancel_at) == ("active", utc("2025-03-01"))
    end = close_period(agreed, step.state)
    assert end.state.status is SubscriptionStatus.cancelled
    assert shown(end.invoice) == [("line_1", "02-01", "03-01", "1")]  # nothing in advance any more


@pytest.mark.parametrize("asked", [None, ProrationBehavior.none])
def test_cancel_at_the_period_end_credits_longer_lines(asked: ProrationBehavior | None) -> None:
    agreed = terms(seat(cadence=QUARTERLY), start="2025-01-01")
    opening = open_subscription(agreed)
    step = cancel(agreed, opening.state, utc("2025-01-10"), CancellationType.end_of_period, proration=asked)
    end = close_period(agreed, step.state, billed_by(opening.invoice))
    credit = [("line_0", "02-01", "04-01", "59/90")]
    assert shown(end.invoice) == (credit if asked is None else [])


def test_cancel_at_the_very_start_of_a_period_bills_longer_arrears() -> None:
    agreed = terms(talk(), talk(QUARTERLY), start="2025-01-01")
    state = close_period(agreed, open_subscription(agreed).state).state
    step = cancel(agreed, state, utc("2025-02-01"), CancellationType.immediate)
    assert shown(step.invoice) == [("line_1", "01-01", "02-01", "1")]  # line_0 was closed at the boundary


@pytest.mark.parametrize("at", ["2025-01-31T23:59:59", "2025-03-01"])
def test_cancel_outside_the_current_period_is_refused(at: str) -> None:
    agreed = terms(seat(), start="2025-02-01")
    with pytest.raises(Invalid, match="current period") as caught:
        cancel(agreed, open_subscription(agreed).state, utc(at), CancellationType.immediate)
    assert caught.value.field == "cancel_at"


def test_cancel_twice_is_a_conflict() -> None:
    agreed = terms(talk(), start="2025-02-01")
    step = cancel(agreed, open_subscription(agreed).state, utc("2025-02-02"), CancellationType.immediate)
    with pytest.raises(Conflict) as caught:
        cancel(agreed, step.state, utc("2025-02-02"), CancellationType.immediate)
    assert caught.value.state == "cancelled"


def test_a_line_that_ended_is_billed_once_to_its_end() -> None:
    agreed = terms(talk(), talk(QUARTERLY), seat(cadence=QUARTERLY), start="2025-01-01")
    agreed = replace(agreed, lines=tuple(replace(line, end=utc("2025-01-21")) for line in agreed.lines))
    assert shown(open_subscription(agreed).invoice) == [("line_2", "01-01", "01-21", "2/9")]  # 20 of 90 days
    january, february, march = closes(agreed, 3)
    assert shown(january) == [("line_0", "01-01", "01-21", "1"), ("line_1", "01-01", "01-21", "1")]
    assert (february.lines, march.lines) == ((), ())


def test_past_due_comes_and_goes_but_never_wakes_the_cancelled() -> None:
    agreed = terms(talk(), start="2025-02-01")
    state = mark_past_due(open_subscription(agreed).state)
    assert state.status is SubscriptionStatus.past_due
    assert close_period(agreed, state).state.status is SubscriptionStatus.past_due
    assert clear_past_due(state).status is SubscriptionStatus.active
    gone = cancel(agreed, state, utc("2025-02-02"), CancellationType.immediate).state
    assert clear_past_due(gone).status is SubscriptionStatus.cancelled


def test_an_anchor_at_the_start_gives_a_whole_first_period() -> None:
    asked = utc("2025-01-01T10:00") + timedelta(microseconds=535_830)
    start = to_milliseconds(asked)
    anchor = billing_anchor(start, "UTC", MONTHLY, BillingCycle.anniversary, asked)
    assert next_boundary(anchor, "UTC", MONTHLY, start) - start == timedelta(days=31)


def test_refusals() -> None:
    with pytest.raises(Invalid, match="must recur"):
        terms(seat(), cadence=ONETIME)
    with pytest.raises(Invalid, match="after start_date"):
        terms(seat(), start="2025-01-01", end_date="2025-01-01")
    with pytest.raises(Invalid, match="is in jpy"):
        terms(seat(currency="jpy"))
    with pytest.raises(Invalid, match="must be absent"):
        billing_anchor(utc("2025-01-01"), "UTC", MONTHLY, BillingCycle.calendar, utc("2025-01-05"))
    with pytest.raises(Invalid, match="0 or more"):
        terms(seat(), quantity="-1")


PERIODS = [period for period in BillingPeriod if period is not BillingPeriod.ONETIME]
CADENCES = st.builds(Cadence, st.sampled_from(PERIODS), st.integers(1, 3))
STARTS = st.integers(1_600_000_000, 1_900_000_000)


def price_of(cadence: Cadence, kind: str) -> Price:
    if kind == "usage":
        return talk(cadence)
    return seat(cadence=cadence, invoice_cadence=ARREAR if kind == "arrear" else InvoiceCadence.ADVANCE)


@given(
    start=STARTS,
    cadence=CADENCES,
    lines=st.lists(st.tuples(CADENCES, st.sampled_from(["advance", "arrear", "usage"])), min_size=1, max_size=3),
    cycle=st.sampled_from(BillingCycle),
    zone=st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"]),
    boundaries=st.integers(0, 4),
    rest=st.fractions(0, 1),
)
@settings(max_examples=120, deadline=None)
def test_no_time_is_billed_twice_and_none_is_missed(
    start: int,
    cadence: Cadence,
    lines: list[tuple[Cadence, str]],
    cycle: BillingCycle,
    zone: str,
    boundaries: int,
    rest: Fraction,
) -> None:
    """Close some boundaries, cancel somewhere in the next period: each line covers its life without gap or overlap."""
    begin = utc("1970-01-01") + timedelta(seconds=start)
    begin_text = begin.replace(tzinfo=None).isoformat()
    prices = [price_of(own, kind) for own, kind in lines]
    agreed = terms(*prices, start=begin_text, cadence=cadence, cycle=cycle, zone=zone)
    step = open_subscription(agreed)
    made = [step.invoice] if step.invoice else []
    for _ in range(boundaries):
        step = close_period(agreed, step.state)
        made += [step.invoice] if step.invoice else []
    current = step.state.current_period
    at = current.start + timedelta(seconds=int(current.microseconds * rest / 1_000_001))
    final = cancel(agreed, step.state, at, CancellationType.immediate)
    assert final.invoice is not None
    for line in agreed.lines:
        spans = sorted(
            (due.period for invoice in [*made, final.invoice] for due in invoice.lines if due.line_item_id == line.id),
            key=lambda period: period.start,
        )
        covers_until = max(at, begin) if line.price.invoice_cadence is ARREAR else current.end
        assert_unbroken(spans, begin, covers_until)


def assert_unbroken(spans: list[Period], begin: datetime, until: datetime) -> None:
    """Spans touch each other from `begin` and reach `until` (advance lines of a longer cadence reach beyond)."""
    reached = begin
    for own in spans:
        assert own.start == reached
        reached = own.end
    assert reached >= until


@given(st.integers(1, 2_678_399))
def test_two_part_periods_prorate_to_the_whole(second: int) -> None:
    begin = utc("2025-01-01")
    middle = begin + timedelta(seconds=second)
    cut = terms(seat(invoice_cadence=ARREAR), start="2025-01-01")
    head = cancel(cut, open_subscription(cut).state, middle, CancellationType.immediate).invoice
    tail = terms(
        seat(invoice_cadence=ARREAR), start=middle.replace(tzinfo=None).isoformat(), cycle=BillingCycle.calendar
    )
    assert head is not None
    assert head.lines[0].share + closes(tail, 1)[0].lines[0].share == 1


def test_a_line_does_not_end_before_it_starts() -> None:
    with pytest.raises(Invalid, match="must not be before its start_date") as refusal:
        LineItem("line_0", seat(), Decimal(1), utc("2025-01-31"), utc("2025-01-30"))
    assert refusal.value.field == "end_date"


def test_a_line_has_no_negative_quantity() -> None:
    with pytest.raises(Invalid, match="quantity must be 0 or more; got -1") as refusal:
        LineItem("line_0", seat(), Decimal(-1), utc("2025-01-31"))
    assert refusal.value.field == "quantity"
