"""Dunning: when a failed payment is tried again, and when it is given up.

Owns the schedule. Outcomes of a charge are values: a decline is an answer, not an exception. Rules: billing-rules.md
section 8.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from billing.errors import Invalid
from billing.periods import add_local_days, check_utc, from_local, to_local, zone_info
from billing.subscriptions import SubscriptionStatus

DEFAULT_SCHEDULE_DAYS: Final = (1, 3, 5, 7, 14)


class DeclineKind(StrEnum):
    """A hard decline is not retried on the same payment method."""

    soft = "soft"
    hard = "hard"


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The provider took the money."""

    provider_payment_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider refused; `reason` is its code or words."""

    kind: DeclineKind
    reason: str


@dataclass(frozen=True, slots=True)
class ActionRequired:
    """The customer must confirm at `url`."""

    url: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The answer was lost: look the attempt up by our id before anything else."""

    reason: str


Outcome = Succeeded | Declined | ActionRequired | Unknown


class ExhaustedInvoice(StrEnum):
    """What becomes of an invoice whose dunning is exhausted."""

    uncollectible = "uncollectible"
    open = "open"


class ExhaustedSubscription(StrEnum):
    """What becomes of its subscription."""

    cancel = "cancel"
    keep = "keep"


@dataclass(frozen=True, slots=True)
class DunningSettings:
    """A tenant's choice. `schedule_days` are local days after the first failure, rising; `zone` is the tenant's.

    `hour` is the local hour of retries; None keeps the clock time of the first failure.
    """

    schedule_days: tuple[int, ...] = DEFAULT_SCHEDULE_DAYS
    zone: str = "UTC"
    hour: int | None = None
    on_exhausted_invoice: ExhaustedInvoice = ExhaustedInvoice.uncollectible
    on_exhausted_subscription: ExhaustedSubscription = ExhaustedSubscription.keep

    def __post_init__(self) -> None:
        zone_info(self.zone)
        days = self.schedule_days
        if list(days) != sorted(set(days)) or any(not 1 <= day <= 365 for day in days):
            raise Invalid(f"dunning_days must be rising, each from 1 to 365; got {list(days)}", field="dunning_days")
        if self.hour is not None and not 0 <= self.hour <= 23:
            raise Invalid(f"dunning_hour must be between 0 and 23; got {self.hour}", field="dunning_hour")

    @property
    def writes_off(self) -> bool:
        """Whether an invoice whose dunning is exhausted is uncollectible."""
        return self.on_exhausted_invoice is ExhaustedInvoice.uncollectible

    def ends(self, status: SubscriptionStatus) -> bool:
        """Whether exhausted dunning ends a subscription that it has left in `status`: one that it made past due."""
        cancels = self.on_exhausted_subscription is ExhaustedSubscription.cancel
        return cancels and status is SubscriptionStatus.past_due


def next_attempt(settings: DunningSettings, failures: int, first_failed_at: datetime) -> datetime | None:
    """When to try again after `failures` failed attempts (1 or more); None when the schedule is exhausted."""
    if failures < 1:
        raise Invalid(f"failures must be at least 1; got {failures}", field="failures")
    if failures > len(settings.schedule_days):
        return None
    return _on_day(settings, settings.schedule_days[failures - 1], first_failed_at)


def gives_up_at(settings: DunningSettings, first_failed_at: datetime) -> datetime:
    """When waiting ends for an invoice that is not retried (a hard decline): the last day of the schedule."""
    return _on_day(settings, settings.schedule_days[-1] if settings.schedule_days else 0, first_failed_at)


def _on_day(settings: DunningSettings, days: int, first_failed_at: datetime) -> datetime:
    same_clock = add_local_days(check_utc(first_failed_at, "first_failed_at"), settings.zone, days)
    if settings.hour is None:
        return same_clock
    local = to_local(first_failed_at, settings.zone) + timedelta(days=days)
    at_hour = from_local(local.replace(hour=settings.hour, minute=0, second=0, microsecond=0), settings.zone)
    return max(at_hour, first_failed_at)
