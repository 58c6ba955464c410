"""What a tenant does to events that were accepted: in a world, whatever their meter."""

from activities.event_corrections import Amendment, Correction, EventCorrections
from models.tables import CustomerRow
from starter.clients import required
from tests.world import World


async def amend(world: World, customer: CustomerRow, event_id: str, quantity: str) -> None:
    """The event should have said `quantity`."""
    amendment = Amendment(properties=f'{{"n": "{quantity}"}}')
    await _corrections(world).amend(_correction(world, customer, event_id), amendment)


async def void_event(world: World, customer: CustomerRow, event_id: str) -> None:
    """The event does not count."""
    await _corrections(world).void(_correction(world, customer, event_id))


def _corrections(world: World) -> EventCorrections:
    return EventCorrections(world.database, required(world.clients.clickhouse, "clickhouse"))


def _correction(world: World, customer: CustomerRow, event_id: str) -> Correction:
    return Correction(world.scope, event_id, customer.external_id, "wrong", "key")
