"""What the ingest routes ask of the rest of the API."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from models.scope import Scope


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is not 202: the error envelope of api.md section 1 is made of it."""

    status: int
    code: str
    message: str
    details: Mapping[str, Any] | None = None
    retry_after: int | None = None
    """In seconds."""

    body: bytes | None = None
    """Answered instead of the envelope."""


class Authenticate(Protocol):
    """Who sends these headers, if they may ingest events. Those for which nobody asks are missing."""

    async def __call__(self, headers: Mapping[str, str]) -> Scope | Refusal:
        """The caller's tenant and environment, or why not."""


class ClocksOf(Protocol):
    """What time it is for customers: the test clock's where there is one, else the wall clock's. Aware, UTC."""

    async def __call__(
        self, tenant_id: str, environment_id: str, external_customer_ids: Collection[str]
    ) -> Mapping[str, datetime]:
        """Each customer's now. Raises IngestUnavailable when it cannot be known."""
