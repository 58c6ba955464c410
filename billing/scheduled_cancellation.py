"""Cancelling at a date: the end is set now, and the subscription ends there like one with an end date.

Owns what moves when the date is set; closing that last period is billing.subscriptions'. Rules: billing-rules.md
section 5: from now on the end is known, so later periods in advance cost their share; what was billed in advance beyond
it is credited when it comes.
"""

from dataclasses import replace
from datetime import datetime

from billing.errors import Conflict, Invalid
from billing.periods import Period, check_utc
from billing.subscriptions import SubscriptionState, SubscriptionStatus, period_from
from billing.terms import ProrationBehavior, Terms


def schedule_cancellation(
    terms: Terms,
    state: SubscriptionState,
    now: datetime,
    cancel_at: datetime,
    proration: ProrationBehavior | None = None,
) -> SubscriptionState:
    """The state with its end at `cancel_at`, which is after `now` and not after the terms' own end.

    A date in the current period makes that period end there. Raises Conflict when it is cancelled or paused, Invalid
    for another date.
    """
    if state.status in (SubscriptionStatus.cancelled, SubscriptionStatus.paused):
        raise Conflict(f"cancel is not possible: the subscription is {state.status}", state=state.status)
    if check_utc(cancel_at, "cancel_at") <= now:
        raise Invalid(f"cancel_at must be after {now.isoformat()}, the time of the command", field="cancel_at")
    if terms.end_date is not None and cancel_at > terms.end_date:
        raise Invalid(f"cancel_at must not be after the end_date {terms.end_date.isoformat()}", field="cancel_at")
    return replace(
        state, current_period=_current(terms, state, cancel_at), cancel_at=cancel_at, cancel_proration=proration
    )


def _current(terms: Terms, state: SubscriptionState, cancel_at: datetime) -> Period:
    """The current period up to its boundary, also when an earlier date had cut it, or up to the new date."""
    start = state.current_period.start
    if state.status is SubscriptionStatus.trialing and terms.trial_end is not None:
        return Period(start, min(terms.trial_end, cancel_at))
    return period_from(terms, start, cancel_at)
