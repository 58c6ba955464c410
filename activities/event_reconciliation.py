"""Proof that nothing accepted is lost: what the API took in against what came out of the log, minute by minute.

A minute is judged once it has settled: everybody who counts has written, and the sink has stored all that was accepted
in it. Design: usage.md section 5.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from prometheus_client import Gauge
from temporalio import activity

from activities.event_corrections import apply_every_pending
from activities.ingestion.ports import UsageProgress
from billing.codec import from_json
from billing.meters import Filter
from models.clickhouse.billed_events import BilledWindow, StoredSpan, read_billed, read_stored_span
from models.clickhouse.client import ClickHouse
from models.clickhouse.event_counts import MinuteCounts, last_whole_minute, read_minutes, read_unbalanced
from models.conversions import meter_from_row
from models.database import Database
from models.queries.reconciliation import Frozen, list_billed_usage
from models.scope import Scope

SETTLING: Final = timedelta(seconds=30)
"""Within it everybody has written what was counted in a minute: processes do so every few seconds."""

LOOKS_BACK: Final = timedelta(hours=24)
CUSTOMERS_A_QUERY: Final = 1000
SHOWN_MINUTES: Final = 20

UNACCOUNTED = Gauge(
    "durabill_events_unaccounted",
    "Events of the last day that were accepted and became nothing (missing), or came from nowhere (surplus).",
    ["kind"],
)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The counted minutes of [start, end) of one environment; those before `settled_until` can be judged.

    `billed` has how many of the events stored in a minute an invoice counted by now.
    """

    minutes: tuple[MinuteCounts, ...]
    settled_until: datetime
    billed: Mapping[datetime, int]

    @property
    def findings(self) -> tuple[MinuteCounts, ...]:
        """The settled minutes that do not add up."""
        return tuple(
            each for each in self.minutes if each.minute < self.settled_until and (each.missing or each.surplus)
        )


async def reconcile(
    database: Database,
    clickhouse: ClickHouse,
    progress: UsageProgress,
    scope: Scope,
    start: datetime,
    end: datetime,
    now: datetime,
) -> Reconciliation:
    """What was counted in [start, end), by the wall clock. Raises ClickHouseError, IngestUnavailable."""
    settled = await settled_until(progress, start, min(end, now))
    minutes = await read_minutes(clickhouse, scope, start, end)
    billed = by_counted_minute(await billed_events(database, clickhouse, scope, start, end), minutes)
    return Reconciliation(tuple(minutes), min(settled, last_whole_minute(now - SETTLING)), billed)


def by_counted_minute(stored: Mapping[datetime, int], counted: Sequence[MinuteCounts]) -> Mapping[datetime, int]:
    """Events by a minute in which something was counted: their own, else the one before.

    An event is stored a moment after the log received it. What came before the first counted minute is left out.
    """
    minutes = [each.minute for each in counted]
    billed: Counter[datetime] = Counter()
    for minute, count in stored.items():
        place = bisect_right(minutes, minute)
        if place:
            billed[minutes[place - 1]] += count
    return billed


async def billed_events(
    database: Database, clickhouse: ClickHouse, scope: Scope, start: datetime, end: datetime
) -> Mapping[datetime, int]:
    """By the minute in which they were stored: events of [start, end), real time, that a final invoice counted.

    Raises ClickHouseError.
    """
    span = await read_stored_span(clickhouse, scope, start, end)
    if span is None:
        return {}
    windows: set[BilledWindow] = set()
    for at in range(0, len(span.external_customer_ids), CUSTOMERS_A_QUERY):
        whose = span.external_customer_ids[at : at + CUSTOMERS_A_QUERY]
        async with database.transaction(scope) as session:
            found = await list_billed_usage(session, scope, whose, span.first)
            windows.update(_window(each) for each in found if _may_hold(each, span))
    return await read_billed(clickhouse, scope, start, end, sorted(windows, key=lambda each: each.external_customer_id))


def _may_hold(frozen: Frozen, span: StoredSpan) -> bool:
    return frozen.snapshot.period_start <= span.last or meter_from_row(frozen.meter).is_cumulative


def _window(frozen: Frozen) -> BilledWindow:
    row, meter = frozen.snapshot, meter_from_row(frozen.meter)
    if row.filters is not None:
        meter = replace(meter, filters=tuple(from_json(Filter, each) for each in row.filters))
    start = None if meter.is_cumulative else row.period_start
    return BilledWindow(frozen.external_customer_id, meter, start, row.period_end, row.cutoff_at)


async def settled_until(progress: UsageProgress, start: datetime, end: datetime) -> datetime:
    """The end of the last minute of [start, end] up to which all that was accepted is stored, else `start`."""
    first, last = last_whole_minute(start), last_whole_minute(end)
    if last <= first or await progress.settled(last):
        return max(last, first)
    low, high = 0, (last - first) // timedelta(minutes=1)
    while high - low > 1:  # up to `low` minutes have settled, up to `high` have not
        middle = (low + high) // 2
        low, high = (middle, high) if await progress.settled(first + timedelta(minutes=middle)) else (low, middle)
    return first + timedelta(minutes=low)


@dataclass(frozen=True, slots=True)
class ReconcileUsage:
    """Look at the day before `now` (real time), of all tenants."""

    now: datetime


@dataclass(frozen=True, slots=True)
class UsageFindings:
    """Sums of the settled minutes that do not add up, and the first of them in words."""

    settled_until: datetime
    missing: int = 0
    surplus: int = 0
    minutes: tuple[str, ...] = ()
    corrections_applied: int = 0


class ReconciliationActivities:
    """The pass over everybody's counts that a Schedule runs."""

    def __init__(self, database: Database, clickhouse: ClickHouse, progress: UsageProgress) -> None:
        self._database = database
        self._clickhouse = clickhouse
        self._progress = progress

    @activity.defn(name="usage.reconcile")
    async def reconcile(self, command: ReconcileUsage) -> UsageFindings:
        """Completes corrections that a crash left half done, then finds what does not add up, logs and measures it."""
        applied = await apply_every_pending(self._database, self._clickhouse)
        start, end = command.now - LOOKS_BACK, command.now - SETTLING
        settled = await settled_until(self._progress, start, end)
        found = await read_unbalanced(self._clickhouse, last_whole_minute(start), settled)
        for each in found:
            report = log.error if each.missing else log.warning
            report("usage.counts_do_not_add_up", counts=_sentence(each), tenant_id=each.scope.tenant_id)
        missing, surplus = sum(each.missing for each in found), sum(each.surplus for each in found)
        UNACCOUNTED.labels("missing").set(missing)
        UNACCOUNTED.labels("surplus").set(surplus)
        return UsageFindings(settled, missing, surplus, _shown(found), applied)


def _shown(found: Sequence[MinuteCounts]) -> tuple[str, ...]:
    return tuple(f"{each.scope.tenant_id}: {_sentence(each)}" for each in found[:SHOWN_MINUTES])


def _sentence(counts: MinuteCounts) -> str:
    return (
        f"{counts.minute.astimezone(UTC):%Y-%m-%d %H:%M} UTC: accepted {counts.accepted}, replayed {counts.replayed},"
        f" stored {counts.stored}, duplicates {counts.duplicates}, dead letters {counts.dead_lettered}:"
        f" {counts.missing} missing, {counts.surplus} surplus"
    )
