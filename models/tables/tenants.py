"""Tenants, their environments, API keys and settings."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlmodel import Field

from models.tables.base import Entity, Json, UtcTime


class TenantRow(Entity, table=True):
    """A company that bills with durabill; `tenant_id` repeats `id` so that one policy fits every table."""

    __tablename__ = "tenants"

    name: str


class EnvironmentRow(Entity, table=True):
    """A separate world of one tenant (production, sandbox); `environment_id` repeats `id`."""

    __tablename__ = "environments"

    name: str
    type: str = "production"


class ApiKeyRow(Entity, table=True):
    """An API key: shown once, stored as the SHA-256 of itself, pinned to one environment."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("api_keys_hash", "hash", unique=True),)

    name: str
    hash: str
    display_id: str
    roles: list[str] = Field(sa_type=Json)
    expires_at: datetime | None = Field(default=None, sa_type=UtcTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcTime)


class SettingRow(Entity, table=True):
    """One named group of a tenant's settings; absent means the defaults in `models/settings.py`."""

    __tablename__ = "settings"
    __table_args__ = (Index("settings_key", "tenant_id", "environment_id", "key", unique=True),)

    key: str
    value: dict[str, Any] = Field(sa_type=Json)


class IdempotencyKeyRow(Entity, table=True):
    """The answer that an `Idempotency-Key` got, so that a repeated request gets the same one.

    `response_status` is null while the first request is still at work.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_key", "tenant_id", "environment_id", "key", unique=True),)

    key: str
    request_hash: str
    response_status: int | None = None
    response_body: str | None = None


class TestClockRow(Entity, table=True):
    """A clock that customers attached to it live by; `target_time` is where an advance is going."""

    __test__ = False  # not a test class, whatever its name says to pytest
    __tablename__ = "test_clocks"
    __table_args__ = (Index("test_clocks_name", "tenant_id", "environment_id", "name"),)

    name: str
    frozen_time: datetime = Field(sa_type=UtcTime)
    target_time: datetime = Field(sa_type=UtcTime)
    clock_status: str = "ready"
    problem: str | None = None
