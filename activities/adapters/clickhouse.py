"""ClickHouse by clickhouse-connect's asynchronous client; the only place that imports it.

Owns connecting, binding, and the sorting of errors into "refused" and "no answer". Never retries.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import clickhouse_connect
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.compression import get_compressor
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from activities.adapters.clickhouse_blocks import native_block
from models.clickhouse.client import ClickHouseRefused, ClickHouseTooMuch, ClickHouseUnavailable
from models.clickhouse.migrate import apply_migrations
from models.clickhouse.retention import RETENTION_MONTHS, keep_events

_OVERLOADED = {159, 160, 164, 202, 209, 210, 241, 242, 243, 252, 439, 999}
"""Codes of timeouts, memory, too many parts or queries, read-only: the same statement may succeed later."""

_TOO_MANY_ROWS = 158

_NEAR = ("127.0.0.1", "::1", "localhost")

_SETTINGS = {
    "async_insert": 0,  # an answered insert is stored
    "max_partitions_per_insert_block": 0,  # a back-fill may touch every month of the retention
}


_SETTINGS_OF = {
    # A block holds each key once: to merge it with itself before it is written would be a third of the insert's cost.
    "events": {**_SETTINGS, "optimize_on_insert": 0},
}


class ClickHouseConnection:
    """A `models.clickhouse.client.ClickHouse`. Made by `connect_clickhouse`; `close` it."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """The rows of a SELECT. Raises ClickHouseUnavailable or ClickHouseRefused."""
        try:
            result = await self._client.query(sql, parameters=dict(parameters or {}), query_tz="UTC")
        except Exception as error:
            raise _translated(error) from error
        return result.result_rows

    async def read(self, sql: str) -> bytes:
        """The answer to a SELECT in the FORMAT that it names. Raises ClickHouseUnavailable or ClickHouseRefused."""
        try:
            return await self._client.raw_query(sql)
        except Exception as error:
            raise _translated(error) from error

    async def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Runs a statement that answers no rows. Raises ClickHouseUnavailable or ClickHouseRefused."""
        try:
            await self._client.command(sql, parameters=dict(parameters or {}))
        except Exception as error:
            raise _translated(error) from error

    async def insert(self, table: str, columns: Mapping[str, str], values: Sequence[Sequence[Any]]) -> None:
        """Writes one block, column by column. Raises ClickHouseUnavailable (it may be stored) or ClickHouseRefused."""
        if not values or not len(values[0]):
            return
        compression = self._client.write_compression
        try:
            await self._client.raw_insert(
                table,
                list(columns),
                await asyncio.to_thread(_packed, columns, values, compression),
                settings=dict(_SETTINGS_OF.get(table, _SETTINGS)),
                fmt="Native",
                compression=compression,
            )
        except Exception as error:
            raise _translated(error) from error

    async def close(self) -> None:
        """Ends the connections."""
        await self._client.close()


async def connect_clickhouse(dsn: str) -> ClickHouseConnection:
    """Connects to the database of a DSN such as `http://default@127.0.0.1:8123/durabill`.

    Raises ClickHouseUnavailable when the server does not answer, ClickHouseRefused when there is no such database.
    """
    parts = urlsplit(dsn)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the ClickHouse DSN must look like http://user:password@host:8123/database")
    try:
        client = await clickhouse_connect.get_async_client(
            host=parts.hostname,
            port=parts.port or (8443 if parts.scheme == "https" else 8123),
            username=parts.username or "default",
            password=parts.password or "",
            database=parts.path.strip("/") or "default",
            secure=parts.scheme == "https",
            # Statements of many meters carry more parameters than fit into an address.
            form_encode_query_params=True,
            # Sessions would queue the queries of one process behind each other.
            autogenerate_session_id=False,
            query_retries=0,
            compress=parts.hostname not in _NEAR,  # what does not leave the machine need not be small
            connect_timeout=5,
            send_receive_timeout=60,
        )
    except Exception as error:
        raise _translated(error) from error
    return ClickHouseConnection(client)


async def migrate_clickhouse(dsn: str, retention_months: int = RETENTION_MONTHS) -> list[str]:
    """Makes the database of `dsn` if missing, applies what is new, and returns the names of what was applied.

    Events are kept for `retention_months` from then on.
    """
    parts = urlsplit(dsn)
    connection = await connect_clickhouse(urlunsplit(parts._replace(path="/default")))
    try:
        database = parts.path.strip("/") or "default"
        applied = await apply_migrations(connection, database)
        changed = await keep_events(connection, database, retention_months)
        return [*applied, f"events are kept for {retention_months} months"] if changed else applied
    finally:
        await connection.close()


def _packed(columns: Mapping[str, str], values: Sequence[Sequence[Any]], compression: str | None) -> bytes:
    block = native_block(columns, values)
    if not compression:
        return block
    compressor: Any = get_compressor(compression)  # the module is without types here
    return bytes(compressor.compress_block(block) + (compressor.flush() or b""))


def _translated(error: Exception) -> Exception:
    text = str(error)[:2000]
    if isinstance(error, DatabaseError):
        code = getattr(error, "code", None)
        if isinstance(error, OperationalError) or code is None or code in _OVERLOADED:
            return ClickHouseUnavailable(f"ClickHouse did not answer: {text}")
        return ClickHouseTooMuch(text) if code == _TOO_MANY_ROWS else ClickHouseRefused(text)
    if isinstance(error, aiohttp.ClientError | OSError | TimeoutError):
        return ClickHouseUnavailable(f"ClickHouse did not answer: {type(error).__name__} {text}")
    return error
