"""Allowances: the windows in which entitlements give free usage, and what is left to pay of each line.

Owns reset windows, the share of a first one cut by a calendar start, and drawing in time order, then line order.
Rules: billing-rules.md section 10; windows: section 2.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from msgspec import Struct

from billing.due_lines import share_of
from billing.entitlements import Allowance, AllowanceDraw, EffectiveEntitlement, UsageResetPeriod
from billing.errors import InvariantBroken
from billing.meters import Meter, UsagePart
from billing.money import NOTHING
from billing.periods import YEAR_MAX, BillingCycle, BillingPeriod, Cadence, Period, nominal_period
from billing.terms import DueLine, LineKind, ProrationBehavior, Terms
from billing.windows import WindowSize, window_at

LIFETIME_END: Final = datetime(YEAR_MAX, 1, 1, tzinfo=UTC)
_CADENCES: Final = {
    UsageResetPeriod.DAILY: Cadence(BillingPeriod.DAILY),
    UsageResetPeriod.WEEKLY: Cadence(BillingPeriod.WEEKLY),
    UsageResetPeriod.MONTHLY: Cadence(BillingPeriod.MONTHLY),
    UsageResetPeriod.QUARTERLY: Cadence(BillingPeriod.QUARTERLY),
    UsageResetPeriod.HALF_YEARLY: Cadence(BillingPeriod.HALF_YEARLY),
    UsageResetPeriod.ANNUAL: Cadence(BillingPeriod.ANNUAL),
}
_CALENDAR: Final = {UsageResetPeriod.DAILY: WindowSize.DAY, UsageResetPeriod.WEEKLY: WindowSize.WEEK}


class LineUsage(Struct, frozen=True):
    """The usage of one line, in parts in time order; `bucketed`: they are buckets of the meter."""

    meter_id: str
    parts: tuple[UsagePart, ...]
    bucketed: bool = False


class FreePart(Struct, frozen=True):
    """Usage of a line in one part of its period: `free` of `quantity` is paid by the allowance of `window`.

    `limit` is the whole allowance of that window, of which `used` were taken before; None where no allowance covers the
    meter.
    """

    part: UsagePart
    free: Fraction
    window: Period | None = None
    limit: Fraction | None = None
    used: Fraction = Fraction(0)

    @property
    def billable(self) -> Fraction:
        """What is left to pay."""
        return self.part.quantity - self.free if self.free else self.part.quantity


def reset_windows(terms: Terms, reset: UsageResetPeriod, span: Period) -> tuple[Period, ...]:
    """The reset windows that touch `span`, in time order, the first cut to the subscription's start.

    A reset as long as the billing period follows the subscription's boundaries; other days and weeks are the calendar's
    in the customer's zone, months and longer those of the anchor.
    """
    if reset is UsageResetPeriod.NEVER:
        return (Period(terms.start, LIFETIME_END),)
    windows: list[Period] = []
    at = max(span.start, terms.start)
    while at < span.end:
        whole = _whole_window(terms, reset, at)
        windows.append(Period(max(whole.start, terms.start), whole.end))
        at = whole.end
    return tuple(windows)


def allowance_cuts(terms: Terms, meter: Meter, span: Period) -> tuple[Period, ...]:
    """The windows in which the usage of a line over `span` must be read; () when one read is enough.

    A meter with buckets is read in buckets, whatever its allowance: each draws on the window in which it starts.
    """
    entitlement = _entitlement(terms, meter.id)
    if entitlement is None or meter.bucket_size is not None:
        return ()
    windows = reset_windows(terms, entitlement.usage_reset_period, span)
    if len(windows) <= 1:
        return ()
    return tuple(Period(max(one.start, span.start), min(one.end, span.end)) for one in windows)


def allowances_for(
    terms: Terms, lines: Sequence[DueLine], drawn: Iterable[AllowanceDraw] = (), in_force: Period | None = None
) -> tuple[Allowance, ...]:
    """Every allowance that the usage lines of an invoice can draw on. `drawn`: by lines of earlier invoices.

    After a change of plan each plan's terms are asked by themselves, with the span `in_force`.
    """
    used: dict[tuple[str, Period], Fraction] = {}
    for draw in drawn:
        used[draw.meter_id, draw.window] = used.get((draw.meter_id, draw.window), Fraction(0)) + draw.quantity
    found: dict[tuple[str, Period], Allowance] = {}
    for line in lines:
        meter_id = line.price.meter_id
        if line.kind is not LineKind.usage or meter_id is None:
            continue
        entitlement = _entitlement(terms, meter_id)
        if entitlement is None:
            continue
        for window in reset_windows(terms, entitlement.usage_reset_period, line.period):
            key = (meter_id, window)
            force = None if in_force is None else _common(window, in_force)
            limit = _limit(terms, entitlement, window)
            found[key] = Allowance(meter_id, window, limit, used.get(key, Fraction(0)), force)
    return tuple(found.values())


def draw_free(usage: Sequence[LineUsage], allowances: Sequence[Allowance]) -> tuple[tuple[FreePart, ...], ...]:
    """For each line what is free of each of its parts: drawn in time order, then line order.

    A bucket draws on the window in which it starts. Raises InvariantBroken for other parts that reach beyond one.
    """
    if not allowances:
        return tuple(tuple(FreePart(part, NOTHING) for part in own.parts) for own in usage)
    used = {(one.meter_id, one.window): one.used for one in allowances}
    found: list[dict[int, FreePart]] = [{} for _ in usage]
    order = sorted(
        (part.period.start, line, place) for line, own in enumerate(usage) for place, part in enumerate(own.parts)
    )
    for _, line, place in order:
        part = usage[line].parts[place]
        allowance = _covering(allowances, usage[line], part)
        if allowance is None:
            found[line][place] = FreePart(part, NOTHING)
            continue
        key = (allowance.meter_id, allowance.window)
        free = part.quantity
        if allowance.limit is not None:
            # never below 0, also when a plan change lowered the limit below what was used
            free = min(free, max(allowance.limit - used[key], NOTHING))
        found[line][place] = FreePart(part, free, allowance.window, allowance.limit, used[key])
        used[key] += free
    return tuple(tuple(own[place] for place in range(len(own))) for own in found)


def _common(window: Period, in_force: Period) -> Period:
    start = max(window.start, in_force.start)
    return Period(start, max(start, min(window.end, in_force.end)))


def _covering(allowances: Sequence[Allowance], line: LineUsage, part: UsagePart) -> Allowance | None:
    own = [one for one in allowances if one.meter_id == line.meter_id]
    for one in own:
        force = one.in_force or one.window
        if force.contains(part.period.start) and (line.bucketed or part.period.end <= force.end):
            return one
    if own:
        span = f"{part.period.start.isoformat()} to {part.period.end.isoformat()}"
        raise InvariantBroken(f"no allowance of meter {line.meter_id} covers the whole of {span}")
    return None


def _entitlement(terms: Terms, meter_id: str) -> EffectiveEntitlement | None:
    return next((one for one in terms.entitlements if one.meter_id == meter_id and one.is_enabled), None)


def _limit(terms: Terms, entitlement: EffectiveEntitlement, window: Period) -> Fraction | None:
    """The limit of a window; only one that a calendar start has cut is worth its share of it."""
    if entitlement.usage_limit is None:
        return None
    limit = Fraction(entitlement.usage_limit)
    prorated = terms.cycle is BillingCycle.calendar and terms.proration_behavior is ProrationBehavior.create_prorations
    if not prorated or window.start != terms.start or entitlement.usage_reset_period is UsageResetPeriod.NEVER:
        return limit
    whole = _whole_window(terms, entitlement.usage_reset_period, window.start)
    return limit * share_of(terms, window, whole)


def _whole_window(terms: Terms, reset: UsageResetPeriod, at: datetime) -> Period:
    cadence = _CADENCES.get(reset, terms.cadence)
    calendar = _CALENDAR.get(reset)
    if calendar is not None and not cadence.same_length(terms.cadence):
        return window_at(calendar, terms.zone, terms.anchor, at)
    return nominal_period(terms.anchor, terms.zone, cadence, at)
