"""Migrations: from nothing to the newest schema, by several processes at once, equal to the tables of the code."""

import asyncio
import sys
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

from models.database import Database
from models.migrate import config, migrate_postgres
from tests.models.rows import TABLES

REVISIONS = [script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()][::-1]
MIGRATE = "import asyncio, sys; from models.migrate import migrate_postgres; print(asyncio.run(migrate_postgres(sys.argv[1])))"  # noqa: E501


async def test_every_revision_is_applied_once(new_postgres_dsn: str) -> None:
    assert await migrate_postgres(new_postgres_dsn) == REVISIONS
    assert await migrate_postgres(new_postgres_dsn) == []


async def test_processes_that_migrate_at_once_take_turns(new_postgres_dsn: str) -> None:
    async def migrate() -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MIGRATE, new_postgres_dsn, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode().strip()

    answers = await asyncio.gather(migrate(), migrate())

    assert sorted(answers) == sorted([str(REVISIONS), "[]"])


def _differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection), SQLModel.metadata))


async def test_the_schema_is_what_the_code_says(own_database: Database) -> None:
    async with own_database.engine.connect() as connection:
        assert await connection.run_sync(_differences) == []

        await connection.execute(text("ALTER TABLE plans ADD COLUMN forgotten text"))
        assert len(await connection.run_sync(_differences)) == 1


async def test_every_table_of_the_code_is_in_the_database(database: Database) -> None:
    async with database.engine.connect() as connection:
        names = await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        assert set(names.scalars()) == {table.name for table in TABLES} | {"alembic_version"}
