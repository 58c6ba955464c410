"""Which lines fall due at a boundary: for which period, and for which share of the nominal one.

Owns cadence (ADVANCE with the period that opens, ARREAR with the one that closes, longer and shorter cadences) and
proration. Does not move the state (billing.subscriptions) and does not rate. Rules: billing-rules.md sections 3 and 5.
"""

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction

from billing.money import NOTHING, WHOLE, ZERO
from billing.periods import BillingPeriod, Period, local_days, nominal_period
from billing.prices import InvoiceCadence, PriceType
from billing.terms import BilledLine, DueLine, LineItem, LineKind, ProrationBehavior, ProrationUnit, Terms


def advance_lines(terms: Terms, opened: Period, end: datetime | None) -> tuple[DueLine, ...]:
    """ADVANCE lines whose own period starts in the period that opens; none of a line that is on trial when it opens."""
    due = []
    for line in terms.lines:
        on_trial = line.trial_end is not None and opened.start < line.trial_end
        if line.price.invoice_cadence is InvoiceCadence.ADVANCE and not on_trial:
            due += [
                _due(terms, line, span, whole)
                for span, whole in _spans(terms, line, opened, end)
                if opened.contains(span.start)
            ]
    return tuple(due)


def arrear_lines(terms: Terms, closed: Period, end: datetime | None) -> tuple[DueLine, ...]:
    """ARREAR lines whose own period ends in the period that closes, its end included.

    A cancellation at the very start of a period closes nothing of it, but cuts lines of a longer cadence there. A line
    that ended before was billed before.
    """
    due = []
    for line in terms.lines:
        ended_before = line.end is not None and line.end <= closed.start
        if line.price.invoice_cadence is InvoiceCadence.ADVANCE or ended_before:
            continue
        due += [
            _due(terms, line, span, whole) for span, whole in _spans(terms, line, closed, end) if span.end <= closed.end
        ]
    return tuple(due)


def share_of(terms: Terms, part: Period, whole: Period) -> Fraction:
    """The share of `whole` that `part` is, exactly, in the unit of the terms; 0 of a whole without a day.

    Of days, the day on which a part ends belongs to what follows.
    """
    if terms.proration_unit is ProrationUnit.second:
        return Fraction(part.microseconds, whole.microseconds)
    days = local_days(whole, terms.zone)
    return Fraction(local_days(part, terms.zone), days) if days else NOTHING


def unused_time_credits(
    terms: Terms, proration: ProrationBehavior | None, billed: Sequence[BilledLine], at: datetime
) -> tuple[DueLine, ...]:
    """Credits for the unused time of `billed`, if `proration`, or else the terms, asks for them."""
    behavior = proration or terms.proration_behavior
    return credit_lines(terms, billed, at) if behavior is ProrationBehavior.create_prorations else ()


def credit_lines(terms: Terms, billed: Sequence[BilledLine], at: datetime) -> tuple[DueLine, ...]:
    """A credit for each billed line with time left at `at`: its share is the unused part of the line's own span."""
    lines = []
    for line in billed:
        unused = Period(max(at, line.period.start), max(at, line.period.end))
        if unused.microseconds and line.amount > line.credited:
            lines.append(
                DueLine(
                    kind=LineKind.proration_credit,
                    line_item_id=line.line_item_id,
                    price=line.price,
                    quantity=line.quantity,
                    period=unused,
                    share=share_of(terms, unused, line.period),
                    nominal=line.period,
                    credit_of=line,
                )
            )
    return tuple(lines)


def in_plan_order(terms: Terms, lines: tuple[DueLine, ...]) -> tuple[DueLine, ...]:
    """Lines in the order of the terms; periods of one line in time order."""
    order = {line.id: position for position, line in enumerate(terms.lines)}
    return tuple(sorted(lines, key=lambda line: (order[line.line_item_id], line.period.start)))


def _spans(terms: Terms, line: LineItem, window: Period, end: datetime | None) -> list[tuple[Period, Period | None]]:
    """The line's own periods that touch `window`, cut to the life of the line, each with its whole nominal period.

    A line of the subscription's cadence follows its boundaries; any other runs from the date on which the line started,
    or its trial ended.
    """
    life_end = min((known for known in (line.end, end) if known is not None), default=None)
    if line.price.cadence.period is BillingPeriod.ONETIME:
        return [(Period(line.start, line.start), None)]
    same = line.price.cadence.same_length(terms.cadence)
    anchor = terms.anchor if same else line.charged_from
    spans: list[tuple[Period, Period | None]] = []
    at = max(window.start, line.charged_from)
    while at <= window.end:
        whole = nominal_period(anchor, terms.zone, line.price.cadence, at)
        start, cut_end = (
            max(whole.start, line.charged_from),
            whole.end if life_end is None else min(whole.end, life_end),
        )
        if start < cut_end:
            spans.append((Period(start, cut_end), whole))
        at = whole.end
    return spans


def _due(terms: Terms, line: LineItem, span: Period, whole: Period | None) -> DueLine:
    if line.price.type is PriceType.USAGE:
        return DueLine(LineKind.usage, line.id, line.price, ZERO, span, WHOLE, whole)
    share = WHOLE if whole is None else share_of(terms, span, whole)
    return DueLine(LineKind.fixed, line.id, line.price, line.charged_quantity, span, share, whole)
