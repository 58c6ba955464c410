"""The lease of the one direct writer: an advisory lock that a Postgres session holds as long as it lives."""

import asyncpg

from activities.ingestion.ports import IngestUnavailable

_LOCK = 4_851_204_418_270_033
"""The number of this lock among the deployment's advisory locks."""

_SECONDS = 3.0


class PostgresWriterLease:
    """A `WriterLease` over one connection to `dsn` (`postgresql://...`), opened when first needed."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn.replace("postgresql+asyncpg://", "postgresql://")
        self._connection: asyncpg.Connection | None = None
        self._taken = 0

    async def hold(self) -> int | None:
        """See `WriterLease.hold`. Asks Postgres each time, so that a lost session is noticed before a block is written.

        Raises IngestUnavailable when Postgres does not answer.
        """
        try:
            if self._connection is not None and await self._alive(self._connection):
                return self._taken
            return await self._take()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise IngestUnavailable(f"the lease of the event writer cannot be checked: {error}") from error

    async def release(self) -> None:
        """Ends the session and with it the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close(timeout=_SECONDS)

    async def _alive(self, connection: asyncpg.Connection) -> bool:
        try:
            await connection.execute("SELECT 1", timeout=_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
            self._connection = None
            return False
        return True

    async def _take(self) -> int | None:
        connection = await asyncpg.connect(self._dsn, timeout=_SECONDS)
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK, timeout=_SECONDS):
            await connection.close(timeout=_SECONDS)
            return None
        self._connection = connection
        self._taken += 1
        return self._taken
