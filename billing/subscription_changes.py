"""Changes of a running subscription: plan, quantity, add-ons, billing period, pause and resume.

Owns which lines end and start, and the invoice that a change makes at once. What was agreed changes with the state:
each function returns both. Rules: billing-rules.md section 5. A boundary at the instant of a change must have been
closed before. Ids of new line items come from the caller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from billing.due_lines import advance_lines, arrear_lines, credit_lines, unused_time_credits
from billing.errors import Conflict, Invalid
from billing.periods import BillingCycle, BillingPeriod, Cadence, Period, calendar_anchor
from billing.prices import PriceType, rate
from billing.subscriptions import SubscriptionState, SubscriptionStatus, period_from
from billing.terms import (
    BilledLine,
    BillingReason,
    DueInvoice,
    LineItem,
    LineKind,
    ProrationBehavior,
    Terms,
    of_lines,
)

_DAYS_A_MONTH: Final = Fraction(146_097, 4_800)
"""The mean month of the Gregorian calendar, for comparing plans by the day."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What is agreed and where the subscription stands after a change, and the invoice that it makes, if any."""

    terms: Terms
    state: SubscriptionState
    invoice: DueInvoice | None = None


def is_upgrade(before: Sequence[LineItem], after: Sequence[LineItem]) -> bool:
    """Whether a change acts now by itself: the recurring fixed prices cost as much or more a day than before."""
    return daily_cost(after) >= daily_cost(before)


def daily_cost(lines: Sequence[LineItem]) -> Fraction:
    """What recurring fixed lines cost a day, at their quantities."""
    cost = Fraction(0)
    for line in lines:
        cadence = line.price.cadence
        if line.price.type is PriceType.FIXED and cadence.period is not BillingPeriod.ONETIME:
            days = cadence.days or cadence.months * _DAYS_A_MONTH
            cost += rate(line.price, line.charged_quantity).amount / days
    return cost


def change_lines(
    terms: Terms,
    state: SubscriptionState,
    at: datetime,
    removed: Sequence[str],
    added: Sequence[LineItem],
    billed: Sequence[BilledLine] = (),
    proration: ProrationBehavior | None = None,
) -> Changed:
    """Replaces lines at `at`, inside the current period, which goes on: a change of plan, quantity or add-ons.

    With create_prorations the unused time of what was `billed` for the `removed` lines is credited and what the `added`
    ones charge in advance for the rest of their periods is billed, on one invoice over [at, period end). Without, only
    whole periods and one-time charges that start now are billed. Usage and arrears of ended lines are billed when the
    period closes. Raises Conflict, and Invalid naming the field.
    """
    _require_active(state, "change")
    _require_inside(state, at)
    after = replace(terms, lines=_exchanged(terms, removed, added, at))
    span = Period(at, state.current_period.end)
    known_end = _known_end(terms, state)
    own = of_lines(after, added)
    charges = advance_lines(own, span, known_end)
    lines = tuple(line for line in charges if line.share == 1)
    if (proration or terms.proration_behavior) is ProrationBehavior.create_prorations:
        lines += credit_lines(terms, tuple(line for line in billed if line.line_item_id in set(removed)), at)
        lines += tuple(replace(line, kind=LineKind.proration_charge) for line in charges if line.share != 1)
    invoice = DueInvoice(BillingReason.SUBSCRIPTION_UPDATE, at, span, lines) if lines else None
    return Changed(after, state, invoice)


def change_lines_at_period_end(
    terms: Terms, state: SubscriptionState, removed: Sequence[str], added: Sequence[LineItem]
) -> Changed:
    """The same at the end of the current period: closing it bills the old lines and opens the next with the new.

    To be called before that boundary is closed; until then it can be forgotten.
    """
    _require_active(state, "change")
    at = state.current_period.end
    return Changed(replace(terms, lines=_exchanged(terms, removed, added, at)), state)


def with_quantity(line: LineItem, new_id: str, quantity: Decimal, at: datetime) -> LineItem:
    """The line that follows `line` from `at` on, with another quantity, until the end that was agreed for it."""
    return replace(line, id=new_id, quantity=quantity, start=at, end=line.agreed_end)


def change_billing_period(
    terms: Terms,
    state: SubscriptionState,
    at: datetime,
    cadence: Cadence,
    added: Sequence[LineItem],
    billed: Sequence[BilledLine] = (),
    proration: ProrationBehavior | None = None,
) -> Changed:
    """Closes the period at `at` and starts a whole new one of another length there: every line ends, `added` start.

    The anchor becomes `at`, or the next calendar unit. The invoice bills usage and arrears up to `at`, credits unused
    time and bills the new period in advance. `at` may be the period's end: then this closes it, in place of
    `close_period`; not for a subscription that ends there.
    """
    _require_active(state, "change")
    at_end = at == state.current_period.end
    if not at_end:
        _require_inside(state, at)
    current = [line.id for line in terms.lines if line.end is None or line.end > at]
    old = replace(terms, lines=_ended(terms, current, at))
    anchor = calendar_anchor(at, terms.zone, cadence) if terms.cycle is BillingCycle.calendar else at
    after = replace(old, cadence=cadence, anchor=anchor, lines=(*old.lines, *_checked(added, at)))
    known_end = _known_end(terms, state)
    opened = period_from(after, at, known_end)
    closed = Period(state.current_period.start, at)
    lines = (
        *arrear_lines(old, closed, at),
        *advance_lines(of_lines(after, added), opened, known_end),
        *unused_time_credits(terms, proration, billed, at),
    )
    reason = BillingReason.SUBSCRIPTION_CYCLE if at_end else BillingReason.SUBSCRIPTION_UPDATE
    return Changed(after, replace(state, current_period=opened), DueInvoice(reason, at, closed, lines))


def pause(
    terms: Terms,
    state: SubscriptionState,
    at: datetime,
    billed: Sequence[BilledLine] = (),
    proration: ProrationBehavior | None = None,
) -> Changed:
    """Closes the period at `at`: usage and arrears are billed, unused time is credited, and then nothing accrues.

    Lines that are to begin later stay as they are.
    """
    _require_active(state, "pause")
    _require_inside(state, at)
    current = [line.id for line in terms.lines if line.start <= at and (line.end is None or line.end > at)]
    after = replace(terms, lines=_ended(terms, current, at))
    closed = Period(state.current_period.start, at)
    lines = arrear_lines(after, closed, at) + unused_time_credits(terms, proration, billed, at)
    invoice = DueInvoice(BillingReason.SUBSCRIPTION_CYCLE, at, closed, lines)
    return Changed(after, replace(state, status=SubscriptionStatus.paused, current_period=closed), invoice)


def lines_to_resume(terms: Terms, paused_at: datetime, at: datetime) -> tuple[LineItem, ...]:
    """The lines that go on, or begin, at `at` after a pause: those that it ended, and those due to begin during it.

    One-time charges are not repeated; what was agreed to end during the pause has ended.
    """

    def goes_on(line: LineItem) -> bool:
        if line.price.cadence.period is BillingPeriod.ONETIME or (
            line.agreed_end is not None and line.agreed_end <= at
        ):
            return False
        begins = paused_at < line.start < at and (line.end is None or line.end > line.start)
        return begins or line.end == paused_at

    return tuple(line for line in terms.lines if goes_on(line))


def resume(terms: Terms, state: SubscriptionState, at: datetime, new_ids: Mapping[str, str]) -> Changed:
    """Starts a new period at `at` with the `lines_to_resume`; `new_ids` name their successors.

    The anchor becomes `at`, or the next calendar unit. Raises Conflict unless it is paused.
    """
    if state.status is not SubscriptionStatus.paused:
        raise Conflict(f"resume is not possible: the subscription is {state.status}", state=state.status)
    paused_at = state.current_period.end
    if at < paused_at:
        raise Invalid(f"resume must not be before the pause at {paused_at.isoformat()}", field="at")
    resumed = {line.id for line in lines_to_resume(terms, paused_at, at)}
    lines: list[LineItem] = []
    for line in terms.lines:
        if line.id in resumed:
            lines.append(replace(line, end=max(line.start, paused_at)))
            lines.append(replace(line, id=new_ids[line.id], start=at, end=line.agreed_end))
        else:
            lines.append(line)
    anchor = calendar_anchor(at, terms.zone, terms.cadence) if terms.cycle is BillingCycle.calendar else at
    after = replace(terms, anchor=anchor, lines=tuple(lines))
    known_end = _known_end(terms, state)
    if known_end is not None and known_end <= at:
        raise Conflict(f"resume is not possible: the subscription ended at {known_end.isoformat()}", state=state.status)
    opened = period_from(after, at, known_end)
    to_come = tuple(line for line in after.lines if line.start >= at)
    due = advance_lines(of_lines(after, to_come), opened, known_end)
    invoice = DueInvoice(BillingReason.SUBSCRIPTION_UPDATE, at, opened, due) if due else None
    return Changed(after, replace(state, status=SubscriptionStatus.active, current_period=opened), invoice)


def _ended(terms: Terms, removed: Sequence[str], at: datetime) -> tuple[LineItem, ...]:
    """The lines with `removed` ended at `at`; what was to begin later never does."""
    running = {line.id for line in terms.lines if line.end is None or line.end > at}
    for name in removed:
        if name not in running:
            raise Invalid(f"line {name} is not in force at {at.isoformat()}", field="line_items")
    return tuple(replace(line, end=max(line.start, at)) if line.id in set(removed) else line for line in terms.lines)


def _exchanged(terms: Terms, removed: Sequence[str], added: Sequence[LineItem], at: datetime) -> tuple[LineItem, ...]:
    """The lines after a change: `added` stand behind the last of the `removed`, or behind all where none is."""
    lines, new = list(_ended(terms, removed, at)), _checked(added, at)
    places = [place for place, line in enumerate(lines) if line.id in set(removed)]
    behind = places[-1] + 1 if places else len(lines)
    return (*lines[:behind], *new, *lines[behind:])


def _checked(added: Sequence[LineItem], at: datetime) -> Sequence[LineItem]:
    for line in added:
        if line.start < at:
            raise Invalid(f"line {line.id} must not start before {at.isoformat()}", field="start_date")
    return added


def _known_end(terms: Terms, state: SubscriptionState) -> datetime | None:
    return min((end for end in (terms.end_date, state.cancel_at) if end is not None), default=None)


def _require_inside(state: SubscriptionState, at: datetime) -> None:
    current = state.current_period
    if not current.contains(at):
        span = f"{current.start.isoformat()} to {current.end.isoformat()}"
        raise Invalid(f"at must lie in the current period, {span}", field="at")


def _require_active(state: SubscriptionState, command: str) -> None:
    if state.status not in (SubscriptionStatus.active, SubscriptionStatus.past_due):
        raise Conflict(f"{command} is not possible: the subscription is {state.status}", state=state.status)
