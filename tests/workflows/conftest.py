"""A world a test: its own database and tenant on the session's engines."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.world import Servers, World, open_world


@pytest.fixture
async def world(
    new_postgres_dsn: str, new_clickhouse_dsn: str, temporal_address: str, tmp_path: Path
) -> AsyncIterator[World]:
    """A durabill of its own, with workers running."""
    servers = Servers(new_postgres_dsn, new_clickhouse_dsn, temporal_address, tmp_path)
    async with open_world(servers) as opened:
        await opened.start_workers()
        yield opened
