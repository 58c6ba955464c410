"""The customers of a measurement: one tenant that sells seats and calls, and subscriptions with a common boundary."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from sqlalchemy import func
from sqlmodel import col, select

from activities.api_keys import bootstrap
from activities.catalog import NewMeter, NewPlan, create_meter, create_plan
from activities.customers import NewCustomer, create_customer
from activities.ingestion.events import Event, Placed
from activities.ingestion.sink import Sink
from activities.new_subscriptions import NewSubscription, create_subscription
from activities.prices import NewPrice, create_price
from activities.settings import save_billing_settings
from activities.tax_rates import NewTaxAssociation, NewTaxRate, attach_tax_rate, create_tax_rate
from billing.periods import BillingPeriod, Cadence, Period, previous_boundary
from billing.prices import BillingModel, InvoiceCadence, PriceType, Tier, TierMode
from models.scope import Scope
from models.tables import InvoiceRow, OutboxRow, PaymentRow, TaxRateRow
from starter.clients import Clients, required

MONTHLY: Final = Cadence(BillingPeriod.MONTHLY, 1)
TOGETHER: Final = 25
"""Subscriptions made in one transaction."""


@dataclass(frozen=True)
class Shop:
    """A tenant of its own with a plan: 10 a seat in advance, calls by tiers in arrears, 18 % tax."""

    clients: Clients
    scope: Scope
    plan_id: str
    tax_rate_id: str


@dataclass(frozen=True)
class Subscriber:
    """A customer by the name that events carry, the subscription, and when it began."""

    external_id: str
    subscription_id: str
    start: datetime


@dataclass(frozen=True)
class Progress:
    """How many invoices of a boundary there are, are paid, and have their document."""

    invoices: int
    paid: int
    documents: int


async def open_shop(clients: Clients, grace_seconds: int) -> Shop:
    """Makes tenant, catalogue and tax rate; drafts wait `grace_seconds` for late usage."""
    async with clients.database.system_transaction() as session:
        made = await bootstrap(session, f"bench {uuid.uuid4()}", "production", datetime.now(UTC))
    async with clients.database.transaction(made.scope) as session:
        await save_billing_settings(session, made.scope, {"finalization_delay_seconds": grace_seconds})
        meter = await create_meter(session, made.scope, NewMeter("Calls", "call", "SUM", "minutes"))
        plan = await create_plan(session, made.scope, NewPlan("Pro", lookup_key="pro"))
        for price in (_seat(plan.id), _calls(plan.id, meter.id)):
            await create_price(session, made.scope, price)
        vat = NewTaxRate("vat", "VAT", percentage_value=Decimal(18))
        rate = await create_tax_rate(session, made.scope, vat, datetime.now(UTC))
    return Shop(clients, made.scope, plan.id, rate.id)


def _seat(plan_id: str) -> NewPrice:
    return NewPrice(
        PriceType.FIXED,
        plan_id,
        "usd",
        BillingModel.FLAT_FEE,
        BillingPeriod.MONTHLY,
        InvoiceCadence.ADVANCE,
        amount=Decimal(10),
        lookup_key="seat",
    )


def _calls(plan_id: str, meter_id: str) -> NewPrice:
    return NewPrice(
        PriceType.USAGE,
        plan_id,
        "usd",
        BillingModel.TIERED,
        BillingPeriod.MONTHLY,
        InvoiceCadence.ARREAR,
        tier_mode=TierMode.SLAB,
        tiers=(Tier(Decimal(1000), Decimal("0.02")), Tier(None, Decimal("0.01"))),
        meter_id=meter_id,
        lookup_key="calls",
    )


async def subscribe(shop: Shop, count: int, boundary: datetime, months: int = 1) -> list[Subscriber]:
    """`count` new customers with subscriptions that began `months` months before `boundary`, as if created then.

    The relay starts their workflows, and those close at once every boundary that has passed.
    """
    start = boundary
    for _ in range(months):
        start = previous_boundary(boundary, "UTC", MONTHLY, start - timedelta(seconds=1))
    made: list[Subscriber] = []
    while len(made) < count:
        made += await _subscribe_some(shop, min(TOGETHER, count - len(made)), start, boundary)
    return made


async def _subscribe_some(shop: Shop, count: int, start: datetime, boundary: datetime) -> list[Subscriber]:
    made = []
    async with shop.clients.database.transaction(shop.scope) as session:
        rate = await session.get_one(TaxRateRow, shop.tax_rate_id)
        for _ in range(count):
            name = f"c-{uuid.uuid4()}"
            customer = await create_customer(session, shop.scope, NewCustomer(name, name), start)
            await attach_tax_rate(session, shop.scope, NewTaxAssociation(rate, "customer", customer.id), start)
            new = NewSubscription(
                customer_id=customer.id,
                plan_id=shop.plan_id,
                currency="usd",
                billing_period="MONTHLY",
                billing_anchor=boundary,
                start_date=start,
                gateway_payment_method_id="pm_card_succeeds",
                payment_gateway="sandbox",
            )
            row = await create_subscription(session, shop.scope, new, start)
            made.append(Subscriber(name, row.id, start))
    return made


async def use(shop: Shop, subscribers: Sequence[Subscriber], until: datetime, events: int) -> None:
    """`events` calls of each customer, spread evenly from the subscription's start to `until`."""
    block: list[Placed] = []
    for subscriber in subscribers:
        step = (until - subscriber.start) / (events + 1)
        for number in range(events):
            event = _call(shop.scope, subscriber.external_id, subscriber.start + step * (number + 1))
            block.append(Placed(event, 0, len(block)))
    await Sink(required(shop.clients.clickhouse, "clickhouse")).store(block, int(datetime.now(UTC).timestamp() * 1000))


def _call(scope: Scope, external_id: str, at: datetime) -> Event:
    millis = int(at.timestamp() * 1000)
    event_id, properties = f"e-{uuid.uuid4()}", json.dumps({"minutes": "70.5"})
    return Event(
        scope.tenant_id, scope.environment_id, external_id, "call", millis, event_id, "bench", properties, millis
    )


async def progress(shop: Shop, drafted: Period) -> Progress:
    """How far the invoices are whose boundary lies in `drafted`, its end excluded."""
    query = select(
        func.count(),
        func.count().filter(col(InvoiceRow.payment_status) == "SUCCEEDED"),
        func.count(col(InvoiceRow.document_key)),
    ).where(col(InvoiceRow.drafted_at) >= drafted.start, col(InvoiceRow.drafted_at) < drafted.end)
    async with shop.clients.database.transaction(shop.scope) as session:
        return Progress(*(await session.exec(query)).one())


async def waiting_in_outbox(shop: Shop) -> int:
    """How many rows the relay has not carried on yet."""
    async with shop.clients.database.system_transaction() as session:
        query = select(func.count()).select_from(OutboxRow).where(col(OutboxRow.relayed_at).is_(None))
        return (await session.exec(query)).one()


async def settled(shop: Shop, drafted: Period) -> list[tuple[str, str, datetime]]:
    """Subscription, invoice and the real instant of payment, for invoices whose boundary lies in `drafted`."""
    query = (
        select(InvoiceRow.subscription_id, InvoiceRow.id, PaymentRow.updated_at)
        .join(PaymentRow, col(PaymentRow.destination_id) == col(InvoiceRow.id))
        .where(col(InvoiceRow.drafted_at) >= drafted.start, col(InvoiceRow.drafted_at) < drafted.end)
        .order_by(col(PaymentRow.updated_at))
    )
    async with shop.clients.database.transaction(shop.scope) as session:
        found = (await session.exec(query)).all()
    return [(subscription_id or "", invoice_id, paid_at) for subscription_id, invoice_id, paid_at in found]
