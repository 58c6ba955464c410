"""Endpoints that want order get one event after the other; deliveries are sent again one by one or by time."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import col, select

from activities.outbox import emit
from activities.webhook_endpoints import (
    NewWebhookEndpoint,
    WebhookEndpointChange,
    create_webhook_endpoint,
    update_webhook_endpoint,
)
from activities.webhook_replays import replay_delivery, replay_range
from billing.errors import Conflict
from models.queries.webhook_replays import DeliveryRange
from models.tables import WebhookDeliveryRow, WebhookEndpointRow
from tests.adapters.servers import Answer, Receiver
from tests.world import World, until

TYPES = tuple(f"invoice.update.step_{letter}" for letter in "abcdefgh")
HOUR = timedelta(hours=1)


@pytest.fixture
def receiver() -> Receiver:
    """A receiver of this test alone."""
    return Receiver()


async def endpoint(world: World, receiver: Receiver, *, ordered: bool) -> WebhookEndpointRow:
    """Events of the tenant go there."""
    async with world.database.transaction(world.scope) as session:
        return await create_webhook_endpoint(session, world.scope, NewWebhookEndpoint(receiver.url, ordered=ordered))


async def tell(world: World, *types: str) -> list[str]:
    """One transaction an event; their ids."""
    ids = []
    for event_type in types:
        async with world.database.transaction(world.scope) as session:
            ids.append(await emit(session, world.scope, event_type, "inv_1", {}, datetime.now(UTC)))
    return ids


async def deliveries(world: World) -> dict[str, WebhookDeliveryRow]:
    """By event id."""
    async with world.database.transaction(world.scope) as session:
        rows = (await session.exec(select(WebhookDeliveryRow).order_by(col(WebhookDeliveryRow.event_id)))).all()
    return {row.event_id: row for row in rows}


async def statuses(world: World) -> set[str]:
    """How the tenant's deliveries stand."""
    return {row.delivery_status for row in (await deliveries(world)).values()}


async def arrived(receiver: Receiver, count: int) -> list[str]:
    """The ids of the next so many requests."""
    return [(await receiver.next()).headers["webhook-id"] for _ in range(count)]


async def test_an_endpoint_that_wants_order_gets_it_whatever_fails(world: World, receiver: Receiver) -> None:
    receiver.answers = [
        Answer(),
        Answer(status=503, headers={"retry-after": "1"}),
        Answer(status=503, headers={"retry-after": "1"}),
    ]
    await endpoint(world, receiver, ordered=True)

    ids = await tell(world, *TYPES)

    assert await arrived(receiver, 10) == [ids[0], ids[1], ids[1], *ids[1:]]

    async def all_delivered() -> bool:
        return await statuses(world) == {"delivered"}

    await until(all_delivered)
    more = await tell(world, *TYPES[:3])  # the queue had ended, and begins again
    assert await arrived(receiver, 3) == more
    assert receiver.received.empty()


async def test_one_that_is_gone_ends_the_queue(world: World, receiver: Receiver) -> None:
    receiver.answers = [Answer(status=410)]
    await endpoint(world, receiver, ordered=True)
    await tell(world, *TYPES)

    async def all_failed() -> bool:
        return await statuses(world) == {"failed"}

    await until(all_failed)
    assert len(await arrived(receiver, 1)) == 1
    assert receiver.received.empty()


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_time_is_sent_again_with_the_same_ids(world: World, receiver: Receiver, ordered: bool) -> None:
    row = await endpoint(world, receiver, ordered=ordered)
    ids = await tell(world, *TYPES)
    assert set(await arrived(receiver, 8)) == set(ids)

    async def all_delivered() -> bool:
        return await statuses(world) == {"delivered"}

    await until(all_delivered)
    async with world.database.transaction(world.scope) as session:
        since = (await events_at(world))[ids[2]]
        to = (await events_at(world))[ids[6]]
        assert await replay_range(session, world.scope, DeliveryRange(since, to, row.id)) == 4

    again = await arrived(receiver, 4)
    assert again == ids[2:6] if ordered else set(again) == set(ids[2:6])
    async with world.database.transaction(world.scope) as session:
        wanted = DeliveryRange(since, to, row.id, delivery_status="failed")
        assert await replay_range(session, world.scope, wanted) == 0
        await replay_delivery(session, world.scope, (await deliveries(world))[ids[7]].id)
    assert await arrived(receiver, 1) == [ids[7]]
    await until(all_delivered)
    assert receiver.received.empty()


async def test_what_was_given_up_is_sent_again_once_the_endpoint_is_enabled(world: World, receiver: Receiver) -> None:
    receiver.answers = [Answer(status=410)]
    row = await endpoint(world, receiver, ordered=False)
    (event,) = await tell(world, TYPES[0])
    await arrived(receiver, 1)

    async def given_up() -> bool:
        return await statuses(world) == {"failed"}

    await until(given_up)
    everything = DeliveryRange(datetime.now(UTC) - HOUR, datetime.now(UTC) + HOUR, delivery_status="failed")
    async with world.database.transaction(world.scope) as session:
        with pytest.raises(Conflict, match="disabled"):
            await replay_range(session, world.scope, DeliveryRange(endpoint_id=row.id))
        assert await replay_range(session, world.scope, everything) == 0
        change = WebhookEndpointChange(enabled=True)
        await update_webhook_endpoint(session, world.scope, row.id, change, datetime.now(UTC))
        assert await replay_range(session, world.scope, everything) == 1
    assert await arrived(receiver, 1) == [event]


async def events_at(world: World) -> dict[str, datetime]:
    """When each event happened, in real time."""
    return {event.id: event.created_at for event in await world.events("inv_1")}
