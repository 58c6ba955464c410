"""The usage of a period before its close: the lines that will bill it, which the invoice's own steps then rate.

Owns the choice of lines only, so that what a customer sees of the running period is what the close will say. Rules:
billing-rules.md sections 3 and 9.
"""

from billing.due_lines import arrear_lines
from billing.money import ZERO
from billing.periods import Period
from billing.prices import PriceType
from billing.subscriptions import SubscriptionState, known_end
from billing.terms import BillingReason, DueInvoice, DueLine, LineKind, Terms


def running_usage(terms: Terms, state: SubscriptionState) -> DueInvoice:
    """The usage lines that the current period closes with, or has closed with; none of a trial, which is free."""
    period = state.current_period
    lines = arrear_lines(terms, period, known_end(terms, state.cancel_at))
    return _due(period, tuple(line for line in lines if line.kind is LineKind.usage))


def usage_within(terms: Terms, span: Period) -> DueInvoice:
    """The usage lines of any span, each over the part of it in which it is in force, as if that were its period."""
    lines = []
    for line in terms.lines:
        start, end = max(span.start, line.charged_from), span.end if line.end is None else min(span.end, line.end)
        if line.price.type is PriceType.USAGE and start <= end:
            lines.append(DueLine(LineKind.usage, line.id, line.price, ZERO, Period(start, end)))
    return _due(span, tuple(lines))


def _due(period: Period, lines: tuple[DueLine, ...]) -> DueInvoice:
    return DueInvoice(BillingReason.SUBSCRIPTION_CYCLE, period.end, period, lines)
