"""Who counts what on the path of usage: the API what it accepted, the sink what it read from the log.

Counting costs ingestion nothing that could be measured: the API adds in memory and writes every few seconds, the sink
writes one small block beside the events. Both write what can be repeated: sums of a process so far, facts of a record.
"""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from activities.ingestion.events import Event, Placed
from models.clickhouse.client import ClickHouse, ClickHouseError
from models.clickhouse.event_counts import API, CountRow, insert_counts, minute_of

FLUSH_SECONDS: Final = 5.0
KEPT_SECONDS: Final = 300
"""How long sums of a past minute are kept in memory: longer than anything may take to be acknowledged."""

Owner = tuple[str, str]
"""Tenant and environment."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Sums:
    accepted: int = 0
    unconfirmed: int = 0
    events: int = 0
    stored: int = 0
    written: bool = False


class AcceptanceCounts:
    """What one process accepted, by minute and owner. `start` it inside the event loop, `close` it at the end."""

    def __init__(self, clickhouse: ClickHouse, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clickhouse = clickhouse
        self._clock_ns = clock_ns
        self._process = secrets.randbits(63)
        self._sums: dict[tuple[int, str, str], _Sums] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to write what is counted, every few seconds."""
        self._task = asyncio.create_task(self._run(), name="counts of accepted events")

    async def close(self) -> None:
        """Writes what has been counted; what ClickHouse does not take by then is lost, and shows as surplus."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.flush()

    def accepted(self, events: Sequence[Event], at: int) -> None:
        """`events`, all of one owner, are durable; the log received them `at` (Unix milliseconds)."""
        self._of(events[0].tenant_id, events[0].environment_id, at).accepted += len(events)

    def unconfirmed(self, events: Sequence[Event], at: int) -> None:
        """`events`, all of one owner, were handed to the log `at`, and nobody knows whether it has them."""
        self._of(events[0].tenant_id, events[0].environment_id, at).unconfirmed += len(events)

    def wrote(self, block: Sequence[Placed], duplicates: Sequence[Placed], at: int) -> None:
        """The direct writer stored a block that it received `at`; all but `duplicates` were new."""
        old = _owners([placed.event for placed in duplicates])
        for owner, count in _owners([placed.event for placed in block]).items():
            sums = self._of(*owner, at)
            sums.events += count
            sums.stored += count - old[owner]

    async def flush(self) -> None:
        """Writes what has changed. While ClickHouse does not answer it is kept."""
        changed = {key: sums for key, sums in self._sums.items() if not sums.written}
        rows = [self._row(*key, sums) for key, sums in changed.items()]
        for sums in changed.values():
            sums.written = True
        try:
            if rows:
                await insert_counts(self._clickhouse, rows)
        except ClickHouseError as error:
            log.warning("ingest.counts_not_written", error=str(error), minutes=len(rows))
            for sums in changed.values():
                sums.written = False
        self._forget()

    def _of(self, tenant_id: str, environment_id: str, at: int) -> _Sums:
        key = (minute_of(at), tenant_id, environment_id)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = _Sums()
        sums.written = False
        return sums

    def _row(self, minute: int, tenant_id: str, environment_id: str, sums: _Sums) -> CountRow:
        return CountRow(
            minute,
            tenant_id,
            environment_id,
            API,
            0,
            self._process,
            accepted=sums.accepted,
            unconfirmed=sums.unconfirmed,
            events=sums.events,
            stored=sums.stored,
        )

    def _forget(self) -> None:
        oldest = self._clock_ns() // 1_000_000_000 - KEPT_SECONDS
        for key in [key for key, sums in self._sums.items() if sums.written and key[0] < oldest]:
            del self._sums[key]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """Where a record of the log stands, and when the log received it (Unix milliseconds)."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    replayed: bool = False


def rows_of_record(place: RecordPlace, good: Sequence[Event], bad: Sequence[Owner]) -> list[CountRow]:
    """What a record holds, an owner a row; `bad` has the owner of each of its dead letters."""
    events, dead = _owners(good), Counter(bad)
    return [
        CountRow(
            minute_of(place.timestamp),
            *owner,
            place.topic,
            place.partition,
            place.offset,
            replayed=(events[owner] + dead[owner]) if place.replayed else 0,
            events=events[owner],
            dead_lettered=dead[owner],
        )
        for owner in {**events, **dead}
    ]


def with_stored(rows: Sequence[CountRow], duplicates: Sequence[Placed]) -> list[CountRow]:
    """The rows of a block's records, with how many events of each were new: all but `duplicates`."""
    old = Counter(
        [(each.partition, each.offset, each.event.tenant_id, each.event.environment_id) for each in duplicates]
    )
    return [
        replace(row, stored=row.events - old[(row.partition, row.place, row.tenant_id, row.environment_id)])
        for row in rows
    ]


def _owners(events: Sequence[Event]) -> Counter[Owner]:
    tenants, environments = {event.tenant_id for event in events}, {event.environment_id for event in events}
    if len(tenants) == len(environments) == 1:  # as nearly always
        return Counter({(tenants.pop(), environments.pop()): len(events)})
    return Counter([(event.tenant_id, event.environment_id) for event in events])
