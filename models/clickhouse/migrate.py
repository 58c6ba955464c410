"""ClickHouse's migrations: numbered files in `migrations/`, one statement each, forward only, each applied once."""

import hashlib
import re
from importlib.resources import files

from models.clickhouse.client import ClickHouse

_JOURNAL = """CREATE TABLE IF NOT EXISTS {database}.schema_migrations
(name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = MergeTree ORDER BY name"""


async def apply_migrations(client: ClickHouse, database: str) -> list[str]:
    """Brings `database` (made if missing) up to date and returns the names of the migrations that this call applied.

    Raises ValueError when a file was changed after it had been applied. Repeating it after a crash is safe.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", database):
        raise ValueError(f"database must be a plain name of letters, digits and underscores; got {database!r}")
    await client.command(f"CREATE DATABASE IF NOT EXISTS {database}")
    await client.command(_JOURNAL.replace("{database}", database))
    done = {
        name: checksum
        for name, checksum in await client.query(f"SELECT name, checksum FROM {database}.schema_migrations")
    }
    applied = []
    for name, statement in migrations():
        checksum = hashlib.sha256(statement.encode()).hexdigest()
        if done.get(name, checksum) != checksum:
            raise ValueError(f"migration {name} was changed after it had been applied; add a new one instead")
        if name in done:
            continue
        await client.command(statement.replace("{database}", database))
        await client.insert(
            f"{database}.schema_migrations", {"name": "String", "checksum": "String"}, [[name], [checksum]]
        )
        applied.append(name)
    return applied


def migrations() -> list[tuple[str, str]]:
    """All migrations as (name, statement), in their order."""
    folder = files("models.clickhouse") / "migrations"
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted((entry.name.removesuffix(".sql"), entry.read_text()) for entry in found)
