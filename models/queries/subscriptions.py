"""Reading and locking subscriptions and what belongs to them."""

from datetime import datetime

from sqlalchemy import func, or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.errors import NotFound
from billing.taxes import narrowest
from models.tables import PriceRow, SubscriptionLineItemRow, SubscriptionRow, TaxAssociationRow, TaxRateRow


async def get_subscription(session: AsyncSession, subscription_id: str, *, lock: bool = False) -> SubscriptionRow:
    """The subscription; `lock` keeps other writers out until the transaction ends. Raises NotFound."""
    row = await find_subscription(session, subscription_id, lock=lock)
    if row is None:
        raise NotFound(f"no subscription has the id {subscription_id!r}", field="subscription_id")
    return row


async def find_subscription(
    session: AsyncSession, subscription_id: str, *, lock: bool = False
) -> SubscriptionRow | None:
    """The subscription, or None."""
    query = select(SubscriptionRow).where(SubscriptionRow.id == subscription_id)
    return (await session.exec(query.with_for_update() if lock else query)).one_or_none()


async def list_line_items(
    session: AsyncSession, subscription_id: str
) -> list[tuple[SubscriptionLineItemRow, PriceRow]]:
    """The subscription's line items with their prices, in invoice order."""
    query = (
        select(SubscriptionLineItemRow, PriceRow)
        .join(PriceRow, col(PriceRow.id) == col(SubscriptionLineItemRow.price_id))
        .where(SubscriptionLineItemRow.subscription_id == subscription_id)
        .order_by(col(SubscriptionLineItemRow.position))
    )
    return list((await session.exec(query)).all())


async def list_tax_rates_of(
    session: AsyncSession, customer_id: str, subscription_id: str | None, currency: str, at: datetime
) -> list[TaxRateRow]:
    """The rates of the narrowest level that has any for `currency` at `at`: the subscription's, else the customer's."""
    query = (
        select(TaxAssociationRow, TaxRateRow)
        .join(TaxRateRow, col(TaxRateRow.id) == col(TaxAssociationRow.tax_rate_id))
        .where(
            col(TaxAssociationRow.entity_id).in_([customer_id, subscription_id or ""]),
            TaxAssociationRow.status == "published",
            col(TaxAssociationRow.auto_apply),
            or_(col(TaxAssociationRow.currency).is_(None), col(TaxAssociationRow.currency) == currency),
            or_(col(TaxAssociationRow.start_date).is_(None), col(TaxAssociationRow.start_date) <= at),
            TaxRateRow.status == "published",
        )
        .order_by(col(TaxAssociationRow.priority), col(TaxAssociationRow.id))
    )
    found = (await session.exec(query)).all()
    by_level = {
        level: [rate for association, rate in found if association.entity_type.lower() == level]
        for level in ("subscription", "customer")
    }
    return list(narrowest(by_level.values()))


async def first_due_subscription(session: AsyncSession, test_clock_id: str) -> datetime | None:
    """The earliest next action of the subscriptions attached to a test clock."""
    query = select(func.min(SubscriptionRow.next_action_at)).where(SubscriptionRow.test_clock_id == test_clock_id)
    return (await session.exec(query)).one()


async def list_due_subscriptions(session: AsyncSession, test_clock_id: str, at: datetime) -> list[SubscriptionRow]:
    """Subscriptions attached to a test clock with something due at or before `at`, in the order they act."""
    query = (
        select(SubscriptionRow)
        .where(SubscriptionRow.test_clock_id == test_clock_id, col(SubscriptionRow.next_action_at) <= at)
        .order_by(col(SubscriptionRow.next_action_at), col(SubscriptionRow.id))
    )
    return list((await session.exec(query)).all())
