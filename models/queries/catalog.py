"""Reading meters, features, plans and prices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.errors import NotFound
from models.queries.paging import Page, find_one, get_page, own
from models.scope import Scope
from models.tables import FeatureRow, MeterRow, PlanRow, PriceRow


async def get_meter(session: AsyncSession, scope: Scope, meter_id: str, lock: bool = False) -> MeterRow:
    """The meter with this id. Raises NotFound."""
    row = await find_one(session, scope, MeterRow, col(MeterRow.id) == meter_id, lock=lock)
    if row is None:
        raise NotFound(f"no meter has the id {meter_id!r}", field="meter_id")
    return row


async def find_meters(session: AsyncSession, scope: Scope, meter_ids: Sequence[str]) -> dict[str, MeterRow]:
    """Those of the meters that exist, by id; deleted ones too, because running subscriptions still count with them."""
    statement = select(MeterRow).where(*own(MeterRow, scope), col(MeterRow.id).in_(set(meter_ids)))
    return {row.id: row for row in (await session.execute(statement)).scalars()}


async def list_meters(
    session: AsyncSession, scope: Scope, page: Page, meter_ids: Sequence[str] | None = None,
    event_name: str | None = None,
) -> tuple[list[MeterRow], int]:  # fmt: skip
    """One page of meters and how many match in all."""
    where: list[ColumnElement[bool]] = []
    if meter_ids is not None:
        where.append(col(MeterRow.id).in_(meter_ids))
    if event_name is not None:
        where.append(col(MeterRow.event_name) == event_name)
    columns = {"name": MeterRow.name, "event_name": MeterRow.event_name}
    return await get_page(session, scope, MeterRow, page, where, columns)


async def all_meters(session: AsyncSession, scope: Scope) -> list[MeterRow]:
    """Every meter that counts."""
    query = select(MeterRow).where(*own(MeterRow, scope), col(MeterRow.status) == "published")
    return list((await session.execute(query.order_by(col(MeterRow.id)))).scalars())


async def get_feature(session: AsyncSession, scope: Scope, feature_id: str, lock: bool = False) -> FeatureRow:
    """The feature with this id. Raises NotFound."""
    row = await find_one(session, scope, FeatureRow, col(FeatureRow.id) == feature_id, lock=lock)
    if row is None:
        raise NotFound(f"no feature has the id {feature_id!r}", field="feature_id")
    return row


async def find_feature_by_meter(session: AsyncSession, scope: Scope, meter_id: str) -> FeatureRow | None:
    """The newest feature that is measured by this meter."""
    return await find_one(session, scope, FeatureRow, col(FeatureRow.meter_id) == meter_id)


@dataclass(frozen=True, slots=True)
class FeatureFilter:
    """Which features; what is None does not filter."""

    feature_ids: Sequence[str] | None = None
    lookup_keys: Sequence[str] | None = None
    meter_ids: Sequence[str] | None = None
    name_contains: str | None = None


async def list_features(
    session: AsyncSession, scope: Scope, page: Page, wanted: FeatureFilter
) -> tuple[list[FeatureRow], int]:
    """One page of features and how many match in all."""
    where: list[ColumnElement[bool]] = []
    if wanted.feature_ids is not None:
        where.append(col(FeatureRow.id).in_(wanted.feature_ids))
    if wanted.lookup_keys is not None:
        where.append(col(FeatureRow.lookup_key).in_(wanted.lookup_keys))
    if wanted.meter_ids is not None:
        where.append(col(FeatureRow.meter_id).in_(wanted.meter_ids))
    if wanted.name_contains is not None:
        where.append(col(FeatureRow.name).icontains(wanted.name_contains, autoescape=True))
    columns = {name: getattr(FeatureRow, name) for name in ("name", "lookup_key", "type", "meter_id")}
    return await get_page(session, scope, FeatureRow, page, where, columns)


async def get_plan(session: AsyncSession, scope: Scope, plan_id: str, lock: bool = False) -> PlanRow:
    """The plan with this id. Raises NotFound."""
    row = await find_one(session, scope, PlanRow, col(PlanRow.id) == plan_id, lock=lock)
    if row is None:
        raise NotFound(f"no plan has the id {plan_id!r}", field="plan_id")
    return row


async def find_plans(session: AsyncSession, scope: Scope, plan_ids: Sequence[str]) -> dict[str, PlanRow]:
    """Those of the plans that exist, by id; deleted ones too, because running subscriptions still belong to them."""
    statement = select(PlanRow).where(*own(PlanRow, scope), col(PlanRow.id).in_(set(plan_ids)))
    return {row.id: row for row in (await session.execute(statement)).scalars()}


async def list_plans(
    session: AsyncSession, scope: Scope, page: Page, plan_ids: Sequence[str] | None = None,
    lookup_key: str | None = None,
) -> tuple[list[PlanRow], int]:  # fmt: skip
    """One page of plans and how many match in all."""
    where: list[ColumnElement[bool]] = []
    if plan_ids is not None:
        where.append(col(PlanRow.id).in_(plan_ids))
    if lookup_key is not None:
        where.append(col(PlanRow.lookup_key) == lookup_key)
    columns = {name: getattr(PlanRow, name) for name in ("name", "lookup_key", "display_order")}
    return await get_page(session, scope, PlanRow, page, where, columns)


async def get_price(session: AsyncSession, scope: Scope, price_id: str, lock: bool = False) -> PriceRow:
    """The price with this id. Raises NotFound."""
    row = await find_one(session, scope, PriceRow, col(PriceRow.id) == price_id, lock=lock)
    if row is None:
        raise NotFound(f"no price has the id {price_id!r}", field="price_id")
    return row


async def get_price_by_lookup_key(session: AsyncSession, scope: Scope, lookup_key: str) -> PriceRow:
    """The price under this lookup key that has not been ended, else the newest of the ended ones. Raises NotFound."""
    current = (col(PriceRow.lookup_key) == lookup_key, col(PriceRow.end_date).is_(None))
    row = await find_one(session, scope, PriceRow, *current)
    row = row or await find_one(session, scope, PriceRow, col(PriceRow.lookup_key) == lookup_key)
    if row is None:
        raise NotFound(f"no price has the lookup_key {lookup_key!r}", field="lookup_key")
    return row


@dataclass(frozen=True, slots=True)
class PriceFilter:
    """Which prices; what is None does not filter. Prices that ended before `valid_at` are left out where it is set."""

    price_ids: Sequence[str] | None = None
    entity_type: str | None = None
    entity_ids: Sequence[str] | None = None
    meter_ids: Sequence[str] | None = None
    billing_periods: Sequence[str] | None = None
    parent_price_id: str | None = None
    valid_at: datetime | None = None


async def list_prices(
    session: AsyncSession, scope: Scope, page: Page, wanted: PriceFilter
) -> tuple[list[PriceRow], int]:
    """One page of prices and how many match in all."""
    where: list[ColumnElement[bool]] = []
    if wanted.price_ids is not None:
        where.append(col(PriceRow.id).in_(wanted.price_ids))
    if wanted.entity_type is not None:
        where.append(col(PriceRow.entity_type) == wanted.entity_type)
    if wanted.entity_ids is not None:
        where.append(col(PriceRow.entity_id).in_(wanted.entity_ids))
    if wanted.meter_ids is not None:
        where.append(col(PriceRow.meter_id).in_(wanted.meter_ids))
    if wanted.billing_periods is not None:
        where.append(col(PriceRow.billing_period).in_(wanted.billing_periods))
    if wanted.parent_price_id is not None:
        where.append(col(PriceRow.parent_price_id) == wanted.parent_price_id)
    if wanted.valid_at is not None:
        where.append(or_(col(PriceRow.end_date).is_(None), col(PriceRow.end_date) > wanted.valid_at))
    names = ("lookup_key", "display_name", "type", "currency", "entity_id", "entity_type", "billing_model", "meter_id")
    columns = {name: getattr(PriceRow, name) for name in (*names, "start_date", "end_date")}
    return await get_page(session, scope, PriceRow, page, where, columns)


async def prices_of_plans(
    session: AsyncSession, scope: Scope, plan_ids: Sequence[str], at: datetime | None = None
) -> dict[str, list[PriceRow]]:
    """The prices of each plan in the plan's order, without those that are deleted or, with `at`, not valid then."""
    clauses = [
        *own(PriceRow, scope),
        col(PriceRow.entity_type) == "PLAN",
        col(PriceRow.entity_id).in_(set(plan_ids)),
        col(PriceRow.status) != "deleted",
    ]
    if at is not None:
        clauses.append(or_(col(PriceRow.end_date).is_(None), col(PriceRow.end_date) > at))
        clauses.append(or_(col(PriceRow.start_date).is_(None), col(PriceRow.start_date) <= at))
    order = (col(PriceRow.position), col(PriceRow.created_at), col(PriceRow.id))
    result: dict[str, list[PriceRow]] = {plan_id: [] for plan_id in plan_ids}
    for row in (await session.execute(select(PriceRow).where(*clauses).order_by(*order))).scalars():
        result[row.entity_id].append(row)
    return result


async def last_price_position(session: AsyncSession, scope: Scope, entity_id: str) -> tuple[int, int]:
    """The highest position among an entity's prices (-1 where it has none), and how many of them are live."""
    live = func.count().filter(col(PriceRow.status) != "deleted", col(PriceRow.end_date).is_(None))
    statement = select(func.coalesce(func.max(PriceRow.position), -1), live).where(
        *own(PriceRow, scope), col(PriceRow.entity_id) == entity_id
    )
    position, count = (await session.execute(statement)).one()
    return int(position), int(count)
