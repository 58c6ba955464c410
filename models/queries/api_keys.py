"""Reading tenants, environments and API keys."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.errors import NotFound
from models.queries.paging import Page, find_one, get_page
from models.scope import Scope
from models.tables import ApiKeyRow, EnvironmentRow, TenantRow


async def find_api_key_by_hash(session: AsyncSession, key_hash: str) -> ApiKeyRow | None:
    """The live key with this SHA-256. Needs a system transaction: the caller's scope is not known yet."""
    statement = select(ApiKeyRow).where(col(ApiKeyRow.hash) == key_hash, col(ApiKeyRow.status) == "published")
    return (await session.execute(statement)).scalar_one_or_none()


async def get_api_key(session: AsyncSession, scope: Scope, key_id: str) -> ApiKeyRow:
    """The key with this id. Raises NotFound."""
    row = await find_one(session, scope, ApiKeyRow, col(ApiKeyRow.id) == key_id)
    if row is None:
        raise NotFound(f"no API key has the id {key_id!r}", field="id")
    return row


async def list_api_keys(session: AsyncSession, scope: Scope, page: Page) -> tuple[list[ApiKeyRow], int]:
    """One page of keys and how many there are."""
    return await get_page(session, scope, ApiKeyRow, page, columns={"name": ApiKeyRow.name})


async def find_tenant_by_name(session: AsyncSession, name: str) -> TenantRow | None:
    """The oldest live tenant of this name. Needs a system transaction."""
    statement = select(TenantRow).where(col(TenantRow.name) == name, col(TenantRow.status) != "deleted")
    return (await session.execute(statement.order_by(col(TenantRow.created_at)).limit(1))).scalar_one_or_none()


async def get_tenant(session: AsyncSession, tenant_id: str) -> TenantRow:
    """The tenant with this id. Needs a system transaction: a tenant's row spans its environments. Raises NotFound."""
    statement = select(TenantRow).where(col(TenantRow.id) == tenant_id, col(TenantRow.status) != "deleted")
    row = (await session.execute(statement)).scalar_one_or_none()
    if row is None:
        raise NotFound(f"no tenant has the id {tenant_id!r}", field="id")
    return row


async def list_environments(session: AsyncSession, tenant_id: str) -> list[EnvironmentRow]:
    """All environments of one tenant, oldest first. Needs a system transaction."""
    statement = select(EnvironmentRow).where(
        col(EnvironmentRow.tenant_id) == tenant_id, col(EnvironmentRow.status) != "deleted"
    )
    order = (col(EnvironmentRow.created_at), col(EnvironmentRow.id))
    return list((await session.execute(statement.order_by(*order))).scalars())
