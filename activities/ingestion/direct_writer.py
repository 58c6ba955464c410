"""The path without Kafka: the one process that writes events straight into ClickHouse.

Owns gathering and the doubt about a block whose write was not answered. The block is kept and stored again, row for
row, before anything else is; so a retry by the client, which may carry another time, always meets its identity.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import structlog

from activities.ingestion import metrics
from activities.ingestion.counts import AcceptanceCounts
from activities.ingestion.events import Event, Placed
from activities.ingestion.known_ids import LATE_SECONDS
from activities.ingestion.ports import IngestUnavailable, WriterLease
from activities.ingestion.sink import Sink
from models.clickhouse.client import ClickHouseError, ClickHouseRefused

GATHER_SECONDS: Final = 0.003
BUSY_GATHER_SECONDS: Final = 0.05
"""At most so long after a block, for as many events as came with it and during it: then all who wait for their answers
have sent again. A block costs ClickHouse some 30 ms of CPU, whether it holds 3,000 events or 6,000."""

BUSY_SECONDS: Final = 0.2
"""For so long after a block more is expected."""

BLOCK_EVENTS: Final = 20_000
WAITING_EVENTS: Final = 100_000

log = structlog.get_logger(__name__)

Waiting = tuple[Sequence[Event], asyncio.Future[None]]


class DirectWriter:
    """An `EventAcceptor` and a `UsageProgress`. `start` it inside the API's event loop, `close` it at the end.

    `clock_ns` is the wall clock in Unix nanoseconds.
    """

    def __init__(
        self,
        sink: Sink,
        lease: WriterLease,
        clock_ns: Callable[[], int] = time.time_ns,
        counts: AcceptanceCounts | None = None,
    ) -> None:
        self._sink = sink
        self._counts = counts
        self._lease = lease
        self._clock_ns = clock_ns
        self._queue: deque[Waiting] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._enough = asyncio.Event()
        self._target = BLOCK_EVENTS
        """Events for which the next block waits, for a while."""
        self._expected = 0
        self._busy_until = 0.0
        """By the clock of the event loop."""
        self._task: asyncio.Task[None] | None = None
        self._held: int | None = None
        self._last_block = 0
        self._handed_over: int | None = None
        """When the events in work became a block, in Unix milliseconds; None before."""
        self._doubtful: tuple[list[Placed], int] | None = None

    def start(self) -> None:
        """Begins to write what is accepted."""
        self._task = asyncio.create_task(self._run(), name="direct event writer")

    async def close(self) -> None:
        """Writes what has been accepted, then gives up the lease."""
        task, self._task = self._task, None
        if task is not None:
            self._wake.set()
            self._enough.set()
            await task
        await self._sink.close()
        await self._lease.release()

    async def accept(self, events: Sequence[Event]) -> None:
        """Returns when ClickHouse has all of `events`. Raises IngestUnavailable."""
        if self._task is None:
            raise IngestUnavailable("this process is shutting down")
        if self._waiting + len(events) > WAITING_EVENTS:
            raise IngestUnavailable("too many events are waiting to be stored")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((events, done))
        self._waiting += len(events)
        self._wake.set()
        if self._waiting >= self._target:
            self._enough.set()
        await done

    async def settled(self, cutoff: datetime) -> bool:
        """Always: what is accepted is stored."""
        return True

    async def _run(self) -> None:
        while self._task is not None or self._queue:
            await self._wake.wait()
            await self._gather()
            if self._queue:
                requests = self._next_requests()
                await self._answer(requests)
                self._expected = sum(len(events) for events, _ in requests) + self._waiting
                self._busy_until = asyncio.get_running_loop().time() + BUSY_SECONDS
            if not self._queue:
                self._wake.clear()

    async def _gather(self) -> None:
        """Waits for company: briefly, or as long as it takes those who have just been answered to send again."""
        busy = asyncio.get_running_loop().time() < self._busy_until
        self._target = min(self._expected, BLOCK_EVENTS) if busy else BLOCK_EVENTS
        if self._waiting >= self._target or self._task is None:
            return
        self._enough.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._enough.wait(), BUSY_GATHER_SECONDS if busy else GATHER_SECONDS)

    def _next_requests(self) -> list[Waiting]:
        taken: list[Waiting] = []
        size = 0
        while self._queue and (not taken or size + len(self._queue[0][0]) <= BLOCK_EVENTS):
            taken.append(self._queue.popleft())
            size += len(taken[-1][0])
        return taken

    async def _answer(self, requests: Sequence[Waiting]) -> None:
        error: Exception | None = None
        self._handed_over = None
        try:
            await self._write([event for events, _ in requests for event in events])
        except IngestUnavailable as unavailable:
            error = unavailable
        except Exception as unexpected:
            log.exception("ingest.direct_write_failed")
            error = IngestUnavailable(f"events could not be stored: {type(unexpected).__name__}")
        for events, done in requests:
            self._waiting -= len(events)
            if self._counts is not None and self._handed_over is not None:
                count = self._counts.accepted if error is None else self._counts.unconfirmed
                count(events, self._handed_over)
            if done.cancelled():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    async def _write(self, events: Sequence[Event]) -> None:
        await self._own_the_tables()
        try:
            if self._doubtful is not None:
                await self._store(*self._doubtful)
            block = self._next_block()
            self._handed_over = block // 1000
            self._doubtful = ([Placed(event, 0, block) for event in events], self._handed_over)
            await self._store(*self._doubtful)
        except ClickHouseRefused as error:
            # The block itself will never be taken. A part of it may be stored: the repair at the next block sees to it.
            log.error("ingest.block_refused", error=str(error), events=len(events))
            self._doubtful = None
            self._held = None
            raise IngestUnavailable("ClickHouse refuses to store events; see the log of this process", 30) from error
        except ClickHouseError as error:
            log.warning("ingest.clickhouse_unavailable", error=str(error))
            raise IngestUnavailable("ClickHouse does not answer") from error

    async def _store(self, block: Sequence[Placed], received_at: int) -> None:
        stored = await self._sink.store(block, received_at)
        self._doubtful = None
        metrics.STORED.inc(stored.stored)
        metrics.DUPLICATES.inc(stored.duplicates)
        if self._counts is not None:
            self._counts.wrote(block, stored.repeated, received_at)

    async def _own_the_tables(self) -> None:
        held = await self._lease.hold()
        if held is None:
            self._held = None
            raise IngestUnavailable("another process is the writer of events; send them there or use Kafka")
        if held == self._held:
            return
        try:
            # The writer before may have died with a block on its way. Were one of its events sent again at another time
            # and stored before that block lands, it would count twice.
            if await self._sink.has_unfinished_writes():
                raise IngestUnavailable("a write of the writer before has not ended yet")
            # Or between its two inserts.
            self._last_block = max(self._last_block, await self._sink.repair() * 1000)
        except ClickHouseError as error:
            raise IngestUnavailable("ClickHouse does not answer") from error
        self._sink.another_wrote(LATE_SECONDS)
        self._held = held

    def _next_block(self) -> int:
        """The number of a block: its time in microseconds, in whole milliseconds, larger than all before it."""
        self._last_block = max(self._last_block // 1000 + 1, self._clock_ns() // 1_000_000) * 1000
        return self._last_block
