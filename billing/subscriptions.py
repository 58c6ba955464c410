"""Subscriptions: their state, and the transitions open, close and cancel.

Owns what follows from a boundary or a command. Does not choose lines (billing.due_lines), does not rate, tax or sum
(billing.invoices), and does not wait (workflows). Rules: billing-rules.md sections 3, 4 and 5.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from billing.due_lines import advance_lines, arrear_lines, in_plan_order, unused_time_credits
from billing.errors import Conflict, Invalid
from billing.periods import (
    BillingCycle,
    Cadence,
    Period,
    calendar_anchor,
    check_utc,
    next_boundary,
    to_milliseconds,
)
from billing.terms import BilledLine, BillingReason, DueInvoice, LineKind, ProrationBehavior, Terms


class SubscriptionStatus(StrEnum):
    """past_due: dunning of an invoice was exhausted; the subscription goes on. A paused one accrues nothing."""

    trialing = "trialing"
    active = "active"
    past_due = "past_due"
    paused = "paused"
    cancelled = "cancelled"


class CancellationType(StrEnum):
    """Now, or when the running period ends."""

    immediate = "immediate"
    end_of_period = "end_of_period"


class FinalUsage(StrEnum):
    """Whether an immediate cancellation bills the usage up to it."""

    bill = "bill"
    skip = "skip"


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """What moves. `current_period` is the one that the next boundary closes.

    `cancel_at` is an end that was asked for, `cancel_proration` the behaviour asked for with it (None: the terms').
    """

    status: SubscriptionStatus
    current_period: Period
    cancel_at: datetime | None = None
    cancel_proration: ProrationBehavior | None = None
    cancelled_at: datetime | None = None

    @property
    def next_boundary(self) -> datetime | None:
        """When something falls due next; None once cancelled, and while paused."""
        idle = self.status in (SubscriptionStatus.cancelled, SubscriptionStatus.paused)
        return None if idle else self.current_period.end


@dataclass(frozen=True, slots=True)
class Transition:
    """The state after a step, and the invoice that the step makes due, if any."""

    state: SubscriptionState
    invoice: DueInvoice | None


def billing_anchor(
    start: datetime, zone: str, cadence: Cadence, cycle: BillingCycle, given: datetime | None
) -> datetime:
    """The anchor of a new subscription, cut to milliseconds as its start is: else a first period could last a moment.

    Raises Invalid when one is given for calendar billing.
    """
    if cycle is BillingCycle.calendar:
        if given is not None:
            raise Invalid("billing_anchor must be absent when billing_cycle is calendar", field="billing_anchor")
        return calendar_anchor(start, zone, cadence)
    return start if given is None else to_milliseconds(check_utc(given, "billing_anchor"))


def open_subscription(terms: Terms) -> Transition:
    """The first period, and the opening invoice if there is anything to bill in advance.

    With a trial the first period is the trial, for which nothing is billed.
    """
    if terms.trial_end is not None:
        ends = terms.trial_end if terms.end_date is None else min(terms.trial_end, terms.end_date)
        return Transition(SubscriptionState(SubscriptionStatus.trialing, Period(terms.start, ends)), None)
    period = period_from(terms, terms.start, terms.end_date)
    state = SubscriptionState(SubscriptionStatus.active, period)
    lines = advance_lines(terms, period, terms.end_date)
    invoice = DueInvoice(BillingReason.SUBSCRIPTION_CREATE, terms.start, period, lines) if lines else None
    return Transition(state, invoice)


def close_period(terms: Terms, state: SubscriptionState, billed: tuple[BilledLine, ...] = ()) -> Transition:
    """Closes the current period at its end: its invoice, and the next period or the end of the subscription.

    `billed` are the lines whose time reaches beyond that end: when the subscription ends there all of them are
    credited, else those whose line item ends there (a change of plan at the period's end). A trial that ends opens the
    first period; it makes an invoice if anything is billed in advance. Raises Conflict when cancelled or paused.
    """
    _require_running(state, "close_period")
    closed = state.current_period
    end = known_end(terms, state.cancel_at)
    arrears = arrear_lines(terms, closed, end)
    if end is not None and closed.end >= end:
        after = replace(state, status=SubscriptionStatus.cancelled, cancelled_at=closed.end)
        lines = arrears + unused_time_credits(terms, state.cancel_proration, billed, closed.end)
        return Transition(after, DueInvoice(BillingReason.SUBSCRIPTION_CYCLE, closed.end, closed, lines))
    opened = period_from(terms, closed.end, end)
    advances = advance_lines(terms, opened, end)
    if state.status is SubscriptionStatus.trialing:
        after = replace(state, status=SubscriptionStatus.active, current_period=opened)
        due = DueInvoice(BillingReason.SUBSCRIPTION_TRIAL_END, closed.end, opened, advances) if advances else None
        return Transition(after, due)
    ended = {line.id for line in terms.lines if line.end == closed.end}
    replaced = tuple(line for line in billed if line.line_item_id in ended)
    lines = in_plan_order(terms, arrears + advances) + unused_time_credits(terms, None, replaced, closed.end)
    return Transition(
        replace(state, current_period=opened),
        DueInvoice(BillingReason.SUBSCRIPTION_CYCLE, closed.end, closed, lines),
    )


def cancel(
    terms: Terms,
    state: SubscriptionState,
    at: datetime,
    kind: CancellationType,
    billed: tuple[BilledLine, ...] = (),
    proration: ProrationBehavior | None = None,
    final_usage: FinalUsage = FinalUsage.bill,
) -> Transition:
    """Cancels at instant `at`.

    immediate: the final invoice closes [period start, at) with its usage and, with create_prorations (`proration`, or
    the subscription's own), credits the unused time of the `billed` lines. end_of_period: only sets the end. A boundary
    at `at` must have been closed before. Raises Conflict when already cancelled, Invalid when `at` is outside the
    current period.
    """
    _require_running(state, "cancel")
    current = state.current_period
    if not current.contains(at):
        raise Invalid(
            f"cancel_at must lie in the current period, {current.start.isoformat()} to {current.end.isoformat()}",
            field="cancel_at",
        )
    if kind is CancellationType.end_of_period:
        return Transition(replace(state, cancel_at=current.end, cancel_proration=proration), None)
    closed = Period(current.start, at)
    lines = arrear_lines(terms, closed, at)
    if final_usage is FinalUsage.skip:
        lines = tuple(line for line in lines if line.kind is not LineKind.usage)
    lines += unused_time_credits(terms, proration, billed, at)
    after = replace(state, status=SubscriptionStatus.cancelled, current_period=closed, cancel_at=at, cancelled_at=at)
    return Transition(after, DueInvoice(BillingReason.SUBSCRIPTION_CYCLE, at, closed, lines))


def mark_past_due(state: SubscriptionState) -> SubscriptionState:
    """After exhausted dunning; a cancelled subscription stays cancelled, a paused one paused."""
    return _with_status(state, SubscriptionStatus.past_due)


def clear_past_due(state: SubscriptionState) -> SubscriptionState:
    """After payment; paying an old invoice never reactivates a cancelled subscription."""
    return _with_status(state, SubscriptionStatus.active)


def period_from(terms: Terms, start: datetime, known_end: datetime | None) -> Period:
    """The billing period that starts at `start`: up to the next boundary, or to a known end before it."""
    end = next_boundary(terms.anchor, terms.zone, terms.cadence, start)
    return Period(start, end if known_end is None else min(end, known_end))


def finalize_at(invoice: DueInvoice, delay_seconds: int) -> datetime:
    """When an invoice is finalized: after the grace for late usage, or at once.

    At once when it has no usage lines, and on reaching a threshold: what comes late is on the close of the period.
    """
    waits = invoice.has_usage and invoice.reason is not BillingReason.AUTO_INVOICE_THRESHOLD
    return invoice.at + timedelta(seconds=delay_seconds) if waits else invoice.at


def known_end(terms: Terms, cancel_at: datetime | None) -> datetime | None:
    """When the subscription ends, as far as that is known: by its terms, or by a cancellation that is to come."""
    return min((known for known in (terms.end_date, cancel_at) if known is not None), default=None)


def _with_status(state: SubscriptionState, status: SubscriptionStatus) -> SubscriptionState:
    running = state.status in (SubscriptionStatus.active, SubscriptionStatus.past_due)
    return replace(state, status=status) if running else state


def _require_running(state: SubscriptionState, command: str) -> None:
    if state.status in (SubscriptionStatus.cancelled, SubscriptionStatus.paused):
        raise Conflict(f"{command} is not possible: the subscription is {state.status}", state=state.status)
