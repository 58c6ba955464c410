"""Changes of plan, quantity, add-ons and billing period, worked by hand; and that all adds up."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import Conflict, Invalid
from billing.invoices import build_invoice
from billing.money import ZERO, total
from billing.periods import BillingCycle, BillingPeriod, Cadence
from billing.prices import InvoiceCadence, Price
from billing.subscription_changes import (
    change_billing_period,
    change_lines,
    change_lines_at_period_end,
    is_upgrade,
    pause,
    resume,
    with_quantity,
)
from billing.subscriptions import (
    open_subscription,
    period_from,
)
from billing.terms import BillingReason, LineItem, LineKind, ProrationBehavior

from .builders import MONTHLY, inputs, seat, span, talk, terms, utc
from .story import ANNUAL, FEBRUARY, item, on_trial, shown, story

NONE = ProrationBehavior.none
ARREAR = InvoiceCadence.ARREAR


# Changes of lines.


def test_an_upgrade_in_the_middle_of_a_period() -> None:
    told = story(FEBRUARY)
    new = item("line_9", seat("56"), "2025-02-08", "1")
    invoice = told.change(
        change_lines(told.terms, told.state, utc("2025-02-08"), ["line_0"], [new], told.beyond("2025-02-08"))
    )
    # 21 of 28 days are left: 21 back, 42 to pay
    assert shown(invoice) == [
        ("proration_credit", "line_0", "02-08 03-01", "-21.00"),
        ("proration_charge", "line_9", "02-08 03-01", "42.00"),
    ]
    # the period goes on, and the next is the new line's alone
    assert told.state.current_period == span("2025-02-01", "2025-03-01")
    assert shown(told.close()) == [("fixed", "line_9", "03-01 04-01", "56.00")]


def test_two_changes_in_one_period_never_shrink_twice() -> None:
    told = story(FEBRUARY)
    for day, name, quantity in (("2025-02-08", "b", "2"), ("2025-02-15", "c", "3")):
        at = utc(day)
        old = told.terms.lines[-1]
        new = with_quantity(old, name, Decimal(quantity), at)
        told.change(change_lines(told.terms, told.state, at, [old.id], [new], told.beyond(day)))
    # second change: half of the month is left. b was billed 42 for 21 days, of which 14 are unused: 28 back, 42 to pay
    assert shown(told.invoices[-1]) == [
        ("proration_credit", "b", "02-15 03-01", "-28.00"),
        ("proration_charge", "c", "02-15 03-01", "42.00"),
    ]
    # 7 days x 1, 7 x 2, 14 x 3
    assert total(invoice.subtotal for invoice in told.invoices) == 63


def test_a_smaller_quantity_carries_credit_to_the_customer() -> None:
    told = story(replace(FEBRUARY, lines=(replace(FEBRUARY.lines[0], quantity=Decimal(4)),)))
    new = with_quantity(told.terms.lines[0], "b", Decimal(1), utc("2025-02-15"))
    invoice = told.change(
        change_lines(told.terms, told.state, utc("2025-02-15"), ["line_0"], [new], told.beyond("2025-02-15"))
    )
    assert invoice is not None
    assert [str(line.amount) for line in invoice.lines] == ["-56.00", "14.00", "42.00"]
    assert (invoice.total, invoice.carried.amount) == (ZERO, Decimal(42))


def test_without_prorations_only_what_starts_whole_is_billed() -> None:
    told = story(FEBRUARY)
    at = utc("2025-02-08")
    setup = seat("10", Cadence(BillingPeriod.ONETIME))
    support = replace(seat("365", ANNUAL), id="price_support")
    added = [
        item("b", seat("56"), "2025-02-08"),
        item("c", setup, "2025-02-08", "1"),
        item("d", support, "2025-02-08", "1"),
    ]
    plain = change_lines(told.terms, told.state, at, ["line_0"], added, told.beyond("2025-02-08"), NONE)
    assert plain.invoice is not None
    assert [(line.line_item_id, line.kind) for line in plain.invoice.lines] == [
        ("c", LineKind.fixed),
        ("d", LineKind.fixed),
    ]
    nothing = change_lines(told.terms, told.state, at, ["line_0"], added[:1], told.beyond("2025-02-08"), NONE)
    assert nothing.invoice is None
    # and with them the whole ones stand first
    full = change_lines(told.terms, told.state, at, ["line_0"], added, told.beyond("2025-02-08"))
    assert shown(
        story(FEBRUARY).take(None) or build_invoice(inputs(*(full.invoice.lines if full.invoice else ())))
    ) == [
        ("fixed", "c", "02-08 02-08", "10.00"),
        ("fixed", "d", "02-08 02-08", "365.00"),
        ("proration_credit", "line_0", "02-08 03-01", "-21.00"),
        ("proration_charge", "b", "02-08 03-01", "210.00"),
    ]


def test_usage_and_arrears_of_ended_lines_are_billed_at_the_close() -> None:
    arrears = replace(seat("28", invoice_cadence=ARREAR), id="price_arrears")
    told = story(terms(talk(), arrears, start="2025-02-01", quantity="1"))
    at = utc("2025-02-08")
    added = [item("b", talk(), "2025-02-08"), item("c", replace(arrears, amount=Decimal(56)), "2025-02-08", "1")]
    changed = change_lines(told.terms, told.state, at, ["line_0", "line_1"], added)
    assert changed.invoice is None
    told.change(changed)
    assert shown(told.close()) == [
        ("usage", "line_0", "02-01 02-08", "0.00"),
        ("fixed", "line_1", "02-01 02-08", "7.00"),  # a quarter of 28
        ("usage", "b", "02-08 03-01", "0.00"),
        ("fixed", "c", "02-08 03-01", "42.00"),  # three quarters of 56
    ]
    # and never again
    assert [line[1] for line in shown(told.close())] == ["b", "c"]


def test_a_downgrade_waits_for_the_period_end() -> None:
    told = story(terms(seat("56"), replace(seat("365", ANNUAL), id="price_support"), start="2025-02-01", quantity="1"))
    new = item("b", seat("28"), "2025-03-01", "1")
    told.change(change_lines_at_period_end(told.terms, told.state, ["line_0", "line_1"], [new]))
    assert shown(told.close()) == [
        ("fixed", "b", "03-01 04-01", "28.00"),
        # the year of support was billed in advance: 337 of 365 days come back, 309 of them beyond this invoice
        ("proration_credit", "line_1", "03-01 02-01", "-337.00"),
        ("adjustment", "", "02-28 02-28", "309.00"),
    ]
    assert shown(told.close()) == [("fixed", "b", "04-01 05-01", "28.00")]


def test_lines_stand_where_the_ones_they_replace_stood() -> None:
    made = terms(seat(), talk(), start="2025-02-01")
    state = open_subscription(made).state
    replaced = change_lines(made, state, utc("2025-02-08"), ["line_0"], [item("b", seat(), "2025-02-08")]).terms
    assert [line.id for line in replaced.lines] == ["line_0", "b", "line_1"]
    addon = change_lines(made, state, utc("2025-02-08"), [], [item("b", seat(), "2025-02-08")]).terms
    assert [line.id for line in addon.lines] == ["line_0", "line_1", "b"]


@pytest.mark.parametrize(
    ("before", "after", "up"),
    [
        ([seat("10")], [seat("20")], True),
        ([seat("20")], [seat("10")], False),
        ([seat("10")], [seat("10"), talk()], True),  # equal: now
        ([seat("100", ANNUAL)], [seat("10")], True),  # 100 a year against 120
        ([seat("121", ANNUAL)], [seat("10")], False),
        ([seat("7", Cadence(BillingPeriod.WEEKLY))], [seat("1", Cadence(BillingPeriod.DAILY))], True),
        ([seat("10")], [seat("10"), seat("99", Cadence(BillingPeriod.ONETIME))], True),
        ([seat("10", min_quantity="9")], [seat("17")], False),  # 90 against 85
    ],
)
def test_what_is_an_upgrade(before: list[Price], after: list[Price], up: bool) -> None:
    def lines(prices: list[Price]) -> list[LineItem]:
        return [item(f"l{place}", price, "2025-02-01") for place, price in enumerate(prices)]

    assert is_upgrade(lines(before), lines(after)) is up


# Another billing period.


def test_a_change_to_yearly_starts_a_whole_new_period_and_moves_the_anchor() -> None:
    told = story(terms(seat("28"), talk(), start="2025-02-01", quantity="1"))
    yearly = item("b", seat("365", ANNUAL), "2025-02-15", "1")
    invoice = told.change(
        change_billing_period(told.terms, told.state, utc("2025-02-15"), ANNUAL, [yearly], told.beyond("2025-02-15"))
    )
    assert shown(invoice) == [
        ("usage", "line_1", "02-01 02-15", "0.00"),
        ("fixed", "b", "02-15 02-15", "365.00"),
        ("proration_credit", "line_0", "02-15 03-01", "-14.00"),
    ]
    assert told.state.current_period == span("2025-02-15", "2026-02-15")
    assert [line.end for line in told.terms.lines] == [utc("2025-02-15"), utc("2025-02-15"), None]
    calendar = terms(seat("28"), start="2025-01-01", cycle=BillingCycle.calendar, quantity="1")
    yearly = item("b", seat("365", ANNUAL), "2025-01-10")
    state = open_subscription(calendar).state
    changed = change_billing_period(calendar, state, utc("2025-01-10"), ANNUAL, [yearly], proration=NONE)
    assert changed.state.current_period == span("2025-01-10", "2026-01-01")
    assert changed.invoice is not None
    assert [line.share for line in changed.invoice.lines] == [Fraction(356, 365)]


def test_a_change_to_yearly_at_the_periods_end_bills_whole_arrears_and_a_whole_year() -> None:
    support = replace(seat("90", Cadence(BillingPeriod.QUARTERLY)), id="price_support")
    told = story(terms(seat("28"), talk(), support, start="2025-02-01", quantity="1"))
    yearly = item("b", seat("365", ANNUAL), "2025-03-01", "1")
    invoice = told.change(
        change_billing_period(told.terms, told.state, utc("2025-03-01"), ANNUAL, [yearly], told.beyond("2025-03-01"))
    )
    assert shown(invoice) == [
        ("usage", "line_1", "02-01 03-01", "0.00"),
        ("fixed", "b", "03-01 03-01", "365.00"),
        ("proration_credit", "line_2", "03-01 05-01", "-61.69"),  # 61 of 89 days of the quarter that the month cut
    ]
    assert invoice is not None
    assert invoice.reason is BillingReason.SUBSCRIPTION_CYCLE
    assert told.state.current_period == span("2025-03-01", "2026-03-01")


RUNNING = open_subscription(FEBRUARY).state
PAUSED = pause(FEBRUARY, RUNNING, utc("2025-02-10"))
TRIAL = on_trial(FEBRUARY, "2025-02-20")
ENDING = replace(PAUSED.terms, end_date=utc("2025-02-15"))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: change_lines(FEBRUARY, RUNNING, utc("2025-03-01"), [], []), Invalid),
        (lambda: change_lines(FEBRUARY, RUNNING, utc("2025-01-31"), [], []), Invalid),
        (lambda: change_lines(FEBRUARY, RUNNING, utc("2025-02-08"), ["line_9"], []), Invalid),
        (lambda: change_lines(FEBRUARY, RUNNING, utc("2025-02-08"), [], [item("b", seat(), "2025-02-07")]), Invalid),
        (lambda: change_lines(TRIAL, open_subscription(TRIAL).state, utc("2025-02-08"), [], []), Conflict),
        (lambda: change_lines_at_period_end(PAUSED.terms, PAUSED.state, [], []), Conflict),
        (lambda: change_billing_period(FEBRUARY, RUNNING, utc("2025-03-02"), ANNUAL, []), Invalid),
        (lambda: change_billing_period(PAUSED.terms, PAUSED.state, utc("2025-02-08"), ANNUAL, []), Conflict),
        (lambda: pause(FEBRUARY, RUNNING, utc("2025-03-01")), Invalid),
        (lambda: resume(FEBRUARY, RUNNING, utc("2025-02-10"), {}), Conflict),
        (lambda: resume(PAUSED.terms, PAUSED.state, utc("2025-02-09"), {}), Invalid),
        (lambda: resume(ENDING, PAUSED.state, utc("2025-02-15"), {"line_0": "b"}), Conflict),
        (lambda: change_lines(PAUSED.terms, RUNNING, utc("2025-02-11"), ["line_0"], []), Invalid),  # ended before
    ],
)
def test_what_is_not_possible_is_refused(make: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


@given(
    st.lists(st.tuples(st.integers(0, 27 * 24 * 3600), st.integers(1, 9)), max_size=6, unique_by=lambda row: row[0]),
    st.booleans(),
)
def test_every_day_costs_its_own_quantity(rows: list[tuple[int, int]], in_arrears: bool) -> None:
    """Whatever the changes in a month, what was billed and credited is the sum of quantity x time, to a cent a line."""
    price = seat("28", invoice_cadence=ARREAR if in_arrears else InvoiceCadence.ADVANCE)
    told = story(terms(price, start="2025-02-01", quantity="1"))
    expected, last, quantity = Fraction(0), 0, 1
    for number, (second, wanted) in enumerate(sorted(rows)):
        at = utc("2025-02-01") + timedelta(seconds=second)
        old = told.terms.lines[-1]
        new = with_quantity(old, f"l{number}", Decimal(wanted), at)
        told.change(change_lines(told.terms, told.state, at, [old.id], [new], told.beyond(at.isoformat())))
        expected += Fraction(second - last, 24 * 3600) * quantity
        last, quantity = second, wanted
    expected += Fraction(28 * 24 * 3600 - last, 24 * 3600) * quantity
    told.close()
    billed = sum(
        Fraction(line.amount)
        for invoice in told.invoices
        for line in invoice.lines
        if line.kind is not LineKind.adjustment and line.period.start < utc("2025-03-01")
    )
    assert abs(billed - expected) <= Fraction(len(rows) * 2 + 1, 200)
    assert told.state.current_period == period_from(told.terms, utc("2025-03-01"), None)
    assert told.terms.cadence == MONTHLY
