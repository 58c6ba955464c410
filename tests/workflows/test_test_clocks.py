"""Test clocks: the time of several customers, moved from instant to instant in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from sqlmodel import select

from billing.errors import Conflict, Invalid
from billing.periods import BillingPeriod
from models.tables import InvoiceRow, SubscriptionRow, WebhookDeliveryRow
from tests.adapters.servers import Answer
from tests.world import World, until, utc
from workflows.contracts import delivery_workflow_id

DAY = timedelta(days=1)
ZONES = ("Asia/Kolkata", "America/New_York", "Europe/Paris", "Pacific/Auckland")


@asynccontextmanager
async def advancing(world: World, subscription: SubscriptionRow, to: datetime) -> AsyncIterator[None]:
    """The clock is on its way to `to` and cannot arrive before the block ends."""
    async with world.locked(subscription):
        await world.commands.advance_clock(world.scope, world.clock_id, to)
        yield

    async def arrived() -> bool:
        return (await world.clock_row()).clock_status == "ready"

    await until(arrived)


async def test_customers_in_several_zones_act_in_the_order_of_instants(world: World) -> None:
    await world.sell()
    await world.clock(utc("2025-01-01"))
    for number, zone in enumerate(ZONES):
        customer = await world.customer(zone, zone)
        start = utc("2025-01-30T12:00") + timedelta(hours=5 * number)
        await world.subscribe(customer, start, now=utc("2025-01-01"))

    await world.advance(utc("2025-04-15"))

    invoices = sorted(await world.invoices(), key=lambda invoice: invoice.created_at)
    assert len(invoices) == len(ZONES) * 3
    drafted = [invoice.drafted_at for invoice in invoices]
    assert drafted == sorted(drafted)
    finalized = sorted(invoices, key=lambda invoice: invoice.finalized_at or utc("2100-01-01"))
    numbers = [invoice.invoice_number or "" for invoice in finalized]
    assert numbers == sorted(numbers)
    assert [invoice.payment_status for invoice in invoices] == ["SUCCEEDED"] * len(invoices)
    # The day of the month is that of the customer's own zone; it was the 31st already in Auckland.
    ends = {(i.timezone, f"{i.period_end.astimezone(ZoneInfo(i.timezone)):%m-%d}") for i in invoices}
    marches = dict.fromkeys(ZONES, "03-30") | {"Pacific/Auckland": "03-31"}
    assert ends == {(zone, "02-28") for zone in ZONES} | set(marches.items())


async def test_nobody_joins_while_it_advances_and_it_is_not_sent_elsewhere(world: World) -> None:
    await world.sell(BillingPeriod.DAILY)
    await world.clock(utc("2025-01-01"))
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, utc("2025-01-01"))
    await world.until_started(subscription.id)

    async with advancing(world, subscription, utc("2025-01-03")):
        with pytest.raises(Conflict, match="cannot join a test clock while it advances") as joining:
            await world.customer("too late")
        with pytest.raises(Conflict) as elsewhere:
            await world.commands.advance_clock(world.scope, world.clock_id, utc("2025-02-01"))

    assert joining.value.state == elsewhere.value.state == "advancing"
    assert len(await world.invoices(subscription.id)) == 3


async def test_it_does_not_go_back(world: World) -> None:
    await world.clock(utc("2025-01-10"))

    with pytest.raises(Invalid, match="must not lie before the clock's time 2025-01-10T00:00:00") as refused:
        await world.commands.advance_clock(world.scope, world.clock_id, utc("2025-01-09"))

    assert refused.value.field == "frozen_time"


async def test_two_clocks_advance_side_by_side(world: World) -> None:
    await world.sell(BillingPeriod.DAILY)
    subscriptions = []
    clocks = []
    for name in ("one", "two"):
        clocks.append(await world.clock(utc("2025-01-01")))
        customer = await world.customer(name)
        subscriptions.append(await world.subscribe(customer, utc("2025-01-01")))
    for subscription in subscriptions:
        await world.until_started(subscription.id)

    targets = [utc("2025-01-03"), utc("2025-01-06")]
    moves = zip(clocks, targets, strict=True)
    await asyncio.gather(*(world.commands.advance_clock(world.scope, clock_id, to) for clock_id, to in moves))
    for clock_id, to in zip(clocks, targets, strict=True):
        world.clock_id = clock_id

        async def arrived(to: datetime = to) -> bool:
            row = await world.clock_row()
            return row.clock_status == "ready" and row.frozen_time == to

        await until(arrived)

    counts = [len(await world.invoices(subscription.id)) for subscription in subscriptions]
    assert counts == [3, 6]


@pytest.mark.parametrize("to", [utc("2025-01-02"), utc("2025-01-04")], ids=["its target", "on its way"])
async def test_a_failing_step_stops_the_clock_with_words_and_it_can_be_sent_on(world: World, to: datetime) -> None:
    await world.sell(BillingPeriod.DAILY)
    await world.clock(utc("2025-01-01"))
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, utc("2025-01-01"))
    await world.until_started(subscription.id)
    await set_zone(world, subscription, "Mars/Olympus")

    await world.commands.advance_clock(world.scope, world.clock_id, to)

    async def stopped() -> bool:
        return (await world.clock_row()).clock_status == "internal_failure"

    await until(stopped)
    problem = (await world.clock_row()).problem or ""
    assert problem.startswith(f"subscription {subscription.id} of {customer.id}: ")
    assert "Mars/Olympus" in problem
    assert (await world.clock_row()).frozen_time == utc("2025-01-02")

    await set_zone(world, subscription, "UTC")
    await world.advance(to)

    row = await world.clock_row()
    assert (row.frozen_time, row.problem) == (to, None)
    assert len(await world.invoices(subscription.id)) == to.day


async def test_a_subscription_begun_in_the_clocks_past_catches_up_by_itself(world: World) -> None:
    await world.sell(BillingPeriod.DAILY)
    await world.clock(utc("2025-01-20"))
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, utc("2025-01-02"), now=utc("2025-01-20"))

    async def caught_up() -> bool:
        return (await world.subscription(subscription.id)).current_period_end > utc("2025-01-20")

    await until(caught_up)
    await world.advance(utc("2025-01-21"))

    invoices: list[InvoiceRow] = list(await world.invoices(subscription.id))
    assert len(invoices) == 20
    assert {invoice.payment_status for invoice in invoices[:-1]} == {"SUCCEEDED"}


async def set_zone(world: World, subscription: SubscriptionRow, zone: str) -> None:
    """Breaks a subscription for good, or mends it: nothing can be reckoned in a zone that does not exist."""
    statement = text("UPDATE subscriptions SET timezone = :zone WHERE id = :id")
    async with world.database.transaction(world.scope) as session:
        await session.execute(statement, {"zone": zone, "id": subscription.id})


async def test_a_webhooks_retry_waits_in_real_time(world: World) -> None:
    world.receiver.answers = [Answer(status=503, headers={"retry-after": "3600"})]
    await world.endpoint()
    await world.sell(BillingPeriod.DAILY)
    await world.clock(utc("2025-01-01"))
    customer = await world.customer("acme")
    await world.subscribe(customer, utc("2025-01-01"))

    async def refused() -> list[WebhookDeliveryRow]:
        query = select(WebhookDeliveryRow).where(WebhookDeliveryRow.last_status_code == 503)
        async with world.database.transaction(world.scope) as session:
            return list((await session.exec(query)).all())

    async def one_is_refused() -> bool:
        return len(await refused()) == 1

    await until(one_is_refused)
    await world.advance(utc("2025-01-04"))

    (delivery,) = await refused()
    assert delivery.attempts == 1
    workflow = world.temporal.get_workflow_handle(delivery_workflow_id(delivery.event_id, delivery.endpoint_id))
    (pending,) = (await workflow.describe()).raw_description.pending_activities
    next_try = pending.scheduled_time.ToDatetime(UTC)
    assert timedelta(minutes=58) < next_try - datetime.now(UTC) < timedelta(minutes=61)
