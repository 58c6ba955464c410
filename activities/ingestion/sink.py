"""The one way into the tables `events` and `event_ids`, used by the Kafka consumer and by the direct writer.

Exact by identity: (1) within a block the first of an identity wins; (2) identities that `event_ids` knows are
duplicates; (3) insert into `events`, then into `event_ids`; only then may the caller commit offsets or answer 202. The
other order would lose events. A crash between two steps repeats identical rows, which reading with FINAL collapses.
Design: usage.md sections 1 and 2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from activities.ingestion.events import Event, Placed, identity
from models.clickhouse.client import ClickHouse

LOOKUP_KEYS: Final = 5000
"""Identities asked for in one query: 5,000 of up to 20 digits stay under ClickHouse's `max_query_size` of 256 KiB."""

EVENT_COLUMNS: Final = {
    "tenant_id": "LowCardinality(String)",
    "environment_id": "LowCardinality(String)",
    "external_customer_id": "String",
    "event_name": "LowCardinality(String)",
    "timestamp": "DateTime64(3, 'UTC')",
    "event_id": "String",
    "source": "LowCardinality(String)",
    "properties": "String",
    "kafka_partition": "UInt16",
    "kafka_offset": "UInt64",
    "accepted_at": "DateTime64(3, 'UTC')",
    "stored_at": "DateTime64(3, 'UTC')",
    "revision": "UInt32",
    "is_deleted": "UInt8",
}
ID_COLUMNS: Final = {"hi": "UInt64", "lo": "UInt64"}

_FIELDS = ("tenant_id", "environment_id", "external_customer_id", "event_id")
_PREFIXED = ", ".join(f"toString(length({field})), ':', toString({field})" for field in _FIELDS)
_RECENT: Final = f"""SELECT SHA256(concat({_PREFIXED})) AS digest,
    reinterpretAsUInt64(substring(digest, 1, 8)) AS hi, reinterpretAsUInt64(substring(digest, 9, 8)) AS lo
  FROM events WHERE stored_at >= fromUnixTimestamp64Milli(toInt64({{since}}), 'UTC')"""
REPAIR: Final = f"""INSERT INTO event_ids WITH recent AS ({_RECENT})
SELECT DISTINCT hi, lo FROM recent
WHERE (hi, lo) NOT IN (SELECT hi, lo FROM event_ids WHERE hi IN (SELECT hi FROM recent))"""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a block."""

    stored: int
    duplicates: int


class Sink:
    """Stores blocks of events. One block at a time: a caller awaits a block before it hands over the next."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def store(self, block: Sequence[Placed], stored_at: int) -> Stored:
        """Stores what is new in `block`, in its order; `stored_at` is the wall clock's in Unix milliseconds.

        Raises ClickHouseError; the same block may be stored again.
        """
        first: dict[tuple[int, int], Placed] = {}
        for placed in block:
            first.setdefault(identity(placed.event), placed)
        known = await self._known(first)
        fresh = {key: placed for key, placed in first.items() if key not in known}
        if fresh:
            await self._clickhouse.insert("events", EVENT_COLUMNS, _columns(list(fresh.values()), stored_at))
            await self._clickhouse.insert("event_ids", ID_COLUMNS, [[hi for hi, _ in fresh], [lo for _, lo in fresh]])
        return Stored(len(fresh), len(block) - len(fresh))

    async def repair(self, everything: bool = False) -> int:
        """Completes `event_ids` after a writer died between the two inserts; answers the newest `stored_at`.

        Looks at the newest block only, which is enough after the one direct writer, or at `everything`.
        """
        rows = await self._clickhouse.query("SELECT toUnixTimestamp64Milli(max(stored_at)) FROM events")
        newest = int(rows[0][0])
        await self._clickhouse.command(REPAIR.format(since=0 if everything else newest))
        return newest

    async def _known(self, keys: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
        wanted = [hi for hi, _ in keys]
        known: set[tuple[int, int]] = set()
        for start in range(0, len(wanted), LOOKUP_KEYS):
            listed = ",".join(map(str, wanted[start : start + LOOKUP_KEYS]))
            rows = await self._clickhouse.query(f"SELECT hi, lo FROM event_ids WHERE hi IN ({listed})")
            known.update((int(hi), int(lo)) for hi, lo in rows)
        return known


def _columns(fresh: Sequence[Placed], stored_at: int) -> list[list[str] | list[int]]:
    events: list[Event] = [placed.event for placed in fresh]
    zeros = [0] * len(events)
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
        zeros,
        zeros,
    ]
