"""What the queries here ask of a ClickHouse connection. The vendor's client is behind it, in `activities/adapters`."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class ClickHouseError(Exception):
    """Root of what a ClickHouse connection may raise."""


class ClickHouseUnavailable(ClickHouseError):
    """No answer: the server is down, overloaded, or the answer got lost. Whether a write happened is unknown. Retry."""


class ClickHouseRefused(ClickHouseError):
    """The server answered that the statement itself is wrong; the same statement never succeeds."""


class ClickHouseTooMuch(ClickHouseRefused):
    """The statement would answer more rows than it may; a part of it may be asked for."""


class ClickHouse(Protocol):
    """One database. Parameters are bound by the server (`{name:Type}`); all times go in and out as numbers or text."""

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """The rows of a SELECT."""

    async def read(self, sql: str) -> bytes:
        """The answer to a SELECT in the FORMAT that it names, as it comes."""

    async def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Runs a statement that answers no rows."""

    async def insert(self, table: str, columns: Mapping[str, str], values: Sequence[Sequence[Any]]) -> None:
        """Writes `values`, one sequence a column, into `columns` (name -> type). Returns when they are stored."""
