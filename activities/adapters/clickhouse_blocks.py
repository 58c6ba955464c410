"""Blocks of rows in ClickHouse's Native format, column by column, written by clickhouse-connect's own types.

The client's `insert` splits what it is given, hands the pieces through a queue from a thread, and leaves all of it in a
cycle for the garbage collector to find. A block here is one piece of bytes that ends with its request.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.common import write_leb128
from clickhouse_connect.driver.insert import InsertContext


def native_block(columns: Mapping[str, str], values: Sequence[Sequence[Any]]) -> bytes:
    """`values`, one sequence a column, of `columns` (name -> type). Raises DataError for what its type cannot hold."""
    block, context = bytearray(), InsertContext("", [], [])
    write_leb128(len(columns), block)
    write_leb128(len(values[0]), block)
    for (name, type_name), column in zip(columns.items(), values, strict=True):
        kind = _type_of(type_name)
        for text in (name.encode(), kind.insert_name.encode()):
            write_leb128(len(text), block)
            block += text
        context.start_column(name)
        kind.write_column(column, block, context)
    return bytes(block)


@lru_cache
def _type_of(name: str) -> ClickHouseType:
    return get_from_name(name)
