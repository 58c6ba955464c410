"""What a meter measured over a period, from the events of a story that were known at a cutoff.

Owns which events are known when, and the report of those that do not count. The fold is billing.usage_aggregation's.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from billing.event_times import AHEAD
from billing.meters import Meter, ResetUsage, UsageSnapshot
from billing.periods import Period
from billing.simulation.events import EventLog, LoggedEvent, Rejected
from billing.terms_history import TermsInForce, terms_before, usage_cuts
from billing.usage_aggregation import matches, measure_buckets, measure_parts, measure_until, rejected_events


def snapshot(
    log: EventLog,
    meter: Meter,
    history: Sequence[TermsInForce],
    period: Period,
    cutoff: datetime,
    until: datetime | None = None,
) -> UsageSnapshot:
    """The meter's usage in [start, end) as it was known before `cutoff`; with `until`, of the time before it only."""
    at = period.end if until is None else min(until, period.end)
    events = [
        event
        for logged in log.received(meter.event_name, _first_arrival(meter, period), cutoff)
        if _can_count(meter, logged, period)
        and logged.original.timestamp < at
        and (event := logged.known_before(cutoff)) is not None
        for _ in range(logged.count)
    ]
    identity = f"{meter.id}:{period.start.isoformat()}"
    if meter.bucket_size is None:
        parts = measure_parts(meter, events, usage_cuts(history, meter, period), at)
        return UsageSnapshot(identity, meter.id, period, cutoff, measure_until(meter, events, period, at), parts=parts)
    terms = terms_before(history, period.end)
    quantity, parts = measure_buckets(meter, events, period, terms.zone, terms.anchor)
    return UsageSnapshot(identity, meter.id, period, cutoff, quantity, parts=parts, bucketed=True)


def has_changed(log: EventLog, meter: Meter, frozen: UsageSnapshot, cutoff: datetime) -> bool:
    """Whether events of a snapshot came, or were amended or voided, after it was taken and before `cutoff`."""
    return any(
        frozen.cutoff <= revision.at < cutoff
        for logged in log.named(meter.event_name)
        if _can_count(meter, logged, frozen.period)
        for revision in logged.revisions
    )


def unwanted(log: EventLog, meters: Iterable[Meter]) -> list[Rejected]:
    """Events that were refused, that no meter wants, or whose value counts 0."""
    by_name: dict[str, list[Meter]] = {}
    for meter in meters:
        by_name.setdefault(meter.event_name, []).append(meter)
    found = list(log.rejected)
    for logged in log.all():
        reason = _reason(logged, by_name.get(logged.original.event_name, []))
        if reason is not None:
            found.append(Rejected(logged.original.event_id, reason))
    return found


def _first_arrival(meter: Meter, period: Period) -> datetime:
    """No event that counts for the period was accepted before."""
    never = meter.reset_usage is ResetUsage.NEVER
    return datetime.min.replace(tzinfo=UTC) if never else period.start - AHEAD


def _can_count(meter: Meter, logged: LoggedEvent, period: Period) -> bool:
    at = logged.original.timestamp
    return at < period.end and (at >= period.start or meter.reset_usage is ResetUsage.NEVER)


def _reason(logged: LoggedEvent, meters: list[Meter]) -> str | None:
    if not meters:
        return "no_meter_for_event_name"
    event = logged.last
    if event is None:
        return None
    wanting = [meter for meter in meters if matches(meter, event)]
    if not wanting:
        return "no_matching_meter"
    own = _moment(logged)
    return "value_rejected" if any(rejected_events(meter, [event], own) for meter in wanting) else None


def _moment(logged: LoggedEvent) -> Period:
    """A period with this event alone in it, for asking about its value."""
    at = logged.original.timestamp
    return Period(at, at + timedelta(days=1))
