"""What is looked at when an hour is full: subscriptions with a threshold, and wallets with alerts.

In real time every hour; under a test clock at the full hour after something has happened, which each row keeps.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, or_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.meters import AggregationType
from models.queries.customers import LIVE_SUBSCRIPTION
from models.scope import Scope
from models.tables import MeterRow, SubscriptionLineItemRow, SubscriptionRow, WalletRow

Row = SubscriptionRow | WalletRow


async def list_with_threshold(session: AsyncSession, after: str, most: int) -> list[tuple[Scope, str]]:
    """Running subscriptions in real time whose unbilled usage has a threshold, with ids behind `after`."""
    row = SubscriptionRow
    query = select(row.tenant_id, row.environment_id, row.id).where(
        col(row.auto_invoice_threshold).is_not(None),
        col(row.test_clock_id).is_(None),
        col(row.subscription_status).in_(LIVE_SUBSCRIPTION),
        row.id > after,
    )
    found = (await session.exec(query.order_by(col(row.id)).limit(most))).all()
    return [(Scope(tenant, environment), each) for tenant, environment, each in found]


async def list_with_alerts(session: AsyncSession, after: str, most: int) -> list[tuple[Scope, str]]:
    """Active wallets in real time with alerts on their balance, with ids behind `after`."""
    row = WalletRow
    query = select(row.tenant_id, row.environment_id, row.id).where(
        col(row.alert_settings).is_not(None),
        col(row.test_clock_id).is_(None),
        row.wallet_status == "active",
        row.id > after,
    )
    found = (await session.exec(query.order_by(col(row.id)).limit(most))).all()
    return [(Scope(tenant, environment), each) for tenant, environment, each in found]


async def note_change(session: AsyncSession, test_clock_id: str, look_at: datetime) -> None:
    """Something has happened to the clock's customers: they are looked at by `look_at`."""
    threshold, alert = SubscriptionRow, WalletRow
    await session.execute(
        update(threshold)
        .where(
            col(threshold.test_clock_id) == test_clock_id,
            col(threshold.auto_invoice_threshold).is_not(None),
            _later(threshold.threshold_check_at, look_at),
            col(threshold.subscription_status).in_(LIVE_SUBSCRIPTION),
        )
        .values(threshold_check_at=look_at)
    )
    await session.execute(
        update(alert)
        .where(
            col(alert.test_clock_id) == test_clock_id,
            col(alert.alert_settings).is_not(None),
            _later(alert.alert_check_at, look_at),
            col(alert.wallet_status) == "active",
        )
        .values(alert_check_at=look_at)
    )


def _later(planned: Any, look_at: datetime) -> ColumnElement[bool]:
    return or_(col(planned).is_(None), col(planned) > look_at)


async def first_look(session: AsyncSession, test_clock_id: str) -> datetime | None:
    """The earliest look that is due of the clock's customers."""
    firsts = [
        (await session.exec(select(func.min(at)).where(clock == test_clock_id))).one()
        for at, clock in (
            (SubscriptionRow.threshold_check_at, SubscriptionRow.test_clock_id),
            (WalletRow.alert_check_at, WalletRow.test_clock_id),
        )
    ]
    return min((at for at in firsts if at is not None), default=None)


async def thresholds_due(session: AsyncSession, test_clock_id: str, at: datetime) -> Sequence[str]:
    """Subscriptions of the clock that are looked at by `at`, in their order."""
    return await _due(session, SubscriptionRow, SubscriptionRow.threshold_check_at, test_clock_id, at)


async def alerts_due(session: AsyncSession, test_clock_id: str, at: datetime) -> Sequence[str]:
    """Wallets of the clock that are looked at by `at`, in their order."""
    return await _due(session, WalletRow, WalletRow.alert_check_at, test_clock_id, at)


async def _due(session: AsyncSession, row: type[Row], look_at: Any, test_clock_id: str, at: datetime) -> Sequence[str]:
    query = select(row.id).where(row.test_clock_id == test_clock_id, look_at <= at).order_by(look_at, col(row.id))
    return (await session.exec(query)).all()


async def has_level(session: AsyncSession, subscription_id: str) -> bool:
    """Whether usage of the subscription grows without events, as that of a level does."""
    level = MeterRow.aggregation["type"].astext == AggregationType.WEIGHTED_SUM.value
    query = (
        select(MeterRow.id)
        .join(SubscriptionLineItemRow, col(SubscriptionLineItemRow.meter_id) == col(MeterRow.id))
        .where(SubscriptionLineItemRow.subscription_id == subscription_id, level)
    )
    return (await session.exec(query.limit(1))).first() is not None
