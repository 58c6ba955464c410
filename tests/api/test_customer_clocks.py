"""What time it is for senders of events: right at once for test clocks, and asked of Postgres seldom for all others."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from activities.customers import NewCustomer, create_customer
from activities.test_clocks import create_test_clock
from models.database import Database
from models.migrate import migrate_postgres
from models.scope import Scope
from starter.api import ingestion
from starter.api.ingestion import CUSTOMER_SECONDS, UNKNOWN_SECONDS, CustomerClocks

FROZEN = datetime(2020, 5, 1, tzinfo=UTC)


class Asked:
    """A database that counts its transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.count = 0

    @asynccontextmanager
    async def transaction(self, scope: Scope) -> AsyncIterator[AsyncSession]:
        self.count += 1
        async with self._database.transaction(scope) as session:
            yield session


class Time:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


async def test_clocks_of_senders(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await migrate_postgres(postgres_dsn)
    database, scope, time = Database(postgres_dsn), Scope(f"tenant_{uuid.uuid4().hex}", "env_1"), Time()
    monkeypatch.setattr(ingestion, "time", time)
    asked = Asked(database)
    clocks = CustomerClocks(asked)  # type: ignore[arg-type]
    now = datetime.now(UTC)
    names = [f"c-{number}" for number in range(300)]
    async with database.transaction(scope) as session:
        clock = await create_test_clock(session, scope, "a clock", FROZEN)
        for name in names:
            await create_customer(session, scope, NewCustomer(name, name), now)
        await create_customer(session, scope, NewCustomer("past", "past", test_clock_id=clock.id), now)

    async def ask(*wanted: str) -> Any:
        return await clocks(scope.tenant_id, scope.environment_id, wanted)

    # At first everybody is looked up; those on a test clock are looked up each time, for it may have moved.
    found = await ask("past", *names, "nobody")
    assert found["past"] == FROZEN
    assert all(found[name] >= now for name in (*names, "nobody"))
    assert asked.count == 1
    await ask(*names, "nobody")
    assert asked.count == 1
    assert (await ask("past"))["past"] == FROZEN
    assert asked.count == 2

    # A name that becomes a customer's is noticed soon.
    async with database.transaction(scope) as session:
        await create_customer(session, scope, NewCustomer("nobody", "nobody", test_clock_id=clock.id), now)
    time.now += UNKNOWN_SECONDS + 0.1
    assert (await ask("nobody"))["nobody"] == FROZEN

    # One after the other for a minute, each every few seconds: a question takes along who comes next.
    before = asked.count
    for number in range(3000):
        time.now += 0.02
        await ask(names[number % 300])
    assert asked.count - before <= 60 / (CUSTOMER_SECONDS / 2) + 3

    # Who sends no more is forgotten.
    time.now += CUSTOMER_SECONDS * 3
    await asyncio.gather(*(ask(names[0]) for _ in range(10)))
    assert set(clocks._environments[scope.tenant_id, scope.environment_id].real) == {names[0]}
    await database.close()
