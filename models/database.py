"""The way to Postgres: one engine a process, and transactions that can only see one tenant's environment.

Every transaction takes on a database role for its own length. `durabill_app` sees the rows of the scope it was opened
with, and nothing when a query forgets its filter; `durabill_system` is for the few loops that serve all tenants (the
outbox relay, finding the tenant of an API key). Neither owns a table, so row-level security holds for both.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.ext.asyncio import AsyncSession as PlainAsyncSession
from sqlmodel.ext.asyncio.session import AsyncSession

from models.scope import Scope

__all__ = ["Database", "Scope", "asyncpg_dsn"]

_TAKE_ROLE = text(
    "SELECT set_config('role', :role, true), set_config('durabill.tenant_id', :tenant, true),"
    " set_config('durabill.environment_id', :environment, true)"
)


def asyncpg_dsn(dsn: str) -> str:
    """The DSN in SQLAlchemy's spelling for asyncpg; `postgresql://` and `postgres://` are understood."""
    scheme, separator, rest = dsn.partition("://")
    if not separator or scheme.split("+")[0] not in {"postgres", "postgresql"}:
        raise ValueError("the Postgres DSN must look like postgresql://user:password@host:port/database")
    return f"postgresql+asyncpg://{rest}"


def _replace_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    """Has the pool connect anew where the server has hung up, as after its restart.

    The driver knows that without asking, whereas `pool_pre_ping` asks by three round trips before every transaction.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError("the server has closed this connection")


class Session(AsyncSession):
    """SQLModel's session. `execute` is SQLAlchemy's own, without the advice to prefer `exec`: statements that are no
    SELECT of rows (`text`, `INSERT ... ON CONFLICT`) have no other way.
    """

    execute = PlainAsyncSession.execute


class Database:
    """A pool of connections and the two kinds of transaction that may run on it."""

    def __init__(self, dsn: str, *, pool_size: int = 20) -> None:
        self.engine: AsyncEngine = create_async_engine(
            asyncpg_dsn(dsn),
            pool_size=pool_size,
            # A connection beyond the pool would be closed after use, and what the next one needs prepared again.
            max_overflow=0,
            # Few connections stay busy; each knows its statements, of which a worker has more than the usual 100.
            pool_use_lifo=True,
            connect_args={"prepared_statement_cache_size": 500},
            pool_recycle=1800,
        )
        event.listen(self.engine.sync_engine, "checkout", _replace_closed)

    @asynccontextmanager
    async def transaction(self, scope: Scope) -> AsyncIterator[AsyncSession]:
        """One transaction that sees `scope` only; commits on leaving, rolls back on an error."""
        async with self._begin("durabill_app", scope.tenant_id, scope.environment_id) as session:
            yield session

    @asynccontextmanager
    async def system_transaction(self) -> AsyncIterator[AsyncSession]:
        """One transaction across all tenants, for loops that serve them all; never for a request."""
        async with self._begin("durabill_system", "", "") as session:
            yield session

    @asynccontextmanager
    async def _begin(self, role: str, tenant: str, environment: str) -> AsyncIterator[AsyncSession]:
        async with Session(self.engine, expire_on_commit=False, autoflush=False) as session, session.begin():
            await session.execute(_TAKE_ROLE, {"role": role, "tenant": tenant, "environment": environment})
            yield session

    async def ping(self) -> None:
        """Raises what the driver raises when Postgres cannot be reached."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Gives all connections back."""
        await self.engine.dispose()
