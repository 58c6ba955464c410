"""Corrections of events around an invoice: before it is final they count, afterwards they are stored beside it."""

from decimal import Decimal

import pytest
from sqlmodel import select

from activities.event_corrections import Amendment, Correction, EventCorrections
from models.clickhouse.client import ClickHouseUnavailable
from models.clickhouse.event_query import EventQuery, query_events
from models.queries.event_corrections import list_corrections
from models.queries.paging import Page
from models.tables import UsageSnapshotRow
from starter.clients import required
from tests.usage.test_event_corrections import Broken
from tests.world import World, utc


async def event_ids(world: World) -> list[str]:
    """The stored events, newest first."""
    query = EventQuery(world.scope.tenant_id, world.scope.environment_id, utc("2025-01-01"), utc("2025-02-01"))
    return [
        event.event_id for event in (await query_events(required(world.clients.clickhouse, "clickhouse"), query)).events
    ]


async def test_the_close_counts_what_was_corrected_in_the_grace_and_nothing_later(world: World) -> None:
    await world.sell()
    await world.clock(utc("2025-01-01"))
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, utc("2025-01-01"))
    for day, calls in (("10", "100"), ("11", "200"), ("12", "400")):
        await world.use(customer, utc(f"2025-01-{day}"), calls)
    await world.advance(utc("2025-02-01T01:00"))
    draft = (await world.invoices(subscription.id))[-1]
    newest, middle, _ = await event_ids(world)
    clickhouse = required(world.clients.clickhouse, "clickhouse")

    def ask(event_id: str) -> Correction:
        return Correction(world.scope, event_id, "acme", "a wrong reading", "key_1")

    # The process that voids dies before ClickHouse has it: the close does it first.
    broken = EventCorrections(world.database, Broken(clickhouse))
    with pytest.raises(ClickHouseUnavailable):
        await broken.void(ask(newest))
    corrections = EventCorrections(world.database, clickhouse)
    await corrections.amend(ask(middle), Amendment(properties='{"n": "250"}'))
    await world.advance(utc("2025-02-01T02:00"))

    final = await world.closed(draft.id)
    assert final.total == Decimal("17")  # a seat 10, and (100 + 250) x 0.02 = 7; the 400 are void

    await corrections.void(ask(middle))
    async with world.database.transaction(world.scope) as session:
        history, _ = await list_corrections(session, world.scope, Page())
        snapshot = (await session.exec(select(UsageSnapshotRow).where(UsageSnapshotRow.invoice_id == final.id))).one()
    assert [(row.event_id, row.action, row.revision) for row in history] == [
        (middle, "void", 2),
        (middle, "amend", 1),
        (newest, "void", 1),
    ]
    assert (await world.invoice(final.id)).total == Decimal("17")
    assert (snapshot.quantity, snapshot.event_count) == (Decimal(350), 2)
