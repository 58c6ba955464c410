"""Of the events that were stored, how many an invoice has counted, by the day on which they were stored."""

from collections.abc import Mapping
from datetime import datetime

import pytest

from activities.event_corrections import Correction, EventCorrections
from activities.event_reconciliation import billed_events
from activities.ingestion.events import Event, Placed
from activities.ingestion.sink import Sink
from models.clickhouse import billed_events as reading
from tests.workflows.test_usage_findings import billed, clickhouse_of
from tests.world import World, utc


async def counted(world: World) -> Mapping[str, int]:
    start, end = utc("2025-01-01"), utc("2025-04-01")
    found = await billed_events(world.database, clickhouse_of(world), world.scope, start, end)
    return {f"{minute:%m-%d}": count for minute, count in sorted(found.items())}


async def stored(world: World, customer: str, name: str, at: datetime) -> None:
    """An event of any customer and name, as many calls as none."""
    scope, millis = world.scope, int(at.timestamp()) * 1000
    event = Event(scope.tenant_id, scope.environment_id, customer, name, millis, f"{customer} {name}", "", "{}", millis)
    await Sink(clickhouse_of(world)).store([Placed(event, 0, 1000)], millis)


async def test_what_an_invoice_counted_is_billed_and_nothing_else(world: World) -> None:
    customer, _ = await billed(world)
    for whose, name in (("acme", "mail"), ("nobody", "call")):
        await stored(world, whose, name, utc("2025-01-20"))
    await world.use(customer, utc("2025-02-03"), "1")  # its period is open
    assert await counted(world) == {"01-10": 1, "01-11": 1, "01-12": 1}


async def test_a_late_event_is_billed_by_its_correction_and_a_voided_one_by_none(world: World) -> None:
    customer, _ = await billed(world)
    await world.use(customer, utc("2025-01-31"), "50", received=utc("2025-02-10"))
    assert "02-10" not in await counted(world)
    mistake = await world.use(customer, utc("2025-01-31"), "7", received=utc("2025-02-11"))
    await EventCorrections(world.database, clickhouse_of(world)).void(
        Correction(world.scope, mistake, "acme", "a wrong reading", "key_1")
    )
    await world.advance(utc("2025-03-01T02:00"))
    assert await counted(world) == {"01-10": 1, "01-11": 1, "01-12": 1, "02-10": 1}


async def test_many_customers_are_read_in_shares(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WINDOWS_A_STATEMENT", 1)
    await world.sell()
    await world.clock(utc("2025-01-01"))
    for name in ("acme", "o'neil", "日本"):
        customer = await world.customer(name)
        await world.subscribe(customer, utc("2025-01-01"))
        await world.use(customer, utc("2025-01-10"), "1")
    await world.advance(utc("2025-03-01T02:00"))
    assert await counted(world) == {"01-10": 3}
