"""The one way into the tables `events` and `event_ids`, used by the Kafka consumer and by the direct writer.

Exact by identity: (1) within a block the first of an identity wins; (2) identities that `event_ids` knows are
duplicates; (3) insert into `events`, then into `event_ids`; only then may the caller commit offsets or answer 202. The
other order would lose events. A crash between two steps repeats identical rows, which reading with FINAL collapses.
Design: usage.md sections 1 and 2.
"""

import asyncio
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from activities.ingestion.counts import with_stored
from activities.ingestion.events import Event, Placed, identities
from activities.ingestion.known_ids import KnownIds, RecentIds, words_of
from models.clickhouse.client import ClickHouse
from models.clickhouse.event_counts import CountRow, insert_counts
from models.clickhouse.event_rows import EVENT_COLUMNS

LOOKUP_KEYS: Final = 5000
"""Identities asked for in one query: 5,000 of up to 20 digits stay under ClickHouse's `max_query_size` of 256 KiB."""

ID_COLUMNS: Final = {"hi": "UInt64", "lo": "UInt64"}

_FIELDS = ("tenant_id", "environment_id", "external_customer_id", "event_id")
_PREFIXED = ", ".join(f"toString(length({field})), ':', toString({field})" for field in _FIELDS)
_RECENT: Final = f"""SELECT SHA256(concat({_PREFIXED})) AS digest,
    reinterpretAsUInt64(substring(digest, 1, 8)) AS hi, reinterpretAsUInt64(substring(digest, 9, 8)) AS lo
  FROM events WHERE stored_at >= fromUnixTimestamp64Milli(toInt64({{since}}), 'UTC')"""
REPAIR: Final = f"""INSERT INTO event_ids WITH recent AS ({_RECENT})
SELECT DISTINCT hi, lo FROM recent
WHERE (hi, lo) NOT IN (SELECT hi, lo FROM event_ids WHERE hi IN (SELECT hi FROM recent))"""


_UNFINISHED: Final = (
    "SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND current_database = currentDatabase()"
    r" AND match(query, '^INSERT INTO [^(]*\\b(events|event_ids)\\b')"
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a block."""

    stored: int
    duplicates: int
    repeated: Sequence[Placed] = field(default=(), compare=False, repr=False)
    """The duplicates."""


class Sink:
    """Stores blocks of events. One block at a time: a caller awaits a block before it hands over the next.

    With `known_ids`, only identities that its filter claims are looked up; without, all of them. Those of
    `look_up_tenants` always are: another writer stores their events, too, of which the filter hears nothing.
    """

    def __init__(
        self, clickhouse: ClickHouse, known_ids: KnownIds | None = None, look_up_tenants: Collection[str] = ()
    ) -> None:
        self._clickhouse = clickhouse
        self._known_ids = known_ids
        self._recent = RecentIds()
        self._look_up_tenants = frozenset(look_up_tenants)

    async def store(self, block: Sequence[Placed], stored_at: int, counted: Sequence[CountRow] = ()) -> Stored:
        """Stores what is new in `block`, in its order; `stored_at` is the wall clock's in Unix milliseconds.

        With `counted`, what its records hold, says how many of each were new, before their identities are known: so a
        crash at any point leaves counts that the repeated block confirms. Raises ClickHouseError; the same block may be
        stored again.
        """
        first: dict[bytes, Placed] = {}
        repeated = []
        for digest, placed in zip(identities([placed.event for placed in block]), block, strict=True):
            if digest in first:
                repeated.append(placed)
            else:
                first[digest] = placed
        repeated += [first.pop(digest) for digest in await self._known(self._doubtful(first))]
        fresh = list(first.values())
        await self._write(fresh, stored_at, with_stored(counted, repeated))
        if first:
            digests = list(first)
            words = words_of(digests)
            await self._clickhouse.insert("event_ids", ID_COLUMNS, words.T.tolist())
            self._recent.add(words)
            if self._known_ids is not None:
                self._known_ids.add(digests)
        return Stored(len(fresh), len(repeated), repeated)

    async def _write(self, fresh: Sequence[Placed], stored_at: int, counted: Sequence[CountRow]) -> None:
        """Both at once; returns or raises when both have ended, so that a block is never repeated beside itself."""
        writes = []
        if fresh:
            writes.append(self._clickhouse.insert("events", EVENT_COLUMNS, event_columns(fresh, stored_at)))
        if counted:
            writes.append(insert_counts(self._clickhouse, counted))
        for answer in await asyncio.gather(*writes, return_exceptions=True):
            if answer is not None:
                raise answer

    def _doubtful(self, first: Mapping[bytes, Placed]) -> list[bytes]:
        """The identities that have to be looked up."""
        if self._known_ids is None:
            return list(first)
        doubtful = self._known_ids.doubtful(list(first))
        tenants = self._look_up_tenants
        if not tenants:
            return doubtful
        written_elsewhere = [digest for digest, placed in first.items() if placed.event.tenant_id in tenants]
        return list({*doubtful, *written_elsewhere})

    def another_wrote(self, may_land_within_seconds: float = 0.0) -> None:
        """To be called when this writer receives what another one may have written to: partitions, or the lease.

        May an insert that the other one had begun still land, its identities are looked up for so long.
        """
        if self._known_ids is not None:
            self._known_ids.reload(may_land_within_seconds)

    async def has_unfinished_writes(self) -> bool:
        """Whether ClickHouse is still at an insert, by whomever: of a writer that has died, when nobody else writes."""
        return bool(int((await self._clickhouse.query(_UNFINISHED))[0][0]))

    async def close(self) -> None:
        """Ends what is still being read."""
        if self._known_ids is not None:
            await self._known_ids.close()

    async def repair(self, everything: bool = False) -> int:
        """Completes `event_ids` after a writer died between the two inserts; answers the newest `stored_at`.

        Looks at the newest block only, which is enough after the one direct writer, or at `everything`.
        """
        rows = await self._clickhouse.query("SELECT toUnixTimestamp64Milli(max(stored_at)) FROM events")
        newest = int(rows[0][0])
        await self._clickhouse.command(REPAIR.format(since=0 if everything else newest))
        return newest

    async def repair_everything(self) -> int:
        """The same for all events; answers how many identities were missing."""
        before = await self._identities()
        await self.repair(everything=True)
        return await self._identities() - before

    async def _identities(self) -> int:
        return int((await self._clickhouse.query("SELECT count() FROM event_ids"))[0][0])

    async def _known(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those of `digests` that `event_ids` holds; it is asked for what this process has not stored of late."""
        if not digests:
            return set()
        known: set[bytes] = set(itertools.compress(digests, self._recent.held(digests)))
        digests = [digest for digest in digests if digest not in known]
        for start in range(0, len(digests), LOOKUP_KEYS):
            asked = digests[start : start + LOOKUP_KEYS]
            listed = ",".join(str(int.from_bytes(digest[:8], "little")) for digest in asked)
            rows = await self._clickhouse.query(f"SELECT hi, lo FROM event_ids WHERE hi IN ({listed})")
            found = {int(hi).to_bytes(8, "little") + int(lo).to_bytes(8, "little") for hi, lo in rows}
            known |= found.intersection(asked)
        return known


def sink_of_lane(clickhouse: ClickHouse, lazy: bool, lazy_tenants: Collection[str]) -> Sink:
    """The sink of a lane: exact also when tenants are moved from one lane to the other.

    A tenant that is marked bulk has identities that the other lane stored, so the lazy lane looks every one up. One
    whose mark was taken away has some that the lazy lane stored while this process ran.
    """
    if lazy:
        return Sink(clickhouse)
    return Sink(clickhouse, KnownIds(clickhouse), lazy_tenants)


def event_columns(fresh: Sequence[Placed], stored_at: int) -> list[list[str] | list[int]]:
    """The columns of `EVENT_COLUMNS`."""
    events: list[Event] = [placed.event for placed in fresh]
    return [
        [event.tenant_id for event in events],
        [event.environment_id for event in events],
        [event.external_customer_id for event in events],
        [event.event_name for event in events],
        [event.timestamp for event in events],
        [event.event_id for event in events],
        [event.source for event in events],
        [event.properties for event in events],
        [placed.partition for placed in fresh],
        [placed.offset for placed in fresh],
        [event.accepted_at for event in events],
        [stored_at] * len(events),
    ]
