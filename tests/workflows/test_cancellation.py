"""Cancelling: at once with what was used and what is given back, or when the period ends."""

from decimal import Decimal

import pytest

from billing.errors import Conflict
from models.tables import SubscriptionRow
from tests.world import World, utc


async def half_a_month(world: World) -> SubscriptionRow:
    """A subscription in the middle of its April of 30 days, with 1000 calls made and a seat paid in advance."""
    await world.sell()
    await world.clock(utc("2025-04-01"))
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, utc("2025-04-01"))
    await world.use(customer, utc("2025-04-10"), "1000")
    await world.advance(utc("2025-04-16"))
    return subscription


@pytest.mark.parametrize(("proration", "total"), [("none", Decimal(20)), ("create_prorations", Decimal(15))])
async def test_cancelled_at_once_the_usage_is_billed_and_unused_time_given_back_if_wanted(
    world: World, proration: str, total: Decimal
) -> None:
    subscription = await half_a_month(world)

    ended = await world.commands.cancel_subscription(
        world.scope, subscription.id, "immediate", proration_behavior=proration
    )
    await world.advance(utc("2025-04-17"))

    assert (ended.subscription_status, ended.cancelled_at) == ("cancelled", utc("2025-04-16"))
    final = (await world.invoices(subscription.id))[-1]
    assert (final.period_end, final.finalized_at) == (utc("2025-04-16"), utc("2025-04-16T02:00"))
    # 1000 calls at 0.02; 15 of 30 days of a seat at 10 come back.
    assert final.total == total
    # It looks back on late usage for 62 days; none came.
    assert (await world.subscription(subscription.id)).next_action_at == utc("2025-06-17")
    await world.advance(utc("2025-07-01"))
    await world.subscription_workflow(subscription.id).result()
    assert len(await world.invoices(subscription.id)) == 2


async def test_final_usage_may_be_skipped(world: World) -> None:
    subscription = await half_a_month(world)

    await world.commands.cancel_subscription(world.scope, subscription.id, "immediate", final_usage="skip")
    await world.advance(utc("2025-04-17"))

    opening, final = await world.invoices(subscription.id)
    assert opening.payment_status == "SUCCEEDED"
    assert final.invoice_status == "SKIPPED"


async def test_cancelled_at_the_end_of_the_period_it_runs_until_then(world: World) -> None:
    subscription = await half_a_month(world)

    scheduled = await world.commands.cancel_subscription(world.scope, subscription.id, "end_of_period")
    assert (scheduled.subscription_status, scheduled.cancel_at) == ("active", utc("2025-05-01"))
    await world.advance(utc("2025-05-02"))

    ended = await world.subscription(subscription.id)
    assert (ended.subscription_status, ended.cancelled_at) == ("cancelled", utc("2025-05-01"))
    final = (await world.invoices(subscription.id))[-1]
    assert (final.total, final.payment_status) == (Decimal(20), "SUCCEEDED")
    await world.advance(utc("2025-07-02"))  # 62 days later: nothing has come late
    await world.subscription_workflow(subscription.id).result()


async def test_a_cancelled_subscription_takes_no_more_commands(world: World) -> None:
    subscription = await half_a_month(world)
    await world.commands.cancel_subscription(world.scope, subscription.id, "immediate")

    for kind in ("immediate", "end_of_period"):
        with pytest.raises(Conflict, match="cancel is not possible: the subscription is cancelled") as refused:
            await world.commands.cancel_subscription(world.scope, subscription.id, kind)
        assert refused.value.state == "cancelled"
