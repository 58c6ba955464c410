"""Credit grants: credits that a plan, an add-on or a subscription gives, once or again and again.

Owns when they are given, how many, and when they expire. Adding them to a wallet is billing.wallets'. Rules:
billing-rules.md section 9: recurring grants follow their own cadence, whatever the subscription's (monthly credits on a
yearly plan). An add-on's begin and end with it: credits follow what is paid for it, so a first span that it does not
cover from its boundary on gives its share, as the add-on's price costs it.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from billing.codec import instant_text
from billing.due_lines import share_of
from billing.errors import Invalid
from billing.money import round_places
from billing.periods import (
    BillingPeriod,
    Cadence,
    Period,
    add_local_days,
    boundary,
    check_utc,
    next_boundary,
    nominal_period,
)
from billing.terms import ProrationBehavior, Terms
from billing.wallets import CreditLot

SHARE_PLACES: Final = 8
"""Digits after the point of a share of a grant's credits."""


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

    `end` (exclusive) is when its plan, add-on or subscription stops giving it. `prorated`: where `start` is inside a
    span of the cadence, the first credits are the span's share from there on.
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
    prorated: bool = False

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


def of_addon(grant: CreditGrant, terms: Terms, at: datetime) -> CreditGrant:
    """`grant`, which is counted from its own start or the subscription's, as an add-on that comes at `at` gives it.

    Inside a span of a recurring one it gives the span's share at once; without prorations the first whole span.
    """
    start = max(grant.start, at)
    if grant.cadence is None:
        return replace(grant, start=start)
    anchor = grant.anchor or grant.start
    prorated = terms.proration_behavior is ProrationBehavior.create_prorations
    span = nominal_period(anchor, terms.zone, grant.cadence, start)
    if start != span.start and not prorated:
        start = span.end
    return replace(grant, start=start, anchor=anchor, prorated=prorated)


def lots_granted(grant: CreditGrant, terms: Terms, after: datetime | None, until: datetime) -> tuple[CreditLot, ...]:
    """The lots given after `after` (None: from the start on) up to and including `until`, in time order.

    Their ids are the grant's id, and the span's start where it recurs: who keeps them gives a span once, and what is
    given once only once, however often a plan or an add-on comes back.
    """
    lots = []
    at: datetime | None = grant.start
    while at is not None and at <= until and (grant.end is None or at < grant.end):
        credits = _credits_at(grant, terms, at)
        if credits and (after is None or at > after):
            lot_id = _lot_id(grant, terms.zone, at)
            lots.append(CreditLot(lot_id, credits, credits, at, expires_at(grant, terms, at), grant.priority))
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


def _credits_at(grant: CreditGrant, terms: Terms, at: datetime) -> Decimal:
    """All of the credits, or the share of a first span."""
    if not grant.prorated or grant.cadence is None or at != grant.start:
        return grant.credits
    whole = nominal_period(grant.anchor or grant.start, terms.zone, grant.cadence, at)
    return round_places(Fraction(grant.credits) * share_of(terms, Period(at, whole.end), whole), SHARE_PLACES)


def _lot_id(grant: CreditGrant, zone: str, at: datetime) -> str:
    if grant.cadence is None:
        return grant.id
    return f"{grant.id}/{instant_text(nominal_period(grant.anchor or grant.start, zone, grant.cadence, at).start)}"
