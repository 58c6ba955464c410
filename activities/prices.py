"""Creating, replacing and ending prices. What a price may look like is `billing/prices`'s rule.

A row never changes in what it charges: another amount is another row, which points at the first by `parent_price_id`.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from activities.bookkeeping import new_columns
from billing.errors import AlreadyExists, Conflict, Invalid
from billing.money import decimal_text
from billing.periods import BillingPeriod, Cadence
from billing.price_versions import check_sold, end_of_sale
from billing.prices import (
    BillingModel,
    InvoiceCadence,
    Price,
    PriceType,
    Tier,
    TierMode,
    TransformQuantity,
)
from billing.windows import check_window_count
from models.conversions import meter_from_row, price_from_row
from models.ids import new_id
from models.queries.catalog import get_meter, get_plan, get_price, last_price_position
from models.queries.paging import violated_index
from models.scope import Scope
from models.tables import PriceRow

LIVE_PRICES_MAX = 5000


@dataclass(frozen=True, slots=True)
class NewPrice:
    """What a price is created from. Amounts are major units of `currency`, up to 15 digits after the point."""

    type: PriceType
    entity_id: str
    currency: str
    billing_model: BillingModel
    billing_period: BillingPeriod
    invoice_cadence: InvoiceCadence
    entity_type: str = "PLAN"
    billing_period_count: int = 1
    amount: Decimal | None = None
    tier_mode: TierMode | None = None
    tiers: tuple[Tier, ...] = ()
    transform_quantity: TransformQuantity | None = None
    meter_id: str | None = None
    min_quantity: Decimal | None = None
    lookup_key: str = ""
    display_name: str = ""
    description: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    start_date: datetime | None = None
    end_date: datetime | None = None
    parent_price_id: str | None = None


@dataclass(frozen=True, slots=True)
class PriceChange:
    """New values; None leaves a field. The first five say what is charged and make a new price."""

    amount: Decimal | None = None
    billing_model: BillingModel | None = None
    tier_mode: TierMode | None = None
    tiers: tuple[Tier, ...] | None = None
    transform_quantity: TransformQuantity | None = None
    effective_from: datetime | None = None
    lookup_key: str | None = None
    display_name: str | None = None
    description: str | None = None
    metadata: dict[str, str] | None = None


_CHARGED = ("amount", "billing_model", "tier_mode", "tiers", "transform_quantity")


async def create_price(session: AsyncSession, scope: Scope, new: NewPrice, actor: str = "", path: str = "") -> PriceRow:
    """Inserts a price at the end of its plan. Raises Invalid naming the field after `path`, NotFound, AlreadyExists."""
    try:
        price = _value(new)
        check_sold(new.start_date, new.end_date)
        await get_plan(session, scope, new.entity_id, lock=True)  # two prices at once must not share a position
        if new.meter_id:
            meter = await get_meter(session, scope, new.meter_id)
            if meter.status != "published":
                raise Invalid(f"meter_id must name a meter in use; {meter.id} is {meter.status}", field="meter_id")
            size = meter_from_row(meter).bucket_size
            if size is not None:
                check_window_count(size, price.cadence)
        position, live = await last_price_position(session, scope, new.entity_id)
        if live >= LIVE_PRICES_MAX:
            raise Conflict(f"plan {new.entity_id} has {LIVE_PRICES_MAX} prices, the most there may be", state="full")
        row = _row(scope, new, price, position + 1, actor)
        session.add(row)
        await _flush(session, new.lookup_key)
    except Invalid as error:
        raise Invalid(f"{path}{error.message}", f"{path}{error.field}", error.details, error.code) from error
    return row


async def update_price(
    session: AsyncSession, scope: Scope, price_id: str, change: PriceChange, now: datetime, actor: str = ""
) -> PriceRow:
    """Changes names in place; another amount ends the price at `effective_from` (else `now`), and a new one follows it.

    Running subscriptions keep the price that they have. Raises NotFound, Invalid, Conflict.
    """
    row = await get_price(session, scope, price_id, lock=True)
    if any(getattr(change, name) is not None for name in _CHARGED):
        return await _replace(session, scope, row, change, now, actor)
    if change.effective_from is not None:
        raise Invalid("effective_from must be left out when only names change", field="effective_from")
    row.lookup_key = row.lookup_key if change.lookup_key is None else change.lookup_key
    row.display_name = row.display_name if change.display_name is None else change.display_name
    row.description = row.description if change.description is None else change.description
    row.price_metadata = row.price_metadata if change.metadata is None else change.metadata
    row.updated_at, row.updated_by = now, actor
    await _flush(session, row.lookup_key)
    return row


async def end_price(
    session: AsyncSession, scope: Scope, price_id: str, end_date: datetime | None, now: datetime, actor: str = ""
) -> PriceRow:
    """Ends the price at `end_date` (else `now`): nobody subscribes to it afterwards. Raises NotFound, Invalid."""
    row = await get_price(session, scope, price_id, lock=True)
    row.end_date = end_of_sale(row.start_date, row.end_date, end_date or now, "end_date")
    row.updated_at, row.updated_by = now, actor
    await session.flush()
    return row


async def _replace(
    session: AsyncSession, scope: Scope, row: PriceRow, change: PriceChange, now: datetime, actor: str
) -> PriceRow:
    if row.end_date is not None:
        raise Conflict(f"price {row.id} has ended; change the price that followed it", state="ended")
    at = change.effective_from or now
    following = _following(row, change, at)
    row.end_date = end_of_sale(row.start_date, row.end_date, at, "effective_from")
    row.updated_at, row.updated_by = now, actor
    await session.flush()
    created = await create_price(session, scope, following, actor)
    created.position = row.position
    await session.flush()
    return created


def _following(row: PriceRow, change: PriceChange, at: datetime) -> NewPrice:
    """The price that takes over: the old one with the changes; what belongs only to the old model is dropped."""
    old = price_from_row(row)
    model = change.billing_model or old.billing_model
    tiered, packaged = model is BillingModel.TIERED, model is BillingModel.PACKAGE
    new = NewPrice(
        type=old.type,
        entity_id=row.entity_id,
        currency=row.currency,
        billing_model=model,
        billing_period=old.cadence.period,
        invoice_cadence=old.invoice_cadence,
        entity_type=row.entity_type,
        billing_period_count=old.cadence.count,
        amount=None if tiered else old.amount,
        tier_mode=old.tier_mode if tiered else None,
        tiers=old.tiers if tiered else (),
        transform_quantity=old.transform_quantity if packaged else None,
        meter_id=row.meter_id,
        min_quantity=row.min_quantity,
        lookup_key=row.lookup_key,
        display_name=row.display_name,
        description=row.description,
        metadata=row.price_metadata,
        start_date=at,
        parent_price_id=row.parent_price_id or row.id,
    )
    names = (*_CHARGED, "lookup_key", "display_name", "description", "metadata")
    given: dict[str, Any] = {name: getattr(change, name) for name in names if getattr(change, name) is not None}
    return replace(new, **given)


def _value(new: NewPrice) -> Price:
    """The price as billing rates it, which refuses what cannot be a price."""
    return Price(
        id="",
        display_name=new.display_name,
        type=new.type,
        billing_model=new.billing_model,
        currency=new.currency,
        cadence=Cadence(new.billing_period, new.billing_period_count),
        invoice_cadence=new.invoice_cadence,
        amount=new.amount,
        tier_mode=new.tier_mode,
        tiers=new.tiers,
        transform_quantity=new.transform_quantity,
        meter_id=new.meter_id,
        min_quantity=new.min_quantity,
    )


def _row(scope: Scope, new: NewPrice, price: Price, position: int, actor: str) -> PriceRow:
    packages = price.transform_quantity
    return PriceRow(
        id=new_id("price"),
        **new_columns(scope),
        created_by=actor,
        updated_by=actor,
        entity_type=new.entity_type,
        entity_id=new.entity_id,
        position=position,
        type=price.type.value,
        currency=price.currency,
        amount=price.amount or Decimal(0),
        billing_model=price.billing_model.value,
        tier_mode=price.tier_mode.value if price.tier_mode else None,
        tiers=[_stored_tier(tier) for tier in price.tiers] or None,
        transform_quantity={"divide_by": packages.divide_by, "round": packages.round.value} if packages else None,
        billing_period=price.cadence.period.value,
        billing_period_count=price.cadence.count,
        invoice_cadence=price.invoice_cadence.value,
        meter_id=price.meter_id,
        min_quantity=price.min_quantity,
        lookup_key=new.lookup_key,
        display_name=new.display_name,
        description=new.description,
        parent_price_id=new.parent_price_id,
        start_date=new.start_date,
        end_date=new.end_date,
        price_metadata=new.metadata,
    )


def _stored_tier(tier: Tier) -> dict[str, str | None]:
    return {
        "up_to": None if tier.up_to is None else decimal_text(tier.up_to),
        "unit_amount": decimal_text(tier.unit_amount),
        "flat_amount": decimal_text(tier.flat_amount),
    }


async def _flush(session: AsyncSession, lookup_key: str) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if violated_index(error) == "prices_lookup_key":
            message = f"a price with the lookup_key {lookup_key!r} already exists"
            raise AlreadyExists(message, field="lookup_key") from error
        raise
