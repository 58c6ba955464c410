"""Answers stored under an `Idempotency-Key`, per tenant and environment."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from models.ids import new_id
from models.queries.paging import own
from models.scope import Scope
from models.tables import IdempotencyKeyRow

_LOCK_SPACE = "idempotency"


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What the first request with a key was (`fingerprint`: SHA-256 of method, path, query and body) and got."""

    key: str
    fingerprint: str
    status: int
    body: str


async def try_lock(session: AsyncSession, scope: Scope, key: str) -> bool:
    """Takes the key for the length of the transaction; false while another request has it. Nothing to clean up."""
    name = "\n".join((_LOCK_SPACE, scope.tenant_id, scope.environment_id, key))
    statement = select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, text("0"))))
    return bool((await session.execute(statement)).scalar_one())


async def find_answer(session: AsyncSession, scope: Scope, key: str) -> StoredAnswer | None:
    """The answer that the key has got."""
    statement = select(IdempotencyKeyRow).where(*own(IdempotencyKeyRow, scope), col(IdempotencyKeyRow.key) == key)
    row = (await session.execute(statement)).scalar_one_or_none()
    if row is None or row.response_status is None:
        return None
    return StoredAnswer(row.key, row.request_hash, row.response_status, row.response_body or "")


async def store_answer(session: AsyncSession, scope: Scope, answer: StoredAnswer, now: datetime) -> None:
    """Keeps the answer, in the transaction that holds the key."""
    row = IdempotencyKeyRow(
        id=new_id("key"),
        tenant_id=scope.tenant_id,
        environment_id=scope.environment_id,
        created_at=now,
        updated_at=now,
        key=answer.key,
        request_hash=answer.fingerprint,
        response_status=answer.status,
        response_body=answer.body,
    )
    session.add(row)
    await session.flush()
