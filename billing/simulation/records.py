"""What a story writes down while it is played: the timeline, refusals, credit notes. Values only."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing import subscriptions as rules


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """Something that happened; `id` names the invoice by its place in the result, or the subscription."""

    at: datetime
    event: str
    id: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An action that the rules refused; `action` is its place in the document."""

    action: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class IssuedNote:
    """A credit note on an invoice of the result."""

    invoice: str
    type: str
    amount: Decimal
    at: datetime


def status_event(before: rules.SubscriptionState | None, after: rules.SubscriptionState) -> str:
    """What the timeline calls a change of status."""
    was, status = None if before is None else before.status, after.status
    if status is rules.SubscriptionStatus.active:
        paused = was is rules.SubscriptionStatus.paused
        return "subscription.resumed" if paused else "subscription.activated"
    return f"subscription.{status.value}"
