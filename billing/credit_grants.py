"""Credit grants: credits that a plan, an add-on or a subscription gives, once or again and again.

Owns when they are given and when they expire. Adding them to a wallet is billing.wallets'. Rules: billing-rules.md
section 9: recurring grants follow their own cadence, whatever the subscription's (monthly credits on a yearly plan).
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from billing.codec import instant_text
from billing.errors import Invalid
from billing.periods import BillingPeriod, Cadence, add_local_days, boundary, check_utc, next_boundary
from billing.terms import Terms
from billing.wallets import CreditLot


class GrantCadence(StrEnum):
    """Once, or at every boundary of the grant's own cadence."""

    ONETIME = "ONETIME"
    RECURRING = "RECURRING"


class GrantExpiration(StrEnum):
    """NEVER, DURATION after each grant, or BILLING_CYCLE: with the subscription's period in which it is given."""

    NEVER = "NEVER"
    DURATION = "DURATION"
    BILLING_CYCLE = "BILLING_CYCLE"


class DurationUnit(StrEnum):
    """Unit of an expiration; local calendar days, and months that are clamped to their length."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"


@dataclass(frozen=True, slots=True)
class CreditGrant:
    """`credits` given at `start` and, where it recurs, at every boundary of `cadence` counted from `anchor` (or start).

    `end` (exclusive) is when its plan, add-on or subscription stops giving it.
    """

    id: str
    credits: Decimal
    start: datetime
    recurs: GrantCadence = GrantCadence.ONETIME
    cadence: Cadence | None = None
    anchor: datetime | None = None
    end: datetime | None = None
    expiration: GrantExpiration = GrantExpiration.NEVER
    expiration_duration: int | None = None
    expiration_duration_unit: DurationUnit | None = None
    priority: int | None = None

    def __post_init__(self) -> None:
        check_utc(self.start, "start_date")
        if self.credits <= 0:
            raise Invalid(f"credits must be above 0; got {self.credits}", field="credits")
        recurring = self.recurs is GrantCadence.RECURRING
        if recurring != (self.cadence is not None):
            raise Invalid("period is required for RECURRING grants, and only for them", field="period")
        if self.cadence is not None and self.cadence.period is BillingPeriod.ONETIME:
            raise Invalid("period must recur; a grant that is given once is ONETIME", field="period")
        lasting = self.expiration is GrantExpiration.DURATION
        for value, field in (
            (self.expiration_duration, "expiration_duration"),
            (self.expiration_duration_unit, "expiration_duration_unit"),
        ):
            if lasting != (value is not None):
                raise Invalid(f"{field} is required for expiration DURATION, and only for it", field=field)
        if self.expiration_duration is not None and self.expiration_duration < 1:
            raise Invalid("expiration_duration must be 1 or more", field="expiration_duration")


def lots_granted(grant: CreditGrant, terms: Terms, after: datetime | None, until: datetime) -> tuple[CreditLot, ...]:
    """The lots given after `after` (None: from the start on) up to and including `until`, in time order.

    Their ids are the grant's id and the instant: the same question always has the same answer.
    """
    lots = []
    at: datetime | None = grant.start
    while at is not None and at <= until and (grant.end is None or at < grant.end):
        if after is None or at > after:
            lot_id = f"{grant.id}/{instant_text(at)}"
            lots.append(
                CreditLot(lot_id, grant.credits, grant.credits, at, expires_at(grant, terms, at), grant.priority)
            )
        at = next_grant_at(grant, terms.zone, at)
    return tuple(lots)


def next_grant_at(grant: CreditGrant, zone: str, at: datetime) -> datetime | None:
    """When a recurring grant is given next after `at`; None for one that is given once."""
    if grant.cadence is None:
        return None
    return next_boundary(grant.anchor or grant.start, zone, grant.cadence, at)


def expires_at(grant: CreditGrant, terms: Terms, at: datetime) -> datetime | None:
    """When credits given at `at` are gone; None: never."""
    if grant.expiration is GrantExpiration.BILLING_CYCLE:
        return next_boundary(terms.anchor, terms.zone, terms.cadence, at)
    number, unit = grant.expiration_duration, grant.expiration_duration_unit
    if number is None or unit is None:
        return None
    if unit in (DurationUnit.DAY, DurationUnit.WEEK):
        return add_local_days(at, terms.zone, number * (7 if unit is DurationUnit.WEEK else 1))
    period = BillingPeriod.ANNUAL if unit is DurationUnit.YEAR else BillingPeriod.MONTHLY
    return boundary(at, terms.zone, Cadence(period), number)
