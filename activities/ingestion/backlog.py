"""What this process has put into the log and no consumer has stored yet; who may add to it while it is late.

A tenant that sends more than can be stored would have everybody's events wait behind its own. While the oldest event is
late, requests of tenants with many unstored events are answered later, never refused: who waits for its answers sends
only as much as is stored. While nothing is stored at all nobody is held up: for that time the log is there.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

LATE_SECONDS: Final = 1.0
"""The oldest event is late after so long: usually events are stored within half a second to a second."""

MANY_EVENTS: Final = 5000
"""A tenant with fewer unstored events is never held up."""

HELD_SECONDS: Final = 1.0
"""A request is held up for so long at most."""

STUCK_SECONDS: Final = 5.0
"""Nothing has been stored for so long: consumers are away or their store is."""


@dataclass(frozen=True, slots=True)
class _Unstored:
    """One record: its offset, when it was acknowledged (monotonic seconds), and events by tenant."""

    offset: int
    at: float
    events: Mapping[str, int]


class Backlog:
    """Used from one event loop. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[int, deque[_Unstored]] = {}
        self._events: Counter[str] = Counter()
        self._moved_at = clock()
        self._news = asyncio.Event()

    @property
    def partitions(self) -> list[int]:
        """Those with records that are not known to be stored."""
        return [partition for partition, records in self._records.items() if records]

    def add(self, partition: int, offset: int, events: Mapping[str, int]) -> None:
        """The log has a record with so many `events` of each tenant."""
        if not self.partitions:
            self._moved_at = self._clock()
        self._records.setdefault(partition, deque()).append(_Unstored(offset, self._clock(), events))
        self._events.update(events)

    def stored(self, next_offsets: Mapping[int, int]) -> None:
        """By partition, the offset before which everything is stored."""
        for partition, end in next_offsets.items():
            records = self._records.get(partition, deque())
            while records and records[0].offset < end:
                self._events.subtract(records.popleft().events)
                self._moved_at = self._clock()
        if not self.partitions:
            self._events.clear()
        self._news.set()
        self._news = asyncio.Event()

    def holds_up(self, tenant_id: str) -> bool:
        """Whether a request of the tenant is to wait."""
        now = self._clock()
        if self._events[tenant_id] < MANY_EVENTS or now - self._moved_at > STUCK_SECONDS:
            return False
        return any(records and now - records[0].at > LATE_SECONDS for records in self._records.values())

    async def turn(self, tenant_id: str) -> None:
        """Returns when the tenant may add to the log."""
        until = self._clock() + HELD_SECONDS
        while self.holds_up(tenant_id) and (left := until - self._clock()) > 0:
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                return
