"""What a consumer does: poll a bounded block, store it, commit. Owns the order of the steps, not Kafka.

One block at a time, so a rebalance, which happens inside a poll, never meets a block in work. While the store does not
answer the block is kept and nothing more is read. A crash at any point repeats a block whose identities are known.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import structlog

from activities.ingestion import metrics
from activities.ingestion.counts import RecordPlace, rows_of_record
from activities.ingestion.events import Event, Placed, decode_envelope, owner_of
from activities.ingestion.ports import IngestUnavailable
from activities.ingestion.sink import Sink
from models.clickhouse.client import ClickHouseError
from models.clickhouse.event_counts import CountRow

POLL_RECORDS: Final = 500
POLL_SECONDS: Final = 0.2
WAIT_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses between tries while ClickHouse or the dead letters' topic does not answer; the last one repeats."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record; `timestamp` in Unix milliseconds."""

    partition: int
    offset: int
    timestamp: int
    value: bytes
    key: bytes = b""
    replayed: bool = False
    """It was a dead letter before."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Something that can never be stored, and why."""

    partition: int
    offset: int
    value: bytes
    reason: str


class EventSource(Protocol):
    """Where records come from. All methods block; `consume` calls them from one thread."""

    @property
    def topic(self) -> str:
        """What is read."""

    @property
    def assignments(self) -> int:
        """How often partitions have been assigned: a new number means that another consumer may have had some."""

    def poll(self, records: int, timeout_seconds: float) -> list[Record]:
        """Up to `records` records."""

    def commit(self, next_offsets: dict[int, int]) -> bool:
        """Remembers, by partition, the offset to read next."""

    def hold(self) -> None:
        """Stays a member without reading on."""

    def go_on(self) -> None:
        """Reads on."""

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """Puts `letters` aside durably."""

    def close(self) -> None:
        """Leaves the group."""


@dataclass(slots=True)
class Totals:
    """What this process has done since it started."""

    records: int = 0
    stored: int = 0
    duplicates: int = 0
    dead_lettered: int = 0
    lag_ms: int = 0
    """Age of the newest record when it had been stored."""


class Consumption:
    """Carries events from `source` into `sink` until `stop` is set. `clock_ns`: the wall clock in Unix nanoseconds."""

    def __init__(
        self, source: EventSource, sink: Sink, stop: asyncio.Event, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._source = source
        self._sink = sink
        self._stop = stop
        self._clock_ns = clock_ns
        self._assignments = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka")
        self.totals = Totals()

    async def run(self) -> Totals:
        """Works until stopped; the block in work is finished first, unless its store does not answer."""
        try:
            while not self._stop.is_set():
                records = await self._call(lambda: self._source.poll(POLL_RECORDS, POLL_SECONDS))
                self._note_assignments()
                if records and await self._stored(records):
                    await self._committed(records)
        finally:
            await self._sink.close()
            await self._call(self._source.close)
            self._thread.shutdown()
        return self.totals

    def _note_assignments(self) -> None:
        """After a poll, in which partitions arrive, and before anything of it is stored."""
        if self._source.assignments != self._assignments:
            self._assignments = self._source.assignments
            # What the other one had read and not committed is read again here, and makes the same rows.
            self._sink.another_wrote()

    async def _committed(self, records: Sequence[Record]) -> None:
        next_offsets = {record.partition: record.offset + 1 for record in records}
        await self._call(lambda: self._source.commit(next_offsets))
        self.totals.records += len(records)
        newest = max(record.timestamp for record in records)
        self.totals.lag_ms = max(self._clock_ns() // 1_000_000 - newest, 0)
        metrics.LAG.set(self.totals.lag_ms / 1000)

    async def _stored(self, records: Sequence[Record]) -> bool:
        """Tries until the block is stored (True) or the process is asked to stop (False)."""
        placed: list[Placed] = []
        letters: list[DeadLetter] = []
        counted: list[CountRow] = []
        for record in records:
            good, bad = decode_envelope(record.value)
            placed.extend(Placed(event, record.partition, record.offset) for event in good)
            letters.extend(DeadLetter(record.partition, record.offset, value, reason) for value, reason in bad)
            counted.extend(self._counts_of(record, good, [value for value, _ in bad]))
        stored_at = self._clock_ns() // 1_000_000
        tries = 0
        while True:
            try:
                await self._store(placed, letters, counted, stored_at)
            except (ClickHouseError, IngestUnavailable) as error:
                log.warning("consume.store_does_not_answer", error=str(error), events=len(placed), tries=tries)
            else:
                await self._call(self._source.go_on)
                return True
            if await self._stopped_within(WAIT_SECONDS[min(tries, len(WAIT_SECONDS) - 1)]):
                return False
            tries += 1

    def _counts_of(self, record: Record, good: Sequence[Event], bad: Sequence[bytes]) -> list[CountRow]:
        place = RecordPlace(self._source.topic, record.partition, record.offset, record.timestamp, record.replayed)
        return rows_of_record(place, good, [owner_of(value, record.key) for value in bad])

    async def _store(
        self, placed: Sequence[Placed], letters: list[DeadLetter], counted: Sequence[CountRow], stored_at: int
    ) -> None:
        if letters:
            await self._call(lambda: self._source.dead_letter(letters))
            for letter in letters:
                log.error("consume.dead_letter", partition=letter.partition, offset=letter.offset, reason=letter.reason)
            metrics.DEAD_LETTERS.inc(len(letters))
            self.totals.dead_lettered += len(letters)
            letters.clear()
        if counted:
            result = await self._sink.store(placed, stored_at, counted)
            metrics.STORED.inc(result.stored)
            metrics.DUPLICATES.inc(result.duplicates)
            self.totals.stored += result.stored
            self.totals.duplicates += result.duplicates

    async def _stopped_within(self, seconds: float) -> bool:
        await self._call(self._source.hold)
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _call(self, blocking: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, blocking)
