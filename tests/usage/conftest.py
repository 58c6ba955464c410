"""A migrated ClickHouse database, and events to put into it."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse, migrate_clickhouse
from models.scope import Scope
from tests.usage.processes import Child


@pytest.fixture
async def usage_store(clickhouse_dsn: str) -> AsyncIterator[ClickHouseConnection]:
    """The session's ClickHouse with its tables."""
    await migrate_clickhouse(clickhouse_dsn)
    connection = await connect_clickhouse(clickhouse_dsn)
    yield connection
    await connection.close()


@pytest.fixture
def scope() -> Scope:
    """A tenant of its own for each test, so that tests share tables and not events."""
    return Scope(f"tenant_{uuid.uuid4().hex}", "env_test")


@pytest.fixture(autouse=True)
def _no_child_outlives_its_test() -> Iterator[None]:
    yield
    Child.end_all()
