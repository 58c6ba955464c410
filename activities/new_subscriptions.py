"""Creating a subscription: what was asked for is checked, written down whole, and opened if its start has come."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import new_columns
from activities.invoice_states import invoice_state
from activities.outbox import START_INVOICE, START_SUBSCRIPTION, emit, enqueue
from activities.payloads import subscription_payload
from activities.subscriptions import cross_boundary, load_terms
from billing.errors import Conflict, Invalid, NotFound
from billing.money import exponent
from billing.periods import BillingCycle, BillingPeriod, Cadence, to_milliseconds
from billing.subscriptions import SubscriptionStatus, billing_anchor, open_subscription
from billing.terms import ProrationBehavior, check_recurs, is_taken, line_quantity
from models.conversions import price_from_row
from models.ids import new_id
from models.scope import Scope
from models.tables import (
    CustomerRow,
    MeterRow,
    PlanRow,
    PriceRow,
    SubscriptionLineItemRow,
    SubscriptionRow,
    TestClockRow,
)

PLAN_LEVEL = "plan"
Kind = TypeVar("Kind", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """What a caller asks for. `quantities` by price id; instants are UTC; absent `start_date` means now."""

    customer_id: str
    plan_id: str
    currency: str
    billing_period: str
    billing_period_count: int = 1
    billing_cycle: str = BillingCycle.anniversary.value
    billing_anchor: datetime | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    quantities: Mapping[str, Decimal] = field(default_factory=dict)
    gateway_payment_method_id: str | None = None
    payment_gateway: str | None = None
    proration_behavior: str = ProrationBehavior.none.value
    collection_method: str = "charge_automatically"
    payment_terms: str | None = None
    auto_invoice_threshold: Decimal | None = None
    lookup_key: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


async def create_subscription(
    session: AsyncSession, scope: Scope, new: NewSubscription, now: datetime
) -> SubscriptionRow:
    """Writes the subscription with its lines and, if its start has come, opens it with its opening invoice.

    `now` is the customer's business time. Its workflows are started by the outbox relay. Raises NotFound and Invalid
    naming the field; nothing is written then.
    """
    customer, plan = await _customer(session, new.customer_id), await _plan(session, new.plan_id)
    prices = await _prices(session, plan, new)
    row = _subscription_row(scope, new, customer, now)
    session.add(row)
    lines = await _line_rows(session, scope, row, plan, prices, new)
    session.add_all(lines)
    await session.flush()
    transition = open_subscription(await load_terms(session, row))
    period = transition.state.current_period
    row.current_period_start, row.current_period_end = period.start, period.end
    row.next_action_at = row.start_date
    await emit(session, scope, "subscription.created", row.id, {"subscription": subscription_payload(row, lines)}, now)
    await enqueue(session, scope, START_SUBSCRIPTION, row.id)
    if row.start_date <= now:
        for invoice in await cross_boundary(session, row):
            if invoice_state(invoice).is_draft:
                await enqueue(session, scope, START_INVOICE, invoice.id)
    return row


async def _customer(session: AsyncSession, customer_id: str) -> CustomerRow:
    query = select(CustomerRow).where(CustomerRow.id == customer_id, CustomerRow.status == "published")
    row = (await session.exec(query)).one_or_none()
    if row is None:
        raise NotFound(f"no customer has the id {customer_id!r}", field="customer_id")
    if row.test_clock_id is not None:
        clock = await session.get_one(TestClockRow, row.test_clock_id, with_for_update={"read": True})
        if clock.clock_status == "advancing":
            raise Conflict(
                "the customer's test clock is advancing; create the subscription when it is ready", state="advancing"
            )
    return row


async def _plan(session: AsyncSession, plan_id: str) -> PlanRow:
    query = select(PlanRow).where(PlanRow.id == plan_id, PlanRow.status == "published")
    row = (await session.exec(query)).one_or_none()
    if row is None:
        raise NotFound(f"no plan has the id {plan_id!r}", field="plan_id")
    return row


async def _prices(session: AsyncSession, plan: PlanRow, new: NewSubscription) -> list[PriceRow]:
    """The plan's prices in the subscription's currency that fit its billing period, in the plan's order."""
    query = (
        select(PriceRow)
        .where(
            PriceRow.entity_id == plan.id,
            PriceRow.status == "published",
            PriceRow.currency == new.currency,
            col(PriceRow.end_date).is_(None),
        )
        .order_by(col(PriceRow.position), col(PriceRow.id))
    )
    exponent(new.currency)
    wanted = _cadence(new)
    rows = [row for row in (await session.exec(query)).all() if is_taken(price_from_row(row), wanted)]
    if not rows:
        raise Invalid(
            f"plan {plan.id} has no price in {new.currency} that is billed {new.billing_period} or ONETIME;"
            " create one, or choose a currency and billing period that it has",
            field="plan_id",
        )
    _check_quantities(rows, new)
    return rows


def _cadence(new: NewSubscription) -> Cadence:
    cadence = Cadence(_billing_period(new.billing_period), new.billing_period_count)
    check_recurs(cadence)
    return cadence


def _billing_period(text: str) -> BillingPeriod:
    try:
        return BillingPeriod(text)
    except ValueError:
        known = ", ".join(period for period in BillingPeriod if period is not BillingPeriod.ONETIME)
        raise Invalid(f"billing_period must be one of {known}; got {text!r}", field="billing_period") from None


def _check_quantities(rows: list[PriceRow], new: NewSubscription) -> None:
    by_id = {row.id: row for row in rows}
    for price_id, quantity in new.quantities.items():
        row = by_id.get(price_id)
        if row is None:
            raise Invalid(
                f"price {price_id} is not one that this subscription pays", field="override_line_items.price_id"
            )
        if row.type == "USAGE":
            raise Invalid("quantity must be absent for a USAGE price: it is metered", "override_line_items.quantity")
        if quantity < 0:
            raise Invalid(f"quantity must be 0 or more; got {quantity}", field="override_line_items.quantity")


def _subscription_row(scope: Scope, new: NewSubscription, customer: CustomerRow, now: datetime) -> SubscriptionRow:
    start = to_milliseconds(new.start_date or now)
    cycle = _choice(BillingCycle, new.billing_cycle, "billing_cycle")
    cadence = _cadence(new)
    anchor = billing_anchor(start, customer.timezone, cadence, cycle, new.billing_anchor)
    return SubscriptionRow(
        id=new_id("subs"),
        **new_columns(scope),
        customer_id=customer.id,
        plan_id=new.plan_id,
        lookup_key=new.lookup_key,
        subscription_status=SubscriptionStatus.active.value,
        currency=new.currency,
        timezone=customer.timezone,
        billing_anchor=anchor,
        billing_cycle=cycle.value,
        billing_period=cadence.period.value,
        billing_period_count=cadence.count,
        start_date=start,
        end_date=new.end_date,
        current_period_start=start,
        current_period_end=start,
        collection_method=_one_of(new.collection_method, ("charge_automatically", "send_invoice"), "collection_method"),
        payment_terms=new.payment_terms,
        gateway_payment_method_id=new.gateway_payment_method_id,
        payment_gateway=new.payment_gateway,
        auto_invoice_threshold=new.auto_invoice_threshold,
        proration_behavior=_choice(ProrationBehavior, new.proration_behavior, "proration_behavior").value,
        subscription_metadata=dict(new.metadata),
        test_clock_id=customer.test_clock_id,
    )


async def _line_rows(
    session: AsyncSession,
    scope: Scope,
    row: SubscriptionRow,
    plan: PlanRow,
    prices: list[PriceRow],
    new: NewSubscription,
) -> list[SubscriptionLineItemRow]:
    wanted = {price.meter_id for price in prices if price.meter_id}
    meters = {m.id: m for m in (await session.exec(select(MeterRow).where(col(MeterRow.id).in_(wanted)))).all()}
    return [_line_row(scope, row, plan, price, position, new, meters) for position, price in enumerate(prices)]


def _line_row(
    scope: Scope,
    row: SubscriptionRow,
    plan: PlanRow,
    price: PriceRow,
    position: int,
    new: NewSubscription,
    meters: dict[str, MeterRow],
) -> SubscriptionLineItemRow:
    meter = meters.get(price.meter_id or "")
    return SubscriptionLineItemRow(
        id=new_id("subs_line"),
        **new_columns(scope),
        subscription_id=row.id,
        customer_id=row.customer_id,
        position=position,
        entity_id=plan.id,
        entity_type=PLAN_LEVEL,
        plan_display_name=plan.name,
        price_id=price.id,
        price_type=price.type,
        meter_id=price.meter_id,
        meter_display_name=meter.name if meter else "",
        display_name=price.display_name or price.lookup_key,
        quantity=line_quantity(price_from_row(price), new.quantities),
        currency=price.currency,
        billing_period=price.billing_period,
        billing_period_count=price.billing_period_count,
        invoice_cadence=price.invoice_cadence,
        start_date=row.start_date,
    )


def _choice(kind: type[Kind], text: str, name: str) -> Kind:
    return kind(_one_of(text, tuple(each.value for each in kind), name))


def _one_of(text: str, known: tuple[str, ...], name: str) -> str:
    if text not in known:
        raise Invalid(f"{name} must be one of {', '.join(known)}; got {text!r}", field=name)
    return text
