"""Identifiers of stored things: a short prefix that names the kind, and a ULID.

Random ids are for things that a person causes. What a retry must find again is derived from its natural key instead
(`derived_id`). Nothing here may be called from workflow code.
"""

import hashlib

from ulid import ULID

PREFIXES = frozenset(
    {
        "attempt",
        "clock",
        "cn",
        "cn_line",
        "correction",
        "cust",
        "dispute",
        "endpoint",
        "env",
        "event",
        "feat",
        "finding",
        "inv",
        "inv_line",
        "key",
        "ledger",
        "meter",
    }
    | {"outbox", "pay", "pe", "plan", "price", "refund", "secret", "setting", "snap", "subs", "subs_line"}
    | {"ta", "taxapp", "taxrate", "tenant", "usage_correction", "wallet", "wd", "wtxn"}
)


def new_id(prefix: str) -> str:
    """A fresh, time-ordered id such as `inv_01JDX...`; `prefix` must be a known kind."""
    if prefix not in PREFIXES:
        raise ValueError(f"unknown id prefix {prefix!r}; known: {', '.join(sorted(PREFIXES))}")
    return f"{prefix}_{ULID()}"


def derived_id(prefix: str, *parts: str) -> str:
    """The id that the same natural key always gets, so that a repeated step meets the row it made before."""
    if prefix not in PREFIXES:
        raise ValueError(f"unknown id prefix {prefix!r}; known: {', '.join(sorted(PREFIXES))}")
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return f"{prefix}_{ULID.from_bytes(hashlib.sha256(joined.encode()).digest()[:16])}"
