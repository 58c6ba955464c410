"""`durabill migrate` and `durabill keys create`, on the real engines."""

import hashlib
from collections.abc import Callable

import asyncpg
import pytest

from starter.cli.bootstrap import create_key
from starter.cli.migration import migrate_all
from starter.cli.shared import CliError
from starter.settings import Settings, load_settings

Configured = Callable[..., Settings]


@pytest.fixture
def settings(
    monkeypatch: pytest.MonkeyPatch, new_postgres_dsn: str, new_clickhouse_dsn: str, temporal_address: str
) -> Settings:
    monkeypatch.setenv("DURABILL_POSTGRES_DSN", new_postgres_dsn)
    monkeypatch.setenv("DURABILL_CLICKHOUSE_DSN", new_clickhouse_dsn)
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    return load_settings()


async def test_everything_is_migrated_once(settings: Settings) -> None:
    first = await migrate_all(settings)
    assert list(first) == ["Postgres", "ClickHouse", "Temporal"]
    assert first["Postgres"]
    assert first["ClickHouse"]
    assert await migrate_all(settings) == {"Postgres": [], "ClickHouse": [], "Temporal": []}


async def test_the_system_that_does_not_answer_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:9")
    with pytest.raises(CliError, match=r"Temporal \(127\.0\.0\.1:9\) cannot be migrated: .*Check TEMPORAL_ADDRESS"):
        await migrate_all(settings)
    monkeypatch.setenv("DURABILL_POSTGRES_DSN", "postgresql://u@127.0.0.1:9/d")
    with pytest.raises(CliError, match=r"Postgres cannot be migrated: .*Check DURABILL_POSTGRES_DSN"):
        await migrate_all(load_settings())


async def test_a_key_before_the_migration_is_told_so(settings: Settings) -> None:
    with pytest.raises(CliError, match="Has `durabill migrate` run"):
        await create_key(settings, "Acme", "production", "bootstrap")


async def test_the_first_key_makes_tenant_and_environment_and_the_second_finds_them(settings: Settings) -> None:
    await migrate_all(settings)
    first = await create_key(settings, "Acme", "production", "bootstrap")
    second = await create_key(settings, "Acme", "production", "ci")
    other = await create_key(settings, "Acme", "sandbox", "ci")
    assert first["tenant_id"] == second["tenant_id"] == other["tenant_id"]
    assert first["environment_id"] == second["environment_id"] != other["environment_id"]
    assert len({made["api_key"] for made in (first, second, other)}) == 3
    connection = await asyncpg.connect(settings.require("postgres_dsn"))
    try:
        await connection.execute("SET ROLE durabill_system")
        stored = {row["hash"]: row["environment_id"] for row in await connection.fetch("SELECT * FROM api_keys")}
    finally:
        await connection.close()
    expected = {hashlib.sha256(made["api_key"].encode()).hexdigest(): made for made in (first, second, other)}
    assert stored == {digest: made["environment_id"] for digest, made in expected.items()}
