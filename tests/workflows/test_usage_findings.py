"""Usage that an invoice stands on and that is not there any more is found; late events and corrections are none."""

from datetime import UTC, datetime
from decimal import Decimal

from activities.event_corrections import Correction, EventCorrections
from activities.findings import SNAPSHOT_CHANGED
from activities.ingestion.events import Event, Placed
from activities.ingestion.sink import Sink
from models.clickhouse.client import ClickHouse
from models.tables import CustomerRow, InvoiceRow
from starter.clients import required
from tests.workflows.test_event_corrections import event_ids
from tests.workflows.test_reconciliation import open_findings, passed
from tests.world import World, utc


async def billed(world: World) -> tuple[CustomerRow, InvoiceRow]:
    """January's invoice of three events: a seat 10, and 300 calls at 0.02."""
    await world.sell()
    await world.clock(utc("2025-01-01"))
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, utc("2025-01-01"))
    for day in ("10", "11", "12"):
        await world.use(customer, utc(f"2025-01-{day}"), "100")
    await world.advance(utc("2025-02-01T02:00"))
    invoice = await world.closed((await world.invoices(subscription.id))[-1].id)
    assert invoice.total == Decimal(16)
    return customer, invoice


def clickhouse_of(world: World) -> ClickHouse:
    """Where its events are."""
    return required(world.clients.clickhouse, "clickhouse")


async def found(world: World) -> dict[str, str]:
    """Invoices of the tenant whose usage has changed, and what is said of them, after a nightly pass."""
    await passed(world, "AuditWorkflow")
    return {
        about: row.sentence for (name, about), row in (await open_findings(world)).items() if name == SNAPSHOT_CHANGED
    }


async def test_an_event_that_is_gone_is_found_until_it_is_back(world: World) -> None:
    customer, invoice = await billed(world)
    assert await found(world) == {}
    middle = (await event_ids(world))[1]
    scope = f"tenant_id = '{world.scope.tenant_id}'"

    await clickhouse_of(world).command(
        f"ALTER TABLE events DELETE WHERE {scope} AND event_id = '{middle}' SETTINGS mutations_sync = 1"
    )

    sentence = (await found(world))[invoice.id]
    assert "Meter Calls from 2025-01-01 00:00 to 2025-02-01 00:00 UTC was invoiced by 3 events (300)" in sentence
    assert "now has 2, and no correction says why" in sentence
    assert (await world.invoice(invoice.id)).needs_attention == sentence

    await store(world, customer, middle, accepted_at=utc("2025-01-11"))  # brought back as it was
    assert await found(world) == {}
    assert (await world.invoice(invoice.id)).needs_attention is None


async def test_an_event_that_somebody_slipped_in_is_found(world: World) -> None:
    """It claims to have been accepted before the invoice was final, and was not counted."""
    customer, invoice = await billed(world)

    await store(world, customer, "slipped-in", accepted_at=utc("2025-01-20"))

    assert "now has 4, and" in (await found(world))[invoice.id]


async def test_late_events_and_corrections_are_no_findings(world: World) -> None:
    customer, _ = await billed(world)
    await store(world, customer, "late", accepted_at=datetime.now(UTC))
    assert await found(world) == {}

    correction = Correction(world.scope, (await event_ids(world))[-1], "acme", "a wrong reading", "key_1")
    await EventCorrections(world.database, clickhouse_of(world)).void(correction)
    assert await found(world) == {}


async def store(world: World, customer: CustomerRow, event_id: str, accepted_at: datetime) -> None:
    """An event of 100 calls of 11 January, as if it had been accepted then. Its identity may be known already."""
    at = int(utc("2025-01-11").timestamp()) * 1000
    accepted = int(accepted_at.timestamp() * 1000)
    event = Event(
        world.scope.tenant_id, world.scope.environment_id, customer.external_id, "call", at, event_id, "",
        '{"n": "100"}', accepted,
    )  # fmt: skip
    await Sink(clickhouse_of(world))._write([Placed(event, 0, 1)], accepted, ())
