"""One durabill for this folder, with workers running; every test is a new tenant of it."""

import uuid
from collections.abc import AsyncIterator

import asyncpg
import clickhouse_connect
import pytest

from deploy.embedded.process import Part
from tests.world import Servers, World, open_world


@pytest.fixture(scope="package")
async def stage(
    postgres: Part, clickhouse: Part, temporal_address: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """The servers and workers of all stories: workers of two databases would take each other's tasks."""
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres.running.url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    with clickhouse_connect.get_client(dsn=clickhouse.running.url) as client:
        client.command(f"CREATE DATABASE {name}")
    postgres_dsn, clickhouse_dsn = (f"{part.running.url.rpartition('/')[0]}/{name}" for part in (postgres, clickhouse))
    servers = Servers(postgres_dsn, clickhouse_dsn, temporal_address, tmp_path_factory.mktemp("stage"))
    async with open_world(servers) as opened:
        await opened.start_workers()
        yield opened


@pytest.fixture
async def world(stage: World) -> World:
    """A tenant of its own. A test that stops the workers starts them again."""
    return await stage.another_tenant()
