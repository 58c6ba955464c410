"""Rows of the table `events` as they are written and corrected. Owns the columns and what a revision of a row is.

A row is never changed: a correction inserts the same key again with a higher `revision`, and reading with FINAL shows
the highest only, or nothing where that one is deleted. A correction of what belongs to the key (name, time) deletes
the old key and inserts the new one. Design: usage.md section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from models.clickhouse.client import ClickHouse
from models.scope import Scope

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
}
"""`revision` and `is_deleted` are 0 for what arrives."""

_REVISION_COLUMNS: Final = EVENT_COLUMNS | {"revision": "UInt32", "is_deleted": "UInt8"}
_SUPERSEDED_COLUMNS: Final = EVENT_COLUMNS | {"revision": "UInt32", "superseded_at": "DateTime64(3, 'UTC')"}
_TIMES: Final = ("timestamp", "accepted_at", "stored_at")
_SETTINGS: Final = "SETTINGS do_not_merge_across_partitions_select_final = 1"


@dataclass(frozen=True, slots=True)
class EventRow:
    """One stored event as it counts now. Times are Unix milliseconds; `properties` is a JSON object as text."""

    tenant_id: str
    environment_id: str
    external_customer_id: str
    event_name: str
    timestamp: int
    event_id: str
    source: str
    properties: str
    kafka_partition: int
    kafka_offset: int
    accepted_at: int
    stored_at: int
    revision: int = 0

    @property
    def key(self) -> tuple[str, int]:
        """What of the table's key a correction may change."""
        return self.event_name, self.timestamp


async def find_event_rows(
    clickhouse: ClickHouse, scope: Scope, event_id: str, external_customer_id: str | None = None
) -> list[EventRow]:
    """The events with this id that have not been voided: one a customer, two at most. Raises ClickHouseError.

    Without a customer every event of the tenant is looked at.
    """
    bound = {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id, "event_id": event_id}
    if external_customer_id is not None:
        bound["external_customer_id"] = external_customer_id
    names = [field.name for field in fields(EventRow)]
    columns = ", ".join(f"toUnixTimestamp64Milli({name})" if name in _TIMES else name for name in names)
    conditions = " AND ".join(f"{name} = {{{name}:String}}" for name in bound)
    rows = await clickhouse.query(
        f"SELECT {columns}\nFROM events FINAL\nWHERE {conditions}\nLIMIT 2\n{_SETTINGS}", bound
    )
    return [EventRow(*row) for row in rows]


async def insert_revision(
    clickhouse: ClickHouse, before: EventRow, after: EventRow | None, revision: int, at: int
) -> None:
    """Makes `after` count instead of `before`, or nothing where it is None. Repeating it changes nothing.

    What was known before `at` (Unix milliseconds, business time) is kept: `models.clickhouse.known_events` reads it.
    Raises ClickHouseError.
    """
    # First what is superseded: a correction that counts has its history.
    await clickhouse.insert("superseded_events", _SUPERSEDED_COLUMNS, _columns([(before, at)]))
    rows = []
    if after is None or after.key != before.key:
        # A deleted row shows nothing; it outlives retention longer than what it hides, so it keeps no properties.
        rows.append((replace(before, properties="{}", revision=revision), 1))
    if after is not None:
        rows.append((replace(after, revision=revision), 0))
    await clickhouse.insert("events", _REVISION_COLUMNS, _columns(rows))


def _columns(rows: Sequence[tuple[EventRow, int]]) -> list[list[Any]]:
    """The fields of each row, and the last column beside it."""
    names = [field.name for field in fields(EventRow)]
    return [*([getattr(row, name) for row, _ in rows] for name in names), [last for _, last in rows]]
