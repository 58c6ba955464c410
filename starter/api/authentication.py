"""Who asks: the API key of a request, looked up by its hash, and what its roles allow.

A key that was found is remembered for a few seconds; a deleted key may live that long.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import update
from sqlmodel import col

from activities.api_keys import key_hash
from models.database import Database
from models.queries.api_keys import find_api_key_by_hash
from models.scope import Scope
from models.tables import ApiKeyRow
from starter.api.context import Caller, utc_now

REMEMBERED_SECONDS: Final = 10.0
REMEMBERED_MAX: Final = 10_000
KEY_LENGTH_MAX: Final = 512
LAST_USE_SECONDS: Final = 60
"""`last_used_at` is written at most so often: it tells people whether a key is alive, not when exactly."""

INGEST: Final = ("/events", "/events/bulk")
"""What a key for ingestion is for; voiding and amending what was ingested changes bills, and needs `all_writer`."""

READING_POSTS: Final = ("/search", "/query", "/usage", "/usage/meter", "/analytics", "/preview", "/simulations")


class BadKey(Exception):
    """The request has no usable key; the message is the body's `error`."""


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    expires_at: datetime | None
    until: float


class Authenticator:
    """Finds the caller of a request."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, _Known] = {}

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """The caller by `x-api-key` or `Authorization: Bearer`. Raises BadKey."""
        api_key = headers.get("x-api-key") or _bearer(headers.get("authorization", ""))
        if not api_key:
            raise BadKey("Unauthorized")
        if len(api_key) > KEY_LENGTH_MAX:
            raise BadKey("Invalid API key")
        return await self._caller_of(key_hash(api_key))

    async def _caller_of(self, hashed: str) -> Caller:
        known = self._known.get(hashed)
        if known is None or known.until < time.monotonic():
            known = await self._look_up(hashed)
        if known.expires_at is not None and known.expires_at <= utc_now():
            raise BadKey("Invalid API key")
        return known.caller

    async def _look_up(self, hashed: str) -> _Known:
        self._known.pop(hashed, None)
        async with self._database.system_transaction() as session:
            row = await find_api_key_by_hash(session, hashed)
            if row is None:
                raise BadKey("Invalid API key")
            now = utc_now()
            if row.last_used_at is None or (now - row.last_used_at).total_seconds() > LAST_USE_SECONDS:
                await session.execute(update(ApiKeyRow).where(col(ApiKeyRow.id) == row.id).values(last_used_at=now))
        caller = Caller(Scope(row.tenant_id, row.environment_id), row.id, tuple(row.roles))
        known = _Known(caller, row.expires_at, time.monotonic() + REMEMBERED_SECONDS)
        if len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
        self._known[hashed] = known
        return known

    def forget(self) -> None:
        """Looks every key up again: called when a key is deleted here."""
        self._known.clear()


def may(roles: tuple[str, ...], method: str, path: str) -> bool:
    """Whether one of the roles allows this. `path` is without `/v1`; searches, usage queries and simulations read."""
    if "super_admin" in roles:
        return True
    events = path == "/events" or path.startswith("/events/")
    reading = method in ("GET", "HEAD") or (method == "POST" and path.endswith(READING_POSTS))
    if path in INGEST:
        return bool({"event_ingestor", "all_writer"} & set(roles))
    if events and reading and "event_reader" in roles:
        return True
    if path.startswith("/secrets"):
        return False
    return ("all_reader" if reading else "all_writer") in roles


def _bearer(value: str) -> str:
    scheme, _, token = value.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
