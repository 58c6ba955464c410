"""Tenants, environments, API keys and test clocks on the wire."""

from typing import Annotated, ClassVar

from pydantic import Field

from models.tables import ApiKeyRow, EnvironmentRow, TenantRow, TestClockRow
from starter.schemas.wire import Answer, EntityAnswer, Instant, InstantOut, Name, Request, ShortText, entity_columns


class TenantAnswer(Answer):
    """A tenant."""

    id: str
    name: str
    status: str
    created_at: InstantOut
    updated_at: InstantOut

    @classmethod
    def of(cls, row: TenantRow) -> "TenantAnswer":
        """The row on the wire."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class EnvironmentAnswer(Answer):
    """An environment of the caller's tenant."""

    id: str
    tenant_id: str
    name: str
    type: str
    status: str
    created_at: InstantOut
    updated_at: InstantOut

    @classmethod
    def of(cls, row: EnvironmentRow) -> "EnvironmentAnswer":
        """The row on the wire."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class CreateApiKeyRequest(Request):
    """A new key for the caller's environment; ours on top: `roles`."""

    absent: ClassVar[dict[str, str]] = {"service_account_id": "keys belong to an environment, not to an account"}
    name: Name
    type: ShortText = "private_key"
    expires_at: Instant | None = None
    roles: Annotated[list[ShortText], Field(max_length=20)] = Field(default=["super_admin"])


class SecretAnswer(Answer):
    """A key without its secret part."""

    id: str
    name: str
    type: str
    provider: str = "flexprice"
    display_id: str
    roles: list[str]
    status: str
    expires_at: InstantOut | None
    last_used_at: InstantOut | None
    created_at: InstantOut
    updated_at: InstantOut

    @classmethod
    def of(cls, row: ApiKeyRow) -> "SecretAnswer":
        """The row on the wire; the type is in the key's prefix."""
        own = {name: getattr(row, name) for name in cls.model_fields if name not in ("type", "provider")}
        return cls(**own, type="publishable_key" if row.display_id.startswith("pk") else "private_key")


class CreateApiKeyAnswer(Answer):
    """The key, this one time."""

    api_key: str
    secret: SecretAnswer


class CreateTestClockRequest(Request):
    """A clock that stands at `frozen_time` until it is advanced."""

    name: Name
    frozen_time: Instant


class AdvanceTestClockRequest(Request):
    """Where the clock goes: later than where it stands."""

    frozen_time: Instant


class TestClockAnswer(EntityAnswer):
    """A test clock. `status` is `ready`, `advancing` or `internal_failure` (then `problem` says why)."""

    __test__: ClassVar[bool] = False  # not a test class, whatever its name says to pytest

    name: str
    frozen_time: InstantOut
    target_time: InstantOut
    problem: str | None

    @classmethod
    def of(cls, row: TestClockRow) -> "TestClockAnswer":
        """The row on the wire."""
        own = {name: getattr(row, name) for name in cls.model_fields}
        return cls(**{**own, **entity_columns(row), "status": row.clock_status})
