"""What the raw ingest routes ask of the API: who sends, and what time it is for a customer."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from activities.ingestion.ports import IngestUnavailable
from models.database import Database
from models.queries.customers import find_customer_by_external_id
from models.scope import Scope
from models.tables import TestClockRow
from starter.api.authentication import Authenticator, BadKey, may
from starter.api.context import utc_now
from starter.api.errors import error_response, outage_of, unauthorized
from starter.ingest.app import BULK, SINGLE
from starter.ingest.ports import Refusal

PATH: Final = "/events"
CUSTOMER_SECONDS: Final = 10.0
UNKNOWN_SECONDS: Final = 1.0
REMEMBERED_MAX: Final = 50_000


class IngestAuthentication:
    """The `Authenticate` port over API keys."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def __call__(self, headers: Mapping[str, str]) -> Scope | Refusal:
        """The environment of a key that may ingest."""
        try:
            caller = await self._authenticator.caller(headers)
        except BadKey as problem:
            return Refusal(401, "unauthorized", str(problem))
        except Exception as error:
            if outage_of(error) is None:
                raise
            return Refusal(503, "service_unavailable", "API keys cannot be checked: Postgres does not answer", None, 2)
        if not may(caller.roles, "POST", PATH):
            roles = ", ".join(caller.roles)
            return Refusal(403, "permission_denied", f"an API key with the roles {roles} may not ingest events")
        return caller.scope


class KeyFirst:
    """Answers 401 on the ingest routes in the body that the reference has for it; the rest is the wrapped app's."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app, self._authenticator = app, authenticator

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in (SINGLE, BULK):
            try:
                await self._authenticator.caller(Headers(scope=scope))
            except BadKey as problem:
                await unauthorized(str(problem))(scope, receive, send)
                return
            except Exception as error:
                outage = outage_of(error)
                if outage is None:
                    raise
                await error_response(503, "service_unavailable", outage, retry_after=2)(scope, receive, send)
                return
        await self._app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class _Customer:
    test_clock_id: str | None
    until: float


class CustomerClocks:
    """The `ClockOf` port. Which clock a customer is on is remembered briefly; where a clock stands never is."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, str, str], _Customer] = {}

    async def __call__(self, tenant_id: str, environment_id: str, external_customer_id: str) -> datetime:
        """The customer's now; the real time for customers without a test clock, and for unknown ones.

        Raises IngestUnavailable when Postgres does not answer.
        """
        try:
            return await self._now_of(tenant_id, environment_id, external_customer_id)
        except Exception as error:
            if outage_of(error) is None:
                raise
            raise IngestUnavailable("the customer's clock cannot be read: Postgres does not answer") from error

    async def _now_of(self, tenant_id: str, environment_id: str, external_customer_id: str) -> datetime:
        scope, key = Scope(tenant_id, environment_id), (tenant_id, environment_id, external_customer_id)
        known = self._known.get(key)
        if known is None or known.until < time.monotonic():
            known = await self._look_up(scope, key)
        if known.test_clock_id is None:
            return utc_now()
        async with self._database.transaction(scope) as session:
            clock = await session.get_one(TestClockRow, known.test_clock_id)
            return clock.frozen_time

    async def _look_up(self, scope: Scope, key: tuple[str, str, str]) -> _Customer:
        async with self._database.transaction(scope) as session:
            row = await find_customer_by_external_id(session, scope, key[2])
        seconds = UNKNOWN_SECONDS if row is None else CUSTOMER_SECONDS
        known = _Customer(row.test_clock_id if row else None, time.monotonic() + seconds)
        if len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
        self._known[key] = known
        return known
