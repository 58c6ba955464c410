"""Subscriptions: their terms, their state, and what falls due at each boundary.

Owns the transitions open, close and cancel, and which lines an invoice carries for which period and share. Does not rate,
tax or sum (billing.invoices), and does not sleep (workflows). Rules: billing-rules.md sections 3, 4 and 5.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from billing.errors import Conflict, Invalid
from billing.money import ZERO, exponent
from billing.periods import (
    BillingCycle,
    BillingPeriod,
    Cadence,
    Period,
    calendar_anchor,
    check_utc,
    next_boundary,
    nominal_period,
    zone_info,
)
from billing.prices import InvoiceCadence, Price, PriceType
from billing.taxes import TaxRate


class SubscriptionStatus(StrEnum):
    """past_due: dunning of an invoice was exhausted; the subscription goes on."""

    active = "active"
    past_due = "past_due"
    cancelled = "cancelled"


class ProrationBehavior(StrEnum):
    """Whether unused time that was paid in advance is credited."""

    none = "none"
    create_prorations = "create_prorations"


class CancellationType(StrEnum):
    """Now, or when the running period ends."""

    immediate = "immediate"
    end_of_period = "end_of_period"


class FinalUsage(StrEnum):
    """Whether an immediate cancellation bills the usage up to it."""

    bill = "bill"
    skip = "skip"


class BillingReason(StrEnum):
    """Why an invoice exists."""

    SUBSCRIPTION_CREATE = "SUBSCRIPTION_CREATE"
    SUBSCRIPTION_CYCLE = "SUBSCRIPTION_CYCLE"


class LineKind(StrEnum):
    """What an invoice line is."""

    fixed = "fixed"
    usage = "usage"
    proration_credit = "proration_credit"
    adjustment = "adjustment"


@dataclass(frozen=True, slots=True)
class LineItem:
    """One price of a subscription, in force over [start, end). `quantity` is not used for USAGE prices."""

    id: str
    price: Price
    quantity: Decimal
    start: datetime
    end: datetime | None = None

    def __post_init__(self) -> None:
        check_utc(self.start, "start_date")
        if self.quantity < 0:
            raise Invalid(f"quantity must be 0 or more; got {self.quantity}", field="quantity")
        if self.end is not None and check_utc(self.end, "end_date") < self.start:
            raise Invalid("a line's end_date must not be before its start_date", field="end_date")

    @property
    def charged_quantity(self) -> Decimal:
        """The quantity that a FIXED price charges: never less than its minimum."""
        return max(self.quantity, self.price.min_quantity or ZERO)


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed. `lines` are in invoice order: the plan's prices, then add-ons.

    Boundaries are `anchor` + k x `cadence` in `zone`. `end_date`, where known, ends the last period.
    """

    id: str
    currency: str
    zone: str
    cadence: Cadence
    anchor: datetime
    start: datetime
    lines: tuple[LineItem, ...]
    cycle: BillingCycle = BillingCycle.anniversary
    end_date: datetime | None = None
    tax_rates: tuple[TaxRate, ...] = ()
    proration_behavior: ProrationBehavior = ProrationBehavior.create_prorations

    def __post_init__(self) -> None:
        exponent(self.currency)
        zone_info(self.zone)
        check_utc(self.anchor, "billing_anchor")
        check_utc(self.start, "start_date")
        if self.cadence.period is BillingPeriod.ONETIME:
            raise Invalid("billing_period of a subscription must recur; ONETIME is for prices", field="billing_period")
        if self.end_date is not None and check_utc(self.end_date, "end_date") <= self.start:
            raise Invalid("end_date must be after start_date", field="end_date")
        for line in self.lines:
            if line.price.currency != self.currency:
                raise Invalid(
                    f"price {line.price.id} is in {line.price.currency}, the subscription in {self.currency}",
                    "currency",
                )


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
        """When something falls due next; None once cancelled."""
        return None if self.status is SubscriptionStatus.cancelled else self.current_period.end


@dataclass(frozen=True, slots=True)
class BilledLine:
    """A fixed line that an earlier invoice billed in advance, as its credit needs it.

    `amount` is what the line billed, net of its discounts; the taxes are its parts of that invoice's taxes (inclusive tax
    is contained in `amount`); `credited` (positive) is what was credited of it before, on drafts too.
    """

    invoice_id: str
    invoice_line_id: str
    line_item_id: str
    price: Price
    quantity: Decimal
    period: Period
    amount: Decimal
    exclusive_tax: Decimal = ZERO
    inclusive_tax: Decimal = ZERO
    credited: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class DueLine:
    """One line that an invoice must carry.

    `share` is the part of the nominal period that `period` covers (of the billed period, for a credit); 1 for usage.
    `nominal` is that whole period; None for one-time charges. `credit_of` is set for proration credits only.
    """

    kind: LineKind
    line_item_id: str
    price: Price
    quantity: Decimal
    period: Period
    share: Fraction = Fraction(1)
    nominal: Period | None = None
    credit_of: BilledLine | None = None


@dataclass(frozen=True, slots=True)
class DueInvoice:
    """An invoice that falls due at business instant `at`, for `period`."""

    reason: BillingReason
    at: datetime
    period: Period
    lines: tuple[DueLine, ...]

    @property
    def has_usage(self) -> bool:
        """Whether late events can still change it."""
        return any(line.kind is LineKind.usage for line in self.lines)


@dataclass(frozen=True, slots=True)
class Transition:
    """The state after a step, and the invoice that the step makes due, if any."""

    state: SubscriptionState
    invoice: DueInvoice | None


def billing_anchor(
    start: datetime, zone: str, cadence: Cadence, cycle: BillingCycle, given: datetime | None
) -> datetime:
    """The anchor of a new subscription. Raises Invalid when one is given for calendar billing."""
    if cycle is BillingCycle.calendar:
        if given is not None:
            raise Invalid("billing_anchor must be absent when billing_cycle is calendar", field="billing_anchor")
        return calendar_anchor(start, zone, cadence)
    return start if given is None else check_utc(given, "billing_anchor")


def open_subscription(terms: Terms) -> Transition:
    """The first period, and the opening invoice if there is anything to bill in advance."""
    period = period_from(terms, terms.start, None)
    state = SubscriptionState(SubscriptionStatus.active, period)
    lines = _advance_lines(terms, period, terms.end_date)
    invoice = DueInvoice(BillingReason.SUBSCRIPTION_CREATE, terms.start, period, lines) if lines else None
    return Transition(state, invoice)


def close_period(terms: Terms, state: SubscriptionState, billed: tuple[BilledLine, ...] = ()) -> Transition:
    """Closes the current period at its end: its invoice, and the next period or the end of the subscription.

    `billed` are the lines whose time reaches beyond that end; when the subscription ends there, they are credited.
    Raises Conflict when it is cancelled already.
    """
    _require_running(state, "close_period")
    closed = state.current_period
    end = _known_end(terms, state.cancel_at)
    arrears = _arrear_lines(terms, closed, end)
    if end is not None and closed.end >= end:
        after = replace(state, status=SubscriptionStatus.cancelled, cancelled_at=closed.end)
        lines = arrears + _credits(terms, state.cancel_proration, billed, closed.end)
        return Transition(after, DueInvoice(BillingReason.SUBSCRIPTION_CYCLE, closed.end, closed, lines))
    opened = period_from(terms, closed.end, state.cancel_at)
    lines = _in_plan_order(terms, arrears + _advance_lines(terms, opened, end))
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

    immediate: the final invoice closes [period start, at) with its usage and, with create_prorations (`proration`, or the
    subscription's own), credits the unused time of the `billed` lines. end_of_period: only sets the end. A boundary
    at `at` must have been closed before. Raises Conflict when already cancelled, Invalid when `at` is outside the current
    period.
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
    lines = _arrear_lines(terms, closed, at)
    if final_usage is FinalUsage.skip:
        lines = tuple(line for line in lines if line.kind is not LineKind.usage)
    lines += _credits(terms, proration, billed, at)
    after = replace(state, status=SubscriptionStatus.cancelled, current_period=closed, cancel_at=at, cancelled_at=at)
    return Transition(after, DueInvoice(BillingReason.SUBSCRIPTION_CYCLE, at, closed, lines))


def credit_lines(billed: tuple[BilledLine, ...], at: datetime) -> tuple[DueLine, ...]:
    """A credit for each billed line with time left at `at`: its share is the unused part of the line's own span."""
    lines = []
    for line in billed:
        unused = Period(max(at, line.period.start), max(at, line.period.end))
        if unused.microseconds and line.amount > line.credited:
            share = Fraction(unused.microseconds, line.period.microseconds)
            lines.append(
                DueLine(
                    LineKind.proration_credit,
                    line.line_item_id,
                    line.price,
                    line.quantity,
                    unused,
                    share,
                    line.period,
                    line,
                )
            )
    return tuple(lines)


def mark_past_due(state: SubscriptionState) -> SubscriptionState:
    """After exhausted dunning; a cancelled subscription stays cancelled."""
    return _with_status(state, SubscriptionStatus.past_due)


def clear_past_due(state: SubscriptionState) -> SubscriptionState:
    """After payment; paying an old invoice never reactivates a cancelled subscription."""
    return _with_status(state, SubscriptionStatus.active)


def period_from(terms: Terms, start: datetime, cancel_at: datetime | None) -> Period:
    """The billing period that starts at `start`: up to the next boundary, or to a known end before it."""
    end = next_boundary(terms.anchor, terms.zone, terms.cadence, start)
    known = _known_end(terms, cancel_at)
    return Period(start, end if known is None else min(end, known))


def finalize_at(invoice: DueInvoice, delay_seconds: int) -> datetime:
    """When an invoice is finalized: after the grace for late usage, or at once when it has no usage lines."""
    return invoice.at + timedelta(seconds=delay_seconds) if invoice.has_usage else invoice.at


def _advance_lines(terms: Terms, opened: Period, end: datetime | None) -> tuple[DueLine, ...]:
    """ADVANCE lines whose own period starts in the period that opens."""
    due = []
    for line in terms.lines:
        if line.price.invoice_cadence is InvoiceCadence.ADVANCE:
            due += [
                _due(line, span, whole)
                for span, whole in _spans(terms, line, opened, end)
                if opened.contains(span.start)
            ]
    return tuple(due)


def _arrear_lines(terms: Terms, closed: Period, end: datetime | None) -> tuple[DueLine, ...]:
    """ARREAR lines whose own period ends in the period that closes, its end included.

    A cancellation at the very start of a period closes nothing of it, but cuts lines of a longer cadence there.
    """
    due = []
    for line in terms.lines:
        ended_before = line.end is not None and line.end <= closed.start
        if line.price.invoice_cadence is InvoiceCadence.ADVANCE or ended_before:
            continue
        for span, whole in _spans(terms, line, closed, end):
            cut_here = whole is not None and span.end == closed.end < whole.end
            if cut_here or closed.start < span.end <= closed.end:
                due.append(_due(line, span, whole))
    return tuple(due)


def _spans(terms: Terms, line: LineItem, window: Period, end: datetime | None) -> list[tuple[Period, Period | None]]:
    """The line's own periods that touch `window`, cut to the life of the line, each with its whole nominal period.

    A line of the subscription's cadence follows its boundaries; any other runs from the date on which the line started.
    """
    life_end = min((known for known in (line.end, end) if known is not None), default=None)
    if line.price.cadence.period is BillingPeriod.ONETIME:
        return [(Period(line.start, line.start), None)]
    same = line.price.cadence.same_length(terms.cadence)
    anchor = terms.anchor if same else line.start
    spans: list[tuple[Period, Period | None]] = []
    at = max(window.start, line.start)
    while at <= window.end:
        whole = nominal_period(anchor, terms.zone, line.price.cadence, at)
        start, cut_end = max(whole.start, line.start), whole.end if life_end is None else min(whole.end, life_end)
        if start < cut_end:
            spans.append((Period(start, cut_end), whole))
        at = whole.end
    return spans


def _due(line: LineItem, span: Period, whole: Period | None) -> DueLine:
    if line.price.type is PriceType.USAGE:
        return DueLine(LineKind.usage, line.id, line.price, ZERO, span, Fraction(1), whole)
    share = Fraction(1) if whole is None else Fraction(span.microseconds, whole.microseconds)
    return DueLine(LineKind.fixed, line.id, line.price, line.charged_quantity, span, share, whole)


def _in_plan_order(terms: Terms, lines: tuple[DueLine, ...]) -> tuple[DueLine, ...]:
    order = {line.id: position for position, line in enumerate(terms.lines)}
    return tuple(sorted(lines, key=lambda line: (order[line.line_item_id], line.period.start)))


def _known_end(terms: Terms, cancel_at: datetime | None) -> datetime | None:
    return min((known for known in (terms.end_date, cancel_at) if known is not None), default=None)


def _credits(
    terms: Terms, proration: ProrationBehavior | None, billed: tuple[BilledLine, ...], at: datetime
) -> tuple[DueLine, ...]:
    behavior = proration or terms.proration_behavior
    return credit_lines(billed, at) if behavior is ProrationBehavior.create_prorations else ()


def _with_status(state: SubscriptionState, status: SubscriptionStatus) -> SubscriptionState:
    return state if state.status is SubscriptionStatus.cancelled else replace(state, status=status)


def _require_running(state: SubscriptionState, command: str) -> None:
    if state.status is SubscriptionStatus.cancelled:
        raise Conflict(f"{command} is not possible: the subscription is cancelled", state=state.status)
