"""What a consumer commits is stored: at every commit, whatever its store refuses and whenever it is stopped."""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from activities.ingestion import consumption
from activities.ingestion.consumption import Consumption, DeadLetter, Record
from activities.ingestion.events import Event, decode_envelope, encode_envelope, identity
from activities.ingestion.sink import Sink
from models.clickhouse.client import ClickHouseUnavailable

PARTITIONS = (0, 1, 2)
RECORDS = 60
"""Of each partition."""


def record(partition: int, offset: int) -> Record:
    # A third of the events repeat those of the record before, and some records hold no event at all.
    numbers = range(offset * 3, offset * 3 + 4) if offset % 7 else ()
    events = [Event("t", "e", f"c-{partition}", "call", 1, f"e-{number}", "", "{}", 1) for number in numbers]
    return Record(partition, offset, 1, encode_envelope(events))


class Store:
    """Remembers what it took; answers some inserts not at all, half of them after it took them."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.events: set[tuple[str, str]] = set()
        self.identities: set[tuple[int, int]] = set()

    async def insert(self, table: str, columns: Mapping[str, str], values: Sequence[Sequence[Any]]) -> None:
        await asyncio.sleep(self._chance.uniform(0, 0.004))
        fails = self._chance.random() < 0.2
        if not fails or self._chance.random() < 0.5:
            rows = set(zip(*values, strict=True))
            if table == "events":
                self.events |= {(row[2], row[5]) for row in rows}
            elif table == "event_ids":
                self.identities |= rows
        if fails:
            raise ClickHouseUnavailable("no answer")

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        asked = set(map(int, sql.partition("IN (")[2].rstrip(")").split(",")))
        return [words for words in self.identities if words[0] in asked]

    async def read(self, sql: str) -> bytes:
        raise NotImplementedError

    async def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        raise NotImplementedError

    def has(self, event: Event) -> bool:
        return (event.external_customer_id, event.event_id) in self.events and identity(event) in self.identities


class Log:
    """Three partitions. Refuses some commits, and checks each of them against the store."""

    topic = "events"
    assignments = 1

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store, self._chance = store, chance
        self._read: Counter[int] = Counter()
        self.committed: Counter[int] = Counter()
        self.wrong: list[tuple[int, int]] = []
        self.while_gathering = 0
        self.all_committed = threading.Event()

    def poll(self, records: int, timeout_seconds: float, meanwhile: Callable[[], None]) -> list[Record]:
        found = []
        for _ in range(self._chance.randrange(8)):
            partition = self._chance.choice(PARTITIONS)
            if self._read[partition] < RECORDS:
                found.append(record(partition, self._read[partition]))
                self._read[partition] += 1
            time.sleep(self._chance.uniform(0, 0.002))
            before = self.committed.copy()
            meanwhile()
            self.while_gathering += self.committed != before
        return found

    def begin_again(self) -> None:
        """Who reads next begins after what is committed."""
        self._read = self.committed.copy()

    def behind(self) -> int:
        return 0

    def commit(self, next_offsets: dict[int, int]) -> bool:
        if self._chance.random() < 0.3:
            return False
        for partition, end in next_offsets.items():
            for offset in range(self.committed[partition], end):
                events, _ = decode_envelope(record(partition, offset).value)
                self.wrong += [(partition, offset) for event in events if not self._store.has(event)]
            self.committed[partition] = end
        if all(self.committed[partition] == RECORDS for partition in PARTITIONS):
            self.all_committed.set()
        return True

    def hold(self) -> None: ...

    def go_on(self) -> None: ...

    def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        raise NotImplementedError

    def close(self) -> None: ...


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_is_committed_is_stored(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumption, "WAIT_SECONDS", (0.001,))
    chance = random.Random(seed)
    store = Store(random.Random(seed))
    log = Log(store, random.Random(seed))
    for _ in range(3):
        stop = asyncio.Event()
        running = asyncio.create_task(Consumption(log, Sink(store), stop).run())
        await asyncio.sleep(chance.uniform(0, 0.05))
        stop.set()  # in the middle of its work
        await running
        log.begin_again()
    stop = asyncio.Event()
    running = asyncio.create_task(Consumption(log, Sink(store), stop).run())
    async with asyncio.timeout(60):
        await asyncio.to_thread(log.all_committed.wait)
    stop.set()
    await running
    assert log.wrong == []
    assert log.while_gathering > 0
