"""When an hour is full, in real time: unbilled usage at a threshold is invoiced, and a balance that fell is told."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlmodel import col, select

from activities.new_subscriptions import NewSubscription, create_subscription
from activities.wallets import NewWallet, TopUp, create_wallet, top_up_wallet
from billing.balance_alerts import AlertSettings, AlertThreshold
from models.tables import CustomerRow, InvoiceRow, SubscriptionRow, WebhookEventRow
from tests.world import World, until
from workflows.contracts import BILLING

HOUR = timedelta(hours=1)


def full_hour() -> datetime:
    """The last one."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


async def subscribed(world: World, threshold: str) -> tuple[CustomerRow, SubscriptionRow]:
    """For three hours, in real time: calls at 0.02, and an invoice for each `threshold` of them."""
    await world.sell()
    customer = await world.customer("acme")
    new = NewSubscription(
        customer_id=customer.id,
        plan_id=world.plan_id,
        currency="usd",
        billing_period="MONTHLY",
        start_date=full_hour() - 3 * HOUR,
        gateway_payment_method_id="pm_card_succeeds",
        payment_gateway="sandbox",
        auto_invoice_threshold=Decimal(threshold),
    )
    async with world.database.transaction(world.scope) as session:
        subscription = await create_subscription(session, world.scope, new, datetime.now(UTC))
    await world.until_started(subscription.id)
    return customer, subscription


async def passes(world: World) -> None:
    """One pass of the Schedule, made now."""
    await world.temporal.execute_workflow("UsageAggregationWorkflow", id=f"pass/{uuid.uuid4()}", task_queue=BILLING)


async def on_account(world: World, subscription: SubscriptionRow) -> list[InvoiceRow]:
    """Its invoices at thresholds."""
    invoices = await world.invoices(subscription.id)
    return [each for each in invoices if each.billing_reason == "AUTO_INVOICE_THRESHOLD"]


async def told(world: World) -> list[str]:
    """What was told of balances, oldest first."""
    query = select(WebhookEventRow).where(col(WebhookEventRow.event_type).startswith("wallet.ongoing_balance."))
    async with world.database.transaction(world.scope) as session:
        rows = (await session.exec(query.order_by(col(WebhookEventRow.id)))).all()
    return [f"{row.event_type} {json.loads(row.payload)['alert_state']}" for row in rows]


async def test_a_threshold_is_invoiced_once_and_only_when_it_is_reached(world: World) -> None:
    """400 calls cost 8 and 1,000 cost 20: 15 are reached with the second batch, and then 20 are billed, and paid."""
    customer, subscription = await subscribed(world, "15")
    await world.use(customer, full_hour() - 2 * HOUR, "400")
    await passes(world)
    assert await on_account(world, subscription) == []

    await world.use(customer, full_hour() - HOUR, "600")
    await passes(world)
    await passes(world)
    [invoice] = await on_account(world, subscription)

    async def is_paid() -> bool:
        return (await world.invoice(invoice.id)).payment_status == "SUCCEEDED"

    await until(is_paid)
    assert (await world.invoice(invoice.id)).amount_paid == Decimal(20)
    assert (await world.subscription(subscription.id)).current_period_start == subscription.start_date

    await passes(world)
    assert len(await on_account(world, subscription)) == 1


async def test_a_balance_that_falls_and_rises_is_told_once_each(world: World) -> None:
    """10 credits, of which 400 calls take 8: 2 are below 5. With 20 more it is well again."""
    customer, _ = await subscribed(world, "1000")
    new = NewWallet(
        customer.id, "usd", initial_credits=Decimal(10), alerts=AlertSettings(critical=AlertThreshold(Decimal(5)))
    )
    async with world.database.transaction(world.scope) as session:
        wallet = await create_wallet(session, world.scope, new, datetime.now(UTC))
    await world.use(customer, full_hour() + 2 * HOUR, "400")
    await passes(world)
    assert await told(world) == [], "usage that was sent ahead is not used yet"

    await world.use(customer, full_hour() - HOUR, "400")
    for _ in range(2):
        await passes(world)
        assert await told(world) == ["wallet.ongoing_balance.dropped in_alarm"]

    async with world.database.transaction(world.scope) as session:
        more = TopUp(Decimal(20), "FREE_CREDIT_GRANT")
        await top_up_wallet(session, world.scope, wallet.id, more, datetime.now(UTC))
    for _ in range(2):
        await passes(world)
        assert (await told(world))[1:] == ["wallet.ongoing_balance.recovered ok"]


async def test_credits_that_expire_on_a_clocks_way_are_told_when_that_hour_is_full(world: World) -> None:
    """30 credits, of which 20 are gone after two days and twenty minutes: 10 are below 15, long before the arrival."""
    start = datetime(2025, 1, 1, tzinfo=UTC)
    await world.clock(start)
    customer = await world.customer("acme")
    new = NewWallet(
        customer.id, "usd", initial_credits=Decimal(10), alerts=AlertSettings(critical=AlertThreshold(Decimal(15)))
    )
    gift = TopUp(Decimal(20), "FREE_CREDIT_GRANT", expires_at=start + timedelta(days=2, minutes=20))
    async with world.database.transaction(world.scope) as session:
        wallet = await create_wallet(session, world.scope, new, start)
        await top_up_wallet(session, world.scope, wallet.id, gift, start)
    await world.advance(start + timedelta(days=5))
    at = start + timedelta(days=2, hours=1)
    assert len(await world.events(f"{wallet.id}/{at.isoformat()}")) == 1
    assert len(await told(world)) == 1
