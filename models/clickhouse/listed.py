"""Conditions on many values at once: `column IN` a bound list, cut so that a server takes it.

A server refuses a parameter of more than 128 KiB (`http_max_field_value_size`), which some thousand ids exceed.
"""

from collections.abc import Sequence
from typing import Any, Final

PARAMETER_BYTES: Final = 96 * 1024
_AROUND: Final = 4
"""Quotes, a comma, and room for what is escaped."""


def listed_sql(column: str, name: str, values: Sequence[str], bound: dict[str, Any]) -> str:
    """Whether `column` is one of `values`, which are bound as `name`, `name_1` ..."""
    shares: list[list[str]] = [[]]
    size = 0
    for value in values:
        size += 2 * len(value.encode()) if "'" in value or "\\" in value else len(value.encode())
        size += _AROUND
        if size > PARAMETER_BYTES and shares[-1]:
            shares.append([])
            size = 2 * len(value.encode()) + _AROUND
        shares[-1].append(value)
    names = [name if place == 0 else f"{name}_{place}" for place in range(len(shares))]
    bound |= dict(zip(names, shares, strict=True))
    tests = [f"{column} IN {{{each}:Array(String)}}" for each in names]
    return tests[0] if len(tests) == 1 else f"({' OR '.join(tests)})"
