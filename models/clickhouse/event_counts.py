"""Counts of what became of accepted events, by minute, tenant and environment: written by whoever knows them.

Owns the table `event_counts` and the law that ties its columns together. Minutes are those in which the log received an
event, by the wall clock, also for customers on test clocks. Design: usage.md section 5.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from typing import Any, Final

from models.clickhouse.client import ClickHouse
from models.clickhouse.times import instant, milliseconds
from models.scope import Scope

MINUTE_MS: Final = 60_000
API: Final = "api"
"""The source of counts that belong to a process and not to a record."""

_COLUMNS: Final = {
    "minute": "DateTime('UTC')",
    "tenant_id": "LowCardinality(String)",
    "environment_id": "LowCardinality(String)",
    "source": "LowCardinality(String)",
    "partition": "UInt16",
    "place": "UInt64",
    "accepted": "UInt64",
    "unconfirmed": "UInt64",
    "replayed": "UInt64",
    "events": "UInt64",
    "stored": "UInt64",
    "dead_lettered": "UInt64",
}
_NUMBERS: Final = ("accepted", "unconfirmed", "replayed", "events", "stored", "dead_lettered")
_SUMS: Final = ", ".join(f"sum({name})" for name in _NUMBERS)
_LATEST: Final = ", ".join(f"max(event_counts.{name}) AS {name}" for name in _NUMBERS)
_KEY: Final = "tenant_id, environment_id, minute, source, partition, place"


@dataclass(frozen=True, slots=True)
class CountRow:
    """One row: what one record (or process) adds to a minute. `minute` in Unix seconds.

    `events` were read from the log, `stored` of them were new; `dead_lettered` could not be read. `unconfirmed` were
    handed to the log and not answered: they may be in it. `replayed` came out of the dead letters once more.
    """

    minute: int
    tenant_id: str
    environment_id: str
    source: str
    partition: int
    place: int
    accepted: int = 0
    unconfirmed: int = 0
    replayed: int = 0
    events: int = 0
    stored: int = 0
    dead_lettered: int = 0


@dataclass(frozen=True, slots=True)
class MinuteCounts:
    """A minute of one environment, as everybody who counted says together."""

    scope: Scope
    minute: datetime
    accepted: int
    unconfirmed: int
    replayed: int
    events: int
    stored: int
    dead_lettered: int

    @property
    def duplicates(self) -> int:
        """Events whose identity was stored before."""
        return self.events - self.stored

    @property
    def missing(self) -> int:
        """How many accepted events became nothing: 0, or something is lost or still on its way."""
        return max(self.accepted + self.replayed - self.events - self.dead_lettered, 0)

    @property
    def surplus(self) -> int:
        """How many events came out of the log that nobody counted on the way in, as after a killed API process."""
        known = self.accepted + self.replayed + self.unconfirmed
        return max(self.events + self.dead_lettered - known, 0)


def minute_of(unix_milliseconds: int) -> int:
    """The start of the minute, in Unix seconds."""
    return unix_milliseconds // MINUTE_MS * 60


async def insert_counts(clickhouse: ClickHouse, rows: Sequence[CountRow]) -> None:
    """Writes `rows`; repeating it changes nothing. Raises ClickHouseError."""
    columns: list[list[Any]] = [list(column) for column in zip(*map(astuple, rows), strict=True)]
    await clickhouse.insert("event_counts", _COLUMNS, columns)


async def read_minutes(clickhouse: ClickHouse, scope: Scope, start: datetime, end: datetime) -> list[MinuteCounts]:
    """The minutes of [start, end) in which anything was counted, in their order. Raises ClickHouseError."""
    bound = {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id}
    return await _read(clickhouse, start, end, bound, "")


async def read_unbalanced(clickhouse: ClickHouse, start: datetime, end: datetime) -> list[MinuteCounts]:
    """The minutes of [start, end), of all tenants, that break the law. Raises ClickHouseError."""
    came_in, came_out = "sum(accepted) + sum(replayed)", "sum(events) + sum(dead_lettered)"
    having = f"HAVING NOT {came_out} BETWEEN {came_in} AND {came_in} + sum(unconfirmed)\n"
    return await _read(clickhouse, start, end, {}, having)


async def _read(
    clickhouse: ClickHouse, start: datetime, end: datetime, scope: dict[str, str], having: str
) -> list[MinuteCounts]:
    bound: dict[str, Any] = {"start": milliseconds(start) // 1000, "end": milliseconds(end) // 1000, **scope}
    conditions = ["minute >= toDateTime({start:Int64})", "minute < toDateTime({end:Int64})"]
    conditions += [f"{name} = {{{name}:String}}" for name in scope]
    rows = await clickhouse.query(
        f"SELECT tenant_id, environment_id, toUnixTimestamp(minute), {_SUMS}\n"
        f"FROM (SELECT {_KEY}, {_LATEST} FROM event_counts WHERE {' AND '.join(conditions)} GROUP BY {_KEY})\n"
        f"GROUP BY tenant_id, environment_id, minute\n{having}ORDER BY tenant_id, environment_id, minute",
        bound,
    )
    return [MinuteCounts(Scope(row[0], row[1]), instant(int(row[2]) * 1000), *map(int, row[3:])) for row in rows]


def totals(minutes: Sequence[MinuteCounts]) -> dict[str, int]:
    """The sums of what was counted, by the names of its columns and properties."""
    names = [field.name for field in fields(MinuteCounts) if field.name not in ("scope", "minute")]
    return {name: sum(getattr(each, name) for each in minutes) for name in (*names, "duplicates", "missing", "surplus")}


def last_whole_minute(at: datetime) -> datetime:
    """The end of the last minute that was over at `at`."""
    return at.replace(second=0, microsecond=0)
