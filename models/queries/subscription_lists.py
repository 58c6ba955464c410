"""Lists of subscriptions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from models.queries.paging import Page, get_page, own
from models.scope import Scope
from models.tables import PriceRow, SubscriptionLineItemRow, SubscriptionRow


@dataclass(frozen=True, slots=True)
class SubscriptionFilter:
    """Which subscriptions; what is None does not filter."""

    subscription_ids: Sequence[str] | None = None
    customer_ids: Sequence[str] | None = None
    plan_id: str | None = None
    statuses: Sequence[str] | None = None
    billing_periods: Sequence[str] | None = None


async def list_subscriptions(
    session: AsyncSession, scope: Scope, page: Page, wanted: SubscriptionFilter
) -> tuple[list[SubscriptionRow], int]:
    """One page of subscriptions and how many match in all."""
    table = SubscriptionRow
    where: list[ColumnElement[bool]] = []
    if wanted.subscription_ids is not None:
        where.append(col(table.id).in_(wanted.subscription_ids))
    if wanted.customer_ids is not None:
        where.append(col(table.customer_id).in_(wanted.customer_ids))
    if wanted.plan_id is not None:
        where.append(col(table.plan_id) == wanted.plan_id)
    if wanted.statuses is not None:
        where.append(col(table.subscription_status).in_(wanted.statuses))
    if wanted.billing_periods is not None:
        where.append(col(table.billing_period).in_(wanted.billing_periods))
    return await get_page(session, scope, table, page, where, _COLUMNS)


async def line_items_of(
    session: AsyncSession, scope: Scope, subscription_ids: Sequence[str]
) -> dict[str, list[SubscriptionLineItemRow]]:
    """The line items of each subscription, in invoice order."""
    table = SubscriptionLineItemRow
    statement = (
        select(table)
        .where(*own(table, scope), col(table.subscription_id).in_(set(subscription_ids)))
        .order_by(col(table.position), col(table.id))
    )
    found: dict[str, list[SubscriptionLineItemRow]] = {each: [] for each in subscription_ids}
    for row in (await session.scalars(statement)).all():
        found[row.subscription_id].append(row)
    return found


_NAMES = (
    "customer_id", "plan_id", "lookup_key", "subscription_status", "currency", "billing_period", "start_date",
    "end_date", "current_period_start", "current_period_end", "cancelled_at", "cancel_at",
)  # fmt: skip
_COLUMNS = {name: getattr(SubscriptionRow, name) for name in _NAMES}


async def usage_lines_of(
    session: AsyncSession, scope: Scope, customer_id: str, start: datetime, end: datetime
) -> list[tuple[SubscriptionLineItemRow, PriceRow]]:
    """The usage lines, with their prices, by which a customer is charged at some time in [start, end)."""
    line = SubscriptionLineItemRow
    statement = (
        select(line, PriceRow)
        .join(PriceRow, col(PriceRow.id) == col(line.price_id))
        .where(
            *own(line, scope),
            col(line.customer_id) == customer_id,
            col(line.meter_id).is_not(None),
            col(line.start_date) < end,
            or_(col(line.end_date).is_(None), col(line.end_date) > start),
        )
        .order_by(col(line.start_date), col(line.id))
    )
    return [(found, price) for found, price in (await session.execute(statement)).all()]
