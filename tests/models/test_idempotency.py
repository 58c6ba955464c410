"""Idempotency keys in the database: one request at a time has a key, its answer commits with its work."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import IntegrityError

from activities.idempotency import StoredAnswer, find_answer, store_answer, try_lock
from models.database import Database, Scope

NOW = datetime(2025, 1, 31, tzinfo=UTC)
ANSWER = StoredAnswer("key-1", "a fingerprint", 201, '{"id": "cust_1"}')


async def _store(database: Database, scope: Scope, answer: StoredAnswer = ANSWER) -> None:
    async with database.transaction(scope) as session:
        await store_answer(session, scope, answer, NOW)


async def test_an_answer_is_found_by_its_key_in_its_own_environment(database: Database, scope: Scope) -> None:
    await _store(database, scope)
    strangers = replace(scope, environment_id="env_other"), replace(scope, tenant_id="tenant_other")
    async with database.transaction(scope) as session:
        assert await find_answer(session, scope, "key-1") == ANSWER
        assert await find_answer(session, scope, "key-2") is None
    for stranger in strangers:
        async with database.transaction(stranger) as session:
            assert await find_answer(session, stranger, "key-1") is None
            assert await find_answer(session, scope, "key-1") is None  # not even with a filter that asks for it
        await _store(database, stranger, replace(ANSWER, body="another"))


async def test_a_key_has_one_answer(database: Database, scope: Scope) -> None:
    await _store(database, scope)
    with pytest.raises(IntegrityError, match="idempotency_keys_key"):
        await _store(database, scope, replace(ANSWER, status=200))


async def test_one_request_at_a_time_has_the_key(database: Database, scope: Scope) -> None:
    other = replace(scope, environment_id="env_other")
    async with database.transaction(scope) as first, database.transaction(scope) as second:
        assert await try_lock(first, scope, "key-1")
        assert not await try_lock(second, scope, "key-1")
        assert await try_lock(second, scope, "key-2")
        assert await try_lock(second, other, "key-1")
    async with database.transaction(scope) as third:
        assert await try_lock(third, scope, "key-1")


async def test_a_request_that_fails_leaves_the_key_free(database: Database, scope: Scope) -> None:
    async def fail() -> None:
        async with database.transaction(scope) as session:
            assert await try_lock(session, scope, "key-1")
            await store_answer(session, scope, ANSWER, NOW)
            raise ConnectionError("killed before the commit")

    with pytest.raises(ConnectionError):
        await fail()
    async with database.transaction(scope) as session:
        assert await try_lock(session, scope, "key-1")
        assert await find_answer(session, scope, "key-1") is None
