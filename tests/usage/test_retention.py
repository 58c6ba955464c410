"""Retention: what is deleted and when, what stays, and how the number of months changes."""

from datetime import UTC, datetime, timedelta

import msgspec

from activities.adapters.clickhouse import connect_clickhouse, migrate_clickhouse
from activities.ingestion.events import Event, Placed
from activities.ingestion.sink import Sink
from models.clickhouse.event_rows import EventRow, insert_revision
from models.clickhouse.times import milliseconds
from models.scope import Scope

MONTH = timedelta(days=31)
SCOPE = Scope("tenant_retention", "env_test")


def event(name: str, at: datetime) -> Event:
    return Event(
        SCOPE.tenant_id, SCOPE.environment_id, "c-1", "call", milliseconds(at), name, "", "{}", milliseconds(at)
    )


async def test_events_are_deleted_and_identities_are_not(new_clickhouse_dsn: str) -> None:
    await migrate_clickhouse(new_clickhouse_dsn)
    connection = await connect_clickhouse(new_clickhouse_dsn)
    now = datetime.now(UTC)
    old = now - 38 * MONTH
    sink = Sink(connection)
    for name, at, stored_at in (
        ("old", old, old),
        ("void", old, old),
        ("late", old, now),  # as good as new: it may be on a customer's test clock
        ("recent", now - 36 * MONTH, now - 36 * MONTH),
        ("far ahead", datetime(2400, 1, 1, tzinfo=UTC), now),
    ):
        await sink.store([Placed(event(name, at), 0, 1)], milliseconds(stored_at))
    # The engine may delete what is over its time at any moment, so the row is not asked for.
    fields = {**msgspec.structs.asdict(event("void", old)), "kafka_partition": 0, "kafka_offset": 1}
    void = EventRow(**fields, stored_at=milliseconds(old))
    await insert_revision(connection, void, None, 1, milliseconds(old))
    rows = "SELECT event_id, is_deleted FROM events ORDER BY event_id"

    await connection.command("OPTIMIZE TABLE events FINAL")

    # What was voided is gone; what hides it stays a year longer, so that it can never show again.
    kept = [("far ahead", 0), ("late", 0), ("recent", 0), ("void", 1)]
    assert [tuple(row) for row in await connection.query(rows)] == kept
    assert (await connection.query("SELECT count() FROM event_ids"))[0][0] == 5
    again = msgspec.structs.replace(event("old", now), properties='{"again":1}')
    assert (await sink.store([Placed(again, 0, 2)], milliseconds(now))).duplicates == 1

    assert await migrate_clickhouse(new_clickhouse_dsn, 12) == ["events are kept for 12 months"]
    assert await migrate_clickhouse(new_clickhouse_dsn, 12) == []
    await connection.command("OPTIMIZE TABLE events FINAL")
    assert [row[0] for row in await connection.query(rows)] == ["far ahead", "late"]
    await connection.close()
