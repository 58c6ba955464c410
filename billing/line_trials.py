"""Trials of single prices: from when a line charges, and the invoice that its first real period makes.

Owns the trial of a line item; that of the whole subscription is billing.subscriptions'. Rules: billing-rules.md section
3 by analogy: days are local calendar days, nothing is charged for the trial, and the first real period starts at its
end, inside the billing period. What a line charges in advance is billed then, not when the period opens.
"""

from collections.abc import Iterable
from datetime import datetime

from billing.due_lines import advance_lines
from billing.errors import Invalid
from billing.periods import Period, add_local_days
from billing.prices import TRIAL_DAYS_MAX, InvoiceCadence, Price
from billing.subscriptions import SubscriptionState, SubscriptionStatus
from billing.terms import BillingReason, DueInvoice, LineItem, Terms, of_lines


def line_trial_end(price: Price, start: datetime, zone: str, before: Iterable[LineItem] = ()) -> datetime | None:
    """When the trial of a price ends that comes to a subscription at `start`; None without a trial.

    A price has one trial in a subscription: with a line item `before` it goes on with that one's.
    """
    for line in before:
        if line.price.id == price.id:
            return line.trial_end
    return trial_end_of(start, zone, price.trial_period_days)


def trial_end_of(start: datetime, zone: str, days: int) -> datetime | None:
    """When a trial of so many local days from `start` on ends; None for 0 days. Raises Invalid for an absurd number."""
    if not 0 <= days <= TRIAL_DAYS_MAX:
        raise Invalid(f"trial_period_days must be from 0 to {TRIAL_DAYS_MAX}; got {days}", field="trial_period_days")
    return add_local_days(start, zone, days) if days else None


def next_trial_end(terms: Terms, state: SubscriptionState, after: datetime) -> datetime | None:
    """When the next trial of a line in advance ends, after `after` and inside the current period."""
    ends = [line.trial_end for line in terms.lines if line.trial_end is not None and _ends_inside(line, state)]
    return min((end for end in ends if end > after), default=None)


def end_trials(terms: Terms, state: SubscriptionState, at: datetime) -> DueInvoice | None:
    """The invoice for what the lines whose trial ends at `at` charge in advance, over the rest of the period."""
    own = tuple(line for line in terms.lines if line.trial_end == at and _ends_inside(line, state))
    rest = Period(at, state.current_period.end)
    ends = [end for end in (terms.end_date, state.cancel_at) if end is not None]
    lines = advance_lines(of_lines(terms, own), rest, min(ends, default=None))
    return DueInvoice(BillingReason.SUBSCRIPTION_TRIAL_END, at, rest, lines) if lines else None


def _ends_inside(line: LineItem, state: SubscriptionState) -> bool:
    """Whether the trial ends while the current period runs, of a line that is still in force then."""
    running = state.status in (SubscriptionStatus.active, SubscriptionStatus.past_due)
    end, current = line.trial_end, state.current_period
    if end is None or not running or line.price.invoice_cadence is not InvoiceCadence.ADVANCE:
        return False
    return max(current.start, line.start) < end < current.end and (line.end is None or line.end > end)
