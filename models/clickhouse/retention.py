"""How long events, and what they said before corrections, are kept: a TTL on their tables.

`event_ids` has none, because identity outlives retention.
"""

import re
from typing import Final

from models.clickhouse.client import ClickHouse

RETENTION_MONTHS: Final = 37
"""Also what migrations 0003 and 0008 set."""

_TTL: Final = """ALTER TABLE {database}.{table}
MODIFY TTL toDateTime(greatest(least(timestamp, toDateTime64('2060-01-01 00:00:00', 3, 'UTC')), stored_at))
    + toIntervalMonth({months})"""
_MONTHS: Final = {"superseded_events": "{months}", "events": "{months} + 12 * is_deleted"}
"""The table that is looked at comes last, so that a crash in between is mended by the next call."""


async def keep_events(client: ClickHouse, database: str, months: int) -> bool:
    """Keeps events for so many months after they happened or were stored; False where that is so already.

    Rows over it are gone after the next merges. Raises ClickHouseError.
    """
    if months < 1:
        raise ValueError(f"months must be at least 1; got {months}")
    rows = await client.query(
        "SELECT engine_full FROM system.tables WHERE database = {database:String} AND name = 'events'",
        {"database": database},
    )
    found = re.search(r"toIntervalMonth\((\d+) \+", rows[0][0])
    if found and int(found.group(1)) == months:
        return False
    for table, kept in _MONTHS.items():
        statement = _TTL.replace("{database}", database).replace("{table}", table).replace("{months}", kept)
        await client.command(statement.replace("{months}", str(months)))
    return True
