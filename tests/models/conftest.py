"""A migrated database for all tests of stored state, and a tenant of its own for each test."""

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.embedded.process import Part
from models.database import Database, Scope
from models.migrate import migrate_postgres


@pytest.fixture(scope="session")
async def migrated_dsn(postgres: Part) -> str:
    """A database at the newest schema, shared: what must not see others' rows has a tenant of its own."""
    dsn = await _create_database(postgres.running.url)
    await migrate_postgres(dsn)
    return dsn


@pytest.fixture
async def database(migrated_dsn: str) -> AsyncIterator[Database]:
    """The shared database, as the product opens it."""
    opened = Database(migrated_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def own_dsn(postgres: Part) -> str:
    """A migrated and empty database for this test alone."""
    dsn = await _create_database(postgres.running.url)
    await migrate_postgres(dsn)
    return dsn


@pytest.fixture
async def own_database(own_dsn: str) -> AsyncIterator[Database]:
    """A database without anybody else's rows: for loops that serve every tenant."""
    opened = Database(own_dsn)
    yield opened
    await opened.close()


@pytest.fixture
def scope() -> Scope:
    """An environment of a tenant that nobody else uses."""
    return Scope(f"tenant_{uuid.uuid4().hex}", f"env_{uuid.uuid4().hex}")


async def _create_database(server: str) -> str:
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return f"{server.rpartition('/')[0]}/{name}"
