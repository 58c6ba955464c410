"""Where a ClickHouse statement ends and the data of an INSERT begins.

Owns the little reading of SQL that the HTTP front needs. Knows nothing of HTTP or of the engine.
"""

import re
from dataclasses import dataclass

_HEAD = 256 * 1024
"""The server's own `max_query_size` in bytes: the statement part of an INSERT never reaches beyond it."""

_TOKEN = re.compile(
    rb"""
      (?P<space>\s+|--[^\n]*|\#\ [^\n]*|/\*.*?\*/)
    | (?P<quoted>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_TRAILING_FORMAT = re.compile(rb"\bFORMAT\s+([A-Za-z0-9_]+)\s*;?\s*\Z", re.IGNORECASE)
_AFTER_FORMAT = re.compile(rb"\s*([A-Za-z0-9_]+)[ \t\f]*(?:\r?\n)?")


@dataclass(frozen=True)
class Insert:
    """An INSERT split into its statement (without FORMAT or VALUES), the name of its input format, and its data."""

    statement: bytes
    format: str
    data: bytes


def split_insert(text: bytes) -> Insert | None:
    """The parts of `INSERT INTO ... [FORMAT name | VALUES] data`, or None for any other statement.

    An `INSERT ... SELECT` carries no data and gives None as well.
    """
    depth = 0
    first = True
    for token in _TOKEN.finditer(text, 0, _HEAD):
        if token.lastgroup == "space":
            continue
        word = token.group().upper() if token.lastgroup == "word" else b""
        if first and word != b"INSERT":
            return None
        first = False
        depth += {b"(": 1, b")": -1}.get(token.group(), 0)
        if depth == 0 and word in (b"SELECT", b"WITH"):
            return None
        if depth == 0 and word == b"VALUES":
            return Insert(text[: token.start()], "Values", text[token.end() :])
        if depth == 0 and word == b"FORMAT" and (name := _AFTER_FORMAT.match(text, token.end())):
            if name.group(1).upper() == b"VALUES":
                return Insert(text[: token.start()], "Values", text[name.end() :])
            return Insert(text[: token.start()], name.group(1).decode(), text[name.end() :])
    return None


def output_format(statement: bytes, default: str) -> str:
    """The name of the format that a query's answer has: its own FORMAT clause, else `default`."""
    found = _TRAILING_FORMAT.search(statement[-512:])
    return found.group(1).decode() if found else default
