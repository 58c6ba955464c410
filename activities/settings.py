"""Reading and changing a tenant's billing settings."""

from typing import Any

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import new_columns, touch
from models.billing_settings import KEY, BillingSettings, billing_settings
from models.ids import new_id
from models.scope import Scope
from models.tables import SettingRow


async def load_billing_settings(session: AsyncSession) -> BillingSettings:
    """The settings in force in the transaction's scope: what is stored, else the defaults."""
    row = await _find(session)
    return billing_settings(row.value if row else {})


async def save_billing_settings(session: AsyncSession, scope: Scope, value: dict[str, Any]) -> dict[str, Any]:
    """Changes the named settings and returns all that are set. Raises Invalid, and then changes nothing."""
    row = await _find(session)
    merged = {**(row.value if row else {}), **value}
    billing_settings(merged)
    if row is None:
        row = SettingRow(id=new_id("setting"), **new_columns(scope), key=KEY, value=merged)
        session.add(row)
    row.value = merged
    touch(row)
    return merged


async def _find(session: AsyncSession) -> SettingRow | None:
    return (await session.exec(select(SettingRow).where(SettingRow.key == KEY))).one_or_none()
