"""Row-level security: what a transaction sees without any filter of its own, for every table."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import Table, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from models.database import Database, Scope
from models.migrations.postgres import laws
from tests.models.rows import TABLES, new_row, new_rows

each_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.name))

UNPROTECTED = text("""
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
  AND relname <> 'alembic_version' AND NOT (relrowsecurity AND relforcerowsecurity AND (
    SELECT count(*) FROM pg_policy WHERE polrelid = pg_class.oid AND polpermissive AND polcmd = '*'
      AND polqual IS NOT NULL AND polwithcheck IS NOT NULL
      AND (polname, polroles) IN (('own_scope', ARRAY['durabill_app'::regrole::oid]),
        ('every_scope', ARRAY['durabill_system'::regrole::oid]))) = 2)
""")


@pytest.fixture(scope="module")
async def seeded(migrated_dsn: str) -> AsyncIterator[tuple[Database, Scope]]:
    """A scope with rows in every table."""
    database, scope = Database(migrated_dsn), Scope("tenant_seeded", "env_seeded")
    async with database.system_transaction() as session:
        rows = new_rows(scope)
        for table in TABLES:
            await session.execute(table.insert(), rows[table.name])
    yield database, scope
    await database.close()


def _strangers(scope: Scope) -> tuple[Scope, Scope]:
    """Another environment of the same tenant, and the same environment id with another tenant."""
    return replace(scope, environment_id="env_other"), replace(scope, tenant_id="tenant_other")


async def _unprotected(connection: AsyncConnection) -> list[str]:
    return list((await connection.execute(UNPROTECTED)).scalars())


async def test_every_table_is_protected(database: Database) -> None:
    async with database.engine.connect() as connection:
        assert await _unprotected(connection) == []


async def test_a_new_table_without_protection_is_found(database: Database) -> None:
    async with database.engine.connect() as connection:
        await connection.execute(text("CREATE TABLE newcomers (tenant_id text, environment_id text)"))
        assert await _unprotected(connection) == ["newcomers"]
        await connection.execute(text("ALTER TABLE newcomers ENABLE ROW LEVEL SECURITY"))
        assert await _unprotected(connection) == ["newcomers"]
        await connection.run_sync(lambda plain: laws.protect(_Op(plain), "newcomers"))
        assert await _unprotected(connection) == []
        await connection.execute(text("DROP POLICY own_scope ON newcomers"))
        assert await _unprotected(connection) == ["newcomers"]


class _Op:
    """As much of alembic's `op` as `laws.protect` uses."""

    def __init__(self, connection: object) -> None:
        self._connection = connection

    def execute(self, statement: str) -> None:
        self._connection.execute(text(statement))  # type: ignore[attr-defined]


async def test_nobody_here_is_above_the_law(database: Database) -> None:
    query = text(
        "SELECT rolname FROM pg_roles WHERE (rolsuper OR rolbypassrls)"
        " AND rolname IN (current_user, 'durabill_app', 'durabill_system')"
    )
    async with database.engine.connect() as connection:
        assert list((await connection.execute(query)).scalars()) == []


@each_table
async def test_the_own_scope_and_the_system_see_the_row(seeded: tuple[Database, Scope], table: Table) -> None:
    database, scope = seeded
    mine = new_rows(scope)[table.name]
    async with database.transaction(scope) as session:
        found = (await session.execute(select(table.c.tenant_id, table.c.environment_id))).all()
    assert [tuple(row) for row in found] == [(scope.tenant_id, scope.environment_id)] * len(mine)
    async with database.system_transaction() as session:
        query = select(func.count()).select_from(table).where(table.c.tenant_id == scope.tenant_id)
        assert (await session.execute(query)).scalar_one() == len(mine)


@each_table
async def test_a_stranger_can_neither_read_nor_change_nor_delete(seeded: tuple[Database, Scope], table: Table) -> None:
    database, scope = seeded
    for stranger in _strangers(scope):
        async with database.transaction(stranger) as session:
            assert (await session.execute(select(table))).all() == []
            changed = await session.execute(text(f"UPDATE {table.name} SET tenant_id = tenant_id"))
            deleted = await session.execute(text(f"DELETE FROM {table.name}"))
            assert (changed.rowcount, deleted.rowcount) == (0, 0)  # type: ignore[attr-defined]


@each_table
async def test_nobody_inserts_for_a_stranger(seeded: tuple[Database, Scope], table: Table) -> None:
    database, scope = seeded
    for stranger in _strangers(scope):
        with pytest.raises(DBAPIError, match="violates row-level security policy"):
            async with database.transaction(stranger) as session:
                await session.execute(table.insert(), new_row(table, scope))


@each_table
async def test_nobody_gives_a_row_away(seeded: tuple[Database, Scope], table: Table) -> None:
    database, scope = seeded
    with pytest.raises(DBAPIError, match=r"row-level security policy|append-only"):
        async with database.transaction(scope) as session:
            await session.execute(table.update().values(tenant_id="tenant_other"))


@each_table
async def test_without_a_scope_nothing_is_seen(seeded: tuple[Database, Scope], table: Table) -> None:
    database, _ = seeded
    for role in ("durabill_app", None):  # the login role by itself owns the tables and yet sees no row
        async with database.engine.connect() as connection:
            if role is not None:
                await connection.execute(text(f"SET LOCAL ROLE {role}"))
            assert (await connection.execute(select(table))).all() == []


async def test_a_scope_ends_with_its_transaction(seeded: tuple[Database, Scope]) -> None:
    dsn = seeded[0].engine.url.render_as_string(hide_password=False).replace("+asyncpg", "")
    database = Database(dsn, pool_size=1)
    try:
        async with database.transaction(seeded[1]) as session:
            assert (await session.execute(text("SELECT count(*) FROM customers"))).scalar_one() == 1
        async with database.engine.connect() as connection:
            await connection.execute(text("SET LOCAL ROLE durabill_app"))
            assert (await connection.execute(text("SELECT count(*) FROM customers"))).scalar_one() == 0
    finally:
        await database.close()
