"""How long events are kept: a TTL on the table `events`. `event_ids` has none, because identity outlives retention."""

import re
from typing import Final

from models.clickhouse.client import ClickHouse

RETENTION_MONTHS: Final = 37
"""Also what migration 0003 sets."""

_TTL: Final = """ALTER TABLE {database}.events
MODIFY TTL toDateTime(greatest(least(timestamp, toDateTime64('2060-01-01 00:00:00', 3, 'UTC')), stored_at))
    + toIntervalMonth({months} + 12 * is_deleted)"""


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
    await client.command(_TTL.replace("{database}", database).replace("{months}", str(months)))
    return True
