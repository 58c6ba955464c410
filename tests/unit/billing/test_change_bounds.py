"""Changes, pauses and resumptions at their bounds: the very start, a known end, lines that end or begin then."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from billing.due_lines import arrear_lines, credit_lines
from billing.errors import Conflict, Invalid
from billing.periods import BillingPeriod, Cadence
from billing.subscription_changes import (
    change_billing_period,
    change_lines,
    change_lines_at_period_end,
    lines_to_resume,
    pause,
    resume,
    with_quantity,
)
from billing.subscriptions import (
    CancellationType,
    SubscriptionState,
    SubscriptionStatus,
    cancel,
    close_period,
    open_subscription,
)
from billing.terms import BilledLine, DueLine, LineItem, LineKind, ProrationBehavior, Terms

from .builders import seat, span, talk, terms, utc

D = Decimal
ANNUAL = Cadence(BillingPeriod.ANNUAL)
FEBRUARY = terms(seat("28"), talk(), start="2025-02-01", quantity="1")
NO_CREDIT = ProrationBehavior.none


def opened(made: Terms) -> SubscriptionState:
    return open_subscription(made).state


def paid(made: Terms) -> tuple[BilledLine, ...]:
    return (BilledLine("inv", "li", "line_0", made.lines[0].price, D(1), span("2025-02-01", "2025-03-01"), D(28)),)


def test_a_line_with_another_quantity_ends_where_the_first_was_to_end() -> None:
    ends = utc("2025-06-01")
    line = replace(FEBRUARY.lines[0], end=utc("2025-02-15"), agreed_end=ends)  # it was ended for the change already
    after = with_quantity(line, "line_9", D(3), utc("2025-02-15"))
    assert (after.id, after.quantity, after.start, after.end) == ("line_9", D(3), utc("2025-02-15"), ends)


@pytest.mark.parametrize("status", [SubscriptionStatus.paused, SubscriptionStatus.cancelled])
def test_only_a_running_subscription_changes(status: SubscriptionStatus) -> None:
    state = replace(opened(FEBRUARY), status=status)
    at = utc("2025-02-10")
    with pytest.raises(Conflict, match=f"change is not possible: the subscription is {status}"):
        change_lines(FEBRUARY, state, at, ["line_0"], ())
    with pytest.raises(Conflict, match=f"change is not possible: the subscription is {status}"):
        change_lines_at_period_end(FEBRUARY, state, ["line_0"], ())
    with pytest.raises(Conflict, match=f"change is not possible: the subscription is {status}"):
        change_billing_period(FEBRUARY, state, at, ANNUAL, ())
    with pytest.raises(Conflict, match=f"pause is not possible: the subscription is {status}"):
        pause(FEBRUARY, state, at)


def test_a_longer_period_ends_with_the_subscription() -> None:
    """The annual period that starts on 15 February is cut at the known end, and so is its fixed price."""
    made = replace(FEBRUARY, end_date=utc("2025-08-16T12:00"))
    at = utc("2025-02-15")
    annual = LineItem("year", replace(seat("365", ANNUAL), id="year"), D(1), at)
    changed = change_billing_period(made, opened(made), at, ANNUAL, (annual,), paid(made))
    assert changed.state.current_period == span("2025-02-15", "2025-08-16T12:00")
    assert changed.invoice is not None
    kinds = [(line.kind, line.line_item_id, line.period) for line in changed.invoice.lines]
    assert kinds == [
        (LineKind.usage, "line_1", span("2025-02-01", "2025-02-15")),
        (LineKind.fixed, "year", span("2025-02-15", "2025-08-16T12:00")),
        (LineKind.proration_credit, "line_0", span("2025-02-15", "2025-03-01")),
    ]
    # 182.5 of 365 days
    assert changed.invoice.lines[1].share == D("0.5")


def test_a_change_bills_what_it_adds_and_nothing_else() -> None:
    """A weekly line was billed for all weeks that begin in February; a change on the 8th does not bill two again."""
    weekly = replace(seat("7", Cadence(BillingPeriod.WEEKLY)), id="weekly")
    made = replace(FEBRUARY, lines=(*FEBRUARY.lines, LineItem("w", weekly, D(1), utc("2025-02-01"))))
    new = LineItem("new", seat("56"), D(1), utc("2025-02-08"))
    changed = change_lines(made, opened(made), utc("2025-02-08"), ["line_0"], (new,))
    assert changed.invoice is not None
    assert [line.line_item_id for line in changed.invoice.lines] == ["new"]


def test_an_added_line_of_a_longer_period_ends_with_the_subscription() -> None:
    """A year from 8 February, of a subscription that ends on 12 April: 63 of 365 days."""
    made = replace(FEBRUARY, end_date=utc("2025-04-12"))
    support = LineItem("year", replace(seat("365", ANNUAL), id="year"), D(1), utc("2025-02-08"))
    changed = change_lines(made, opened(made), utc("2025-02-08"), (), (support,))
    assert changed.invoice is not None
    (line,) = changed.invoice.lines
    assert (line.period, line.share) == (span("2025-02-08", "2025-04-12"), Fraction(63, 365))


def test_a_line_that_ends_when_the_billing_period_changes_ended_by_itself() -> None:
    at = utc("2025-02-15")
    made = replace(FEBRUARY, lines=(FEBRUARY.lines[0], replace(FEBRUARY.lines[1], end=at, agreed_end=at)))
    changed = change_billing_period(made, opened(made), at, ANNUAL, ())
    assert [line.end for line in changed.terms.lines] == [at, at]


def test_a_change_that_asks_for_no_credit_gives_none() -> None:
    at = utc("2025-02-15")
    changed = change_billing_period(FEBRUARY, opened(FEBRUARY), at, ANNUAL, (), paid(FEBRUARY), NO_CREDIT)
    paused = pause(FEBRUARY, opened(FEBRUARY), at, paid(FEBRUARY), NO_CREDIT)
    for invoice in (changed.invoice, paused.invoice):
        assert invoice is not None
        assert [line.kind for line in invoice.lines] == [LineKind.usage]


def test_a_pause_at_the_very_start_ends_what_starts_there_and_leaves_what_has_ended() -> None:
    start = utc("2025-02-01")
    ended = replace(FEBRUARY.lines[1], end=start)
    made = replace(FEBRUARY, lines=(FEBRUARY.lines[0], ended))
    after = pause(made, opened(made), start).terms
    assert [line.end for line in after.lines] == [start, start]


def later(name: str, start: str, end: str | None = None) -> LineItem:
    until = None if end is None else utc(end)
    return LineItem(name, replace(seat("7"), id=name), D(1), utc(start), until, agreed_end=until)


def test_what_goes_on_after_a_pause() -> None:
    """Paused on 10 February, resumed on 20 March."""
    made = replace(FEBRUARY, lines=(
        *FEBRUARY.lines,
        later("in the pause", "2025-03-01"),
        later("cut in the pause", "2025-03-01", "2025-03-10"),
        replace(later("never", "2025-03-01"), end=utc("2025-03-01")),  # it was removed before it could begin
        later("until the resumption", "2025-02-01", "2025-03-20"),
        later("just beyond", "2025-02-01", "2025-03-21"),
        later("at the resumption", "2025-03-20"),
        later("after it", "2025-04-01"),
    ))  # fmt: skip
    paused_at, at = utc("2025-02-10"), utc("2025-03-20")
    paused = pause(made, opened(made), paused_at)
    going_on = [line.id for line in lines_to_resume(paused.terms, paused_at, at)]
    assert going_on == ["line_0", "line_1", "in the pause", "just beyond"]
    resumed = resume(paused.terms, paused.state, at, {name: f"{name}, again" for name in going_on})
    in_force = {line.id: (line.start, line.end) for line in resumed.terms.lines if line.end is None or line.end > at}
    assert in_force == {
        "line_0, again": (at, None),
        "line_1, again": (at, None),
        "in the pause, again": (at, None),
        "just beyond, again": (at, utc("2025-03-21")),
        "at the resumption": (at, None),
        "after it": (utc("2025-04-01"), None),
    }
    never = next(line for line in resumed.terms.lines if line.id == "in the pause")
    assert (never.start, never.end) == (utc("2025-03-01"), utc("2025-03-01"))


def test_a_resumption_bills_up_to_the_known_end_and_only_what_is_in_force() -> None:
    made = replace(FEBRUARY, end_date=utc("2025-03-25"))
    paused = pause(made, opened(made), utc("2025-02-10"))
    names = {"line_0": "line_2", "line_1": "line_3"}
    resumed = resume(paused.terms, paused.state, utc("2025-03-20"), names)
    assert resumed.state.current_period == span("2025-03-20", "2025-03-25")
    assert resumed.invoice is not None
    assert [(line.line_item_id, line.period) for line in resumed.invoice.lines] == [
        ("line_2", span("2025-03-20", "2025-03-25"))
    ]


def test_a_pause_may_end_at_once_but_not_before_it_began() -> None:
    at = utc("2025-02-10")
    paused = pause(FEBRUARY, opened(FEBRUARY), at)
    names = {"line_0": "line_2", "line_1": "line_3"}
    assert resume(paused.terms, paused.state, at, names).state.current_period == span("2025-02-10", "2025-03-10")
    with pytest.raises(Invalid, match="not be before the pause") as refusal:
        resume(paused.terms, paused.state, utc("2025-02-09"), names)
    assert refusal.value.field == "at"


def test_what_a_due_line_says_beside_its_share() -> None:
    """Usage is not known yet, so its quantity is 0; a credit keeps the quantity and the whole period of its charge."""
    february, rest = span("2025-02-01", "2025-03-01"), span("2025-02-15", "2025-03-01")
    (usage,) = arrear_lines(FEBRUARY, february, None)
    assert usage == DueLine(LineKind.usage, "line_1", talk(), D(0), february, Fraction(1), february)
    # 14 of the 28 days are left of 28.00
    (billed,) = paid(FEBRUARY)
    (credit,) = credit_lines(FEBRUARY, (billed,), rest.start)
    assert credit == DueLine(
        LineKind.proration_credit, "line_0", billed.price, D(1), rest, Fraction(1, 2), february, billed
    )


def test_a_cancellation_at_once_ends_the_period_and_says_when() -> None:
    at = utc("2025-02-15")
    state = cancel(FEBRUARY, opened(FEBRUARY), at, CancellationType.immediate).state
    assert state == SubscriptionState(
        SubscriptionStatus.cancelled, span("2025-02-01", "2025-02-15"), cancel_at=at, cancelled_at=at
    )
    assert state.next_boundary is None


@pytest.mark.parametrize("status", [SubscriptionStatus.paused, SubscriptionStatus.cancelled])
def test_only_a_running_subscription_reaches_its_boundary_or_is_cancelled(status: SubscriptionStatus) -> None:
    state = replace(opened(FEBRUARY), status=status)
    with pytest.raises(Conflict, match=f"close_period is not possible: the subscription is {status}") as refusal:
        close_period(FEBRUARY, state)
    assert refusal.value.state == status
    with pytest.raises(Conflict, match=f"cancel is not possible: the subscription is {status}") as refusal:
        cancel(FEBRUARY, state, utc("2025-02-15"), CancellationType.immediate)
    assert refusal.value.state == status
