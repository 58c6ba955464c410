"""The consumer as an activity: the same code as `durabill consume`, in stints that Temporal keeps repeating.

A stint ends after ten minutes, when its worker is told to stop, or when it is cancelled; the block in work is finished
first. What it has done goes out with its heartbeats, and every half minute to the workflow that keeps it alive.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from temporalio import activity
from temporalio.service import RPCError

from activities.ingestion.consumption import Consumption, EventSource, Totals
from activities.ingestion.sink import sink_of_lane
from models.clickhouse.client import ClickHouse

USUAL: Final = "events"
LAZY: Final = "events_lazy"
"""The lanes by which events travel through Kafka."""

STINT_SECONDS: Final = 600
BEAT_SECONDS: Final = 2.0
REPORT_BEATS: Final = 15
TELL_TIMEOUT: Final = timedelta(seconds=5)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConsumeEvents:
    """Carry a lane's events for one stint, as consumer `number` of several."""

    lane: str
    number: int
    stint_seconds: int = STINT_SECONDS


@dataclass(frozen=True, slots=True)
class SinkReport:
    """What a consumer has done in its stint so far. `per_second` counts events since the report before."""

    number: int
    stored: int = 0
    duplicates: int = 0
    dead_lettered: int = 0
    lag_ms: int = 0
    """How old the newest stored record was when it had been stored."""
    per_second: int = 0
    oldest_ms: int = 0
    """Age of the oldest record that is read and not stored; 0 when there is none."""
    behind: int = 0
    """Records that wait in Kafka."""


class SinkActivities:
    """Consumers of usage events. `source_of` connects to the records of a lane."""

    def __init__(
        self, source_of: Callable[[str], EventSource], clickhouse: ClickHouse, lazy_tenants: Collection[str]
    ) -> None:
        self._source_of = source_of
        self._clickhouse = clickhouse
        self._lazy_tenants = lazy_tenants

    @activity.defn(name="ingestion.consume")
    async def consume(self, command: ConsumeEvents) -> SinkReport:
        """One stint; returns what it has done."""
        stop = asyncio.Event()
        sink = sink_of_lane(self._clickhouse, command.lane == LAZY, self._lazy_tenants)
        consumption = Consumption(self._source_of(command.lane), sink, stop)
        work = asyncio.create_task(consumption.run(), name="consuming usage events")
        try:
            return await self._watch(command, consumption, work, stop)
        finally:
            stop.set()
            await asyncio.wait([work])

    async def _watch(
        self, command: ConsumeEvents, consumption: Consumption, work: "asyncio.Task[Totals]", stop: asyncio.Event
    ) -> SinkReport:
        """Tells how far it has come until the stint is over."""
        ending = asyncio.create_task(activity.wait_for_worker_shutdown())
        pace = _Pace()
        try:
            for beat in range(1, int(command.stint_seconds / BEAT_SECONDS) + 1):
                await asyncio.wait({work, ending}, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                report = _report(command.number, consumption, pace)
                activity.heartbeat(report)
                if beat % REPORT_BEATS == 1:
                    await self._tell(report)
                    pace.mark(report)
                if work.done() or ending.done():
                    break
        finally:
            ending.cancel()
        stop.set()
        await work
        return _report(command.number, consumption, pace)

    async def _tell(self, report: SinkReport) -> None:
        info = activity.info()
        if info.workflow_id is None:
            return
        try:
            handle = activity.client().get_workflow_handle(info.workflow_id)
            await handle.signal("report", report, rpc_timeout=TELL_TIMEOUT)
        except RPCError as error:
            # Events are stored all the same; whoever reads the details sees how old they are.
            log.warning("consume.report_not_taken", error=str(error))


class _Pace:
    """Since when events are counted for the rate."""

    def __init__(self) -> None:
        self._events = 0
        self._at = time.monotonic()

    def mark(self, report: SinkReport) -> None:
        self._events = report.stored + report.duplicates
        self._at = time.monotonic()

    def rate(self, events: int) -> int:
        return int((events - self._events) / max(time.monotonic() - self._at, 0.001))


def _report(number: int, consumption: Consumption, pace: _Pace) -> SinkReport:
    totals = consumption.totals
    return SinkReport(
        number,
        totals.stored,
        totals.duplicates,
        totals.dead_lettered,
        totals.lag_ms,
        pace.rate(totals.stored + totals.duplicates),
        consumption.oldest_ms(),
        totals.behind,
    )
