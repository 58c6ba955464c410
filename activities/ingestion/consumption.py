"""What a consumer does: poll a bounded block, store it, commit. Owns the order of the steps, not Kafka.

One block is stored at a time, while the next one is read. Whatever a rebalance, a stall or a crash repeats elsewhere is
the same records, and they make the same rows. While the store does not answer, no more than one block waits for it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Final, Protocol, TypeVar

import structlog

from activities.ingestion import metrics
from activities.ingestion.counts import RecordPlace, rows_of_record
from activities.ingestion.events import Event, Placed, decode_envelope, owner_of
from activities.ingestion.ports import IngestUnavailable
from activities.ingestion.sink import Sink
from models.clickhouse.client import ClickHouseError
from models.clickhouse.event_counts import CountRow

POLL_RECORDS: Final = 2000
POLL_SECONDS: Final = 0.4
"""Gathering for longer makes fewer and larger parts: ClickHouse merges each event less often."""
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

    def poll(self, records: int, timeout_seconds: float, meanwhile: Callable[[], None]) -> list[Record]:
        """Up to `records` records, and of a bounded size; calls `meanwhile` some times a second while it gathers."""

    def behind(self) -> int:
        """How many records there are to read."""

    def commit(self, next_offsets: dict[int, int]) -> bool:
        """Remembers, by partition, the offset to read next, except where a partition has gone since.

        False: it was not taken, and is to be repeated.
        """

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
    behind: int = 0
    """Records that wait to be read."""
    unstored_since: int = 0
    """When the log received the oldest record that is read and not stored, in Unix milliseconds; 0: there is none."""


@dataclass(slots=True)
class _Block:
    """Records read together, and what they hold."""

    records: Sequence[Record]
    placed: list[Placed] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    counted: list[CountRow] = field(default_factory=list)

    @property
    def oldest(self) -> int:
        return min((record.timestamp for record in self.records), default=0)


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
        self._done: SimpleQueue[dict[int, int]] = SimpleQueue()
        """What has been stored, on its way to the thread that commits."""
        self._uncommitted: dict[int, int] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka")
        self.totals = Totals()

    async def run(self) -> Totals:
        """Works until stopped; the block in work is finished first, unless its store does not answer."""
        coming = asyncio.create_task(self._read(), name="reading the next block")
        _running.add(self)
        try:
            while not self._stop.is_set():
                block = await coming
                coming = asyncio.create_task(self._read(), name="reading the next block")
                if block.records:
                    self.totals.unstored_since = block.oldest
                    if await self._stored(block):
                        self._done.put(self._note_stored(block.records))
        finally:
            _running.discard(self)
            await asyncio.gather(coming, return_exceptions=True)
            await self._sink.close()
            await self._call(self._end)
            self._thread.shutdown()
        return self.totals

    def oldest_ms(self) -> int:
        """Age of the oldest record that is read and not stored; 0 when there is none."""
        since = self.totals.unstored_since
        return max(self._clock_ns() // 1_000_000 - since, 0) if since else 0

    async def _read(self) -> _Block:
        """Gives the next records and what they hold; commits what is stored meanwhile."""
        records, self.totals.behind = await self._call(self._poll)
        self._note_assignments()
        block = _Block(records)
        for record in records:
            good, bad = decode_envelope(record.value)
            block.placed.extend([Placed(event, record.partition, record.offset) for event in good])
            block.letters.extend([DeadLetter(record.partition, record.offset, value, why) for value, why in bad])
            block.counted.extend(self._counts_of(record, good, [value for value, _ in bad]))
        return block

    def _poll(self) -> tuple[list[Record], int]:
        self._commit()
        return self._source.poll(POLL_RECORDS, POLL_SECONDS, self._commit_news), self._source.behind()

    def _commit_news(self) -> None:
        """Commits a block that has been stored while the next one gathers: to the API it would seem late."""
        if not self._done.empty():
            self._commit()

    def _commit(self) -> None:
        """What the group does not take, as in the middle of a rebalance, is offered again: nothing may follow it."""
        while not self._done.empty():
            self._uncommitted |= self._done.get_nowait()
        if self._uncommitted and self._source.commit(self._uncommitted):
            self._uncommitted = {}

    def _end(self) -> None:
        self._commit()
        self._source.close()

    def _note_assignments(self) -> None:
        """After a poll, in which partitions arrive, and before anything of it is stored."""
        if self._source.assignments != self._assignments:
            self._assignments = self._source.assignments
            # What the other one had read and not committed is read again here, and makes the same rows.
            self._sink.another_wrote()

    def _note_stored(self, records: Sequence[Record]) -> dict[int, int]:
        """Counts them, and gives by partition the offset to go on at."""
        self.totals.records += len(records)
        self.totals.unstored_since = 0
        newest = max(record.timestamp for record in records)
        self.totals.lag_ms = max(self._clock_ns() // 1_000_000 - newest, 0)
        metrics.LAG.set(self.totals.lag_ms / 1000)
        return {record.partition: record.offset + 1 for record in records}

    async def _stored(self, block: _Block) -> bool:
        """Tries until the block is stored (True) or the process is asked to stop (False)."""
        stored_at = self._clock_ns() // 1_000_000
        tries = 0
        while True:
            try:
                await self._store(block, stored_at)
            except (ClickHouseError, IngestUnavailable) as error:
                log.warning("consume.store_does_not_answer", error=str(error), events=len(block.placed), tries=tries)
            else:
                if tries:
                    await self._call(self._source.go_on)
                return True
            if await self._stopped_within(WAIT_SECONDS[min(tries, len(WAIT_SECONDS) - 1)]):
                return False
            tries += 1

    def _counts_of(self, record: Record, good: Sequence[Event], bad: Sequence[bytes]) -> list[CountRow]:
        place = RecordPlace(self._source.topic, record.partition, record.offset, record.timestamp, record.replayed)
        return rows_of_record(place, good, [owner_of(value, record.key) for value in bad])

    async def _store(self, block: _Block, stored_at: int) -> None:
        letters = block.letters
        if letters:
            await self._call(lambda: self._source.dead_letter(letters))
            for letter in letters:
                log.error("consume.dead_letter", partition=letter.partition, offset=letter.offset, reason=letter.reason)
            metrics.DEAD_LETTERS.inc(len(letters))
            self.totals.dead_lettered += len(letters)
            letters.clear()
        if block.counted:
            result = await self._sink.store(block.placed, stored_at, block.counted)
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


_running: Final[set[Consumption]] = set()
metrics.OLDEST.set_function(lambda: max((each.oldest_ms() for each in _running), default=0) / 1000)
metrics.BEHIND.set_function(lambda: sum(each.totals.behind for each in _running))
