"""Tenants, environments and API keys: making the first of each, and further keys.

A key is random, shown once and stored as its SHA-256. Reading is `models/queries/api_keys`.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from billing.errors import Invalid
from models.billing_settings import KEY as BILLING_SETTINGS
from models.ids import new_id
from models.queries.api_keys import find_tenant_by_name, get_api_key, list_environments
from models.scope import Scope
from models.tables import ApiKeyRow, EnvironmentRow, SettingRow, TenantRow

ROLES = ("super_admin", "all_reader", "all_writer", "event_ingestor", "event_reader")
KEY_TYPES = {"private_key": "sk", "publishable_key": "pk"}
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A key as it is shown this one time, and its row."""

    api_key: str
    row: ApiKeyRow


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """The tenant and environment that `bootstrap` found or made."""

    tenant: TenantRow
    environment: EnvironmentRow
    created: bool

    @property
    def scope(self) -> Scope:
        """The scope of the environment."""
        return Scope(self.tenant.id, self.environment.id)


def key_hash(api_key: str) -> str:
    """What is stored of a key. Keys carry 256 random bits, so a plain SHA-256 cannot be searched."""
    return hashlib.sha256(api_key.encode()).hexdigest()


async def bootstrap(session: AsyncSession, tenant_name: str, environment_name: str, now: datetime) -> Bootstrapped:
    """Finds or makes a tenant and one of its environments, by name. Needs a system transaction.

    Two callers at once are told apart by nothing but the name: the command line calls this, one at a time.
    """
    tenant = await find_tenant_by_name(session, tenant_name)
    environments = await list_environments(session, tenant.id) if tenant else []
    environment = next((row for row in environments if row.name == environment_name), None)
    if tenant and environment:
        return Bootstrapped(tenant, environment, created=False)
    tenant_id, environment_id = tenant.id if tenant else new_id("tenant"), new_id("env")
    stamps: dict[str, Any] = {"tenant_id": tenant_id, "environment_id": environment_id}
    stamps |= {"created_at": now, "updated_at": now}
    if tenant is None:
        tenant = TenantRow(id=tenant_id, name=tenant_name, **stamps)
        session.add(tenant)
    kind = "production" if environment_name == "production" else "development"
    environment = EnvironmentRow(id=environment_id, name=environment_name, type=kind, **stamps)
    session.add(environment)
    # An invoice always says whom it is from; the tenant's settings can say it better.
    seller = {"seller": {"name": tenant_name}}
    session.add(SettingRow(id=new_id("setting"), key=BILLING_SETTINGS, value=seller, **stamps))
    await session.flush()
    return Bootstrapped(tenant, environment, created=True)


async def create_api_key(
    session: AsyncSession, scope: Scope, name: str, now: datetime, roles: tuple[str, ...] = ("super_admin",),
    key_type: str = "private_key", expires_at: datetime | None = None, actor: str = "",
) -> CreatedKey:  # fmt: skip
    """Inserts a key for `scope` and returns it. Raises Invalid for unknown roles or types, or a past expiry."""
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        raise Invalid(f"roles must be some of {', '.join(ROLES)}; got {', '.join(unknown) or 'none'}", field="roles")
    if key_type not in KEY_TYPES:
        raise Invalid(f"type must be one of {', '.join(KEY_TYPES)}; got {key_type!r}", field="type")
    if expires_at is not None and expires_at <= now:
        raise Invalid(f"expires_at must lie in the future; got {expires_at.isoformat()}", field="expires_at")
    api_key = f"{KEY_TYPES[key_type]}_{secrets.token_urlsafe(_KEY_BYTES)}"
    row = ApiKeyRow(
        id=new_id("secret"),
        tenant_id=scope.tenant_id,
        environment_id=scope.environment_id,
        created_at=now,
        updated_at=now,
        created_by=actor,
        updated_by=actor,
        name=name,
        hash=key_hash(api_key),
        display_id=f"{api_key[:5]}***{api_key[-2:]}",
        roles=list(roles),
        expires_at=expires_at,
    )
    session.add(row)
    await session.flush()
    return CreatedKey(api_key, row)


async def delete_api_key(session: AsyncSession, scope: Scope, key_id: str, now: datetime, actor: str = "") -> None:
    """Ends a key. Raises NotFound."""
    row = await get_api_key(session, scope, key_id)
    row.status, row.updated_at, row.updated_by = "deleted", now, actor
    await session.flush()
