"""Dunning without money for a tenant that does not keep such subscriptions: as the simulator tells it."""

from datetime import timedelta
from decimal import Decimal

from tests.world import World, until, utc
from workflows import search_attributes

START = utc("2025-01-01")
DAY = timedelta(days=1)


async def test_a_subscription_that_cannot_be_collected_ends_with_its_final_invoice(world: World) -> None:
    await world.configure(dunning_days=[1], on_exhausted_subscription="cancel", on_exhausted_invoice="open")
    await world.sell()
    await world.clock(START)
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, START, card="pm_script_soft_soft_ok")
    await world.until_started(subscription.id)
    await world.use(customer, START + timedelta(hours=3), "100")
    await world.use(customer, START + 2 * DAY, "100")  # after the end: nobody pays for it

    await world.advance(START + 3 * DAY)

    ended = await world.subscription(subscription.id)
    assert (ended.subscription_status, ended.cancelled_at) == ("cancelled", START + DAY)
    opening, final = await world.invoices(subscription.id)
    assert (opening.payment_status, opening.uncollectible, opening.next_action_at) == ("FAILED", False, None)
    # 100 calls at 0.02 up to the end, charged after the grace by a card that works by then.
    assert (final.period_start, final.period_end, final.total) == (START, START + DAY, Decimal(2))
    assert (final.payment_status, final.paid_at) == ("SUCCEEDED", START + DAY + timedelta(hours=2))
    assert [event.event_type for event in await world.events(subscription.id)][-1] == "subscription.cancelled"

    async def says_so() -> bool:
        described = await world.subscription_workflow(subscription.id).describe()
        return described.typed_search_attributes.get(search_attributes.SUBSCRIPTION_STATUS) == "cancelled"

    await until(says_so)  # it was told, it did not wait for a boundary that will never come
    # Paying the old invoice does not bring it back.
    await world.commands.attempt_payment(world.scope, opening.id)
    assert (await world.closed(opening.id)).payment_status == "SUCCEEDED"
    assert (await world.subscription(subscription.id)).subscription_status == "cancelled"
