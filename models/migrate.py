"""Brings a Postgres database to the newest schema, one process at a time."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from models.database import asyncpg_dsn

MIGRATIONS = Path(__file__).parent / "migrations" / "postgres"
LOCK = 0x64757261  # any constant: two processes that migrate at once take turns


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, made in code so that no file at the top level is needed."""
    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS))
    settings.attributes["connection"] = connection
    return settings


async def migrate_postgres(dsn: str) -> list[str]:
    """Applies what is missing and returns the revisions that were applied, oldest first."""
    engine = create_async_engine(asyncpg_dsn(dsn))
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
            await connection.commit()
            applied = await connection.run_sync(_upgrade)
            await connection.commit()
            await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
            return applied
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> list[str]:
    before = _current(connection)
    connection.rollback()
    command.upgrade(config(connection), "head")
    scripts: Any = ScriptDirectory.from_config(config()).iterate_revisions("head", before)
    return [script.revision for script in scripts][::-1]


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
