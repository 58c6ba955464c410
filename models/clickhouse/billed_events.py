"""How many of the events stored in each minute an invoice counted.

Design: usage.md section 5. An invoice says by its snapshots of usage what it counted: the events of a customer that a
meter wants, of a period, accepted before the usage was read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from billing.meters import Meter
from models.clickhouse.client import ClickHouse
from models.clickhouse.listed import listed_sql
from models.clickhouse.meter_query import SETTINGS, match_column, property_columns
from models.clickhouse.times import instant, milliseconds
from models.scope import Scope

WINDOWS_A_STATEMENT: Final = 4000
"""Bounds the size of a statement's parameters (see `listed`); one customer's are never torn apart."""

_TIME: Final = "fromUnixTimestamp64Milli({{{}:Int64}}, 'UTC')"


@dataclass(frozen=True, slots=True)
class BilledWindow:
    """What one snapshot counted: events that `meter` wants, of [start, end), accepted before `cutoff`.

    `start` is None for a meter that never resets.
    """

    external_customer_id: str
    meter: Meter
    start: datetime | None
    end: datetime
    cutoff: datetime


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """Whose events were stored, and when the first and the last of them happened."""

    external_customer_ids: tuple[str, ...]
    first: datetime
    last: datetime


async def read_stored_span(clickhouse: ClickHouse, scope: Scope, start: datetime, end: datetime) -> StoredSpan | None:
    """Of the events stored in [start, end), real time; None when there are none. Raises ClickHouseError."""
    bound: dict[str, Any] = {}
    rows = await clickhouse.query(
        "SELECT external_customer_id, toUnixTimestamp64Milli(min(timestamp)), toUnixTimestamp64Milli(max(timestamp))\n"
        f"FROM events WHERE {_stored(scope, start, end, bound)}\n"
        "GROUP BY external_customer_id ORDER BY external_customer_id",
        bound,
    )
    if not rows:
        return None
    return StoredSpan(
        tuple(row[0] for row in rows),
        instant(min(int(row[1]) for row in rows)),
        instant(max(int(row[2]) for row in rows)),
    )


async def read_billed(
    clickhouse: ClickHouse, scope: Scope, start: datetime, end: datetime, windows: Sequence[BilledWindow]
) -> Mapping[datetime, int]:
    """Of the events stored in each minute of [start, end), real time, how many lie in one of `windows`; each once.

    Raises ClickHouseError.
    """
    counts: Counter[datetime] = Counter()
    for share in _shares(windows):
        for minute, count in await clickhouse.query(*billed_sql(scope, start, end, share)):
            counts[instant(int(minute) * 1000)] += int(count)
    return counts


def _shares(windows: Sequence[BilledWindow]) -> list[list[BilledWindow]]:
    of_customer: dict[str, list[BilledWindow]] = {}
    for window in windows:
        of_customer.setdefault(window.external_customer_id, []).append(window)
    shares: list[list[BilledWindow]] = []
    for some in of_customer.values():
        if shares and len(shares[-1]) + len(some) <= WINDOWS_A_STATEMENT:
            shares[-1].extend(some)
        else:
            shares.append([*some])
    return shares


def billed_sql(
    scope: Scope, start: datetime, end: datetime, windows: Sequence[BilledWindow]
) -> tuple[str, dict[str, Any]]:
    """The statement and its parameters; rows of a minute (Unix seconds) and a count."""
    meters = list(dict.fromkeys(window.meter for window in windows))
    customers = list(dict.fromkeys(window.external_customer_id for window in windows))
    whose = {customer: number for number, customer in enumerate(customers, 1)}
    place = {meter: number for number, meter in enumerate(meters, 1)}
    bound: dict[str, Any] = {
        "names": sorted({meter.event_name for meter in meters}),
        "whose": [whose[window.external_customer_id] for window in windows],
        "meters": [place[window.meter] for window in windows],
        "starts": [0 if window.start is None else milliseconds(window.start) for window in windows],
        "ends": [milliseconds(window.end) for window in windows],
        "cutoffs": [milliseconds(window.cutoff) for window in windows],
    }
    inner = ["external_customer_id", "timestamp", "accepted_at", "stored_at", *property_columns(meters, bound)]
    inner += [match_column(number, meter, meters, bound) for number, meter in enumerate(meters)]
    listed = listed_sql("external_customer_id", "customers", customers, bound)
    names = [f"{{{name}:Array(String)}}" for name in bound if name == "customers" or name.startswith("customers_")]
    matches = ", ".join(f"m_{number}" for number in range(len(meters)))
    return (
        "SELECT toUnixTimestamp(toStartOfMinute(stored_at)) AS minute, count()\n"
        "FROM (\n"
        f"  SELECT {', '.join(inner)}\n"
        "  FROM events FINAL\n"
        f"  WHERE {_stored(scope, start, end, bound)} AND {listed} AND event_name IN {{names:Array(String)}}\n"
        ") AS stored\n"
        "INNER JOIN (\n"
        f"  SELECT arrayElement(arrayConcat({', '.join(names)}), one.1) AS external_customer_id,\n"
        "    groupArray((one.2, one.3, one.4, one.5)) AS windows\n"
        "  FROM (SELECT arrayJoin(arrayZip({whose:Array(UInt32)}, {meters:Array(UInt32)}, {starts:Array(Int64)},\n"
        "    {ends:Array(Int64)}, {cutoffs:Array(Int64)})) AS one)\n"
        "  GROUP BY external_customer_id\n"
        ") AS billed USING external_customer_id\n"
        f"WHERE arrayExists(each -> arrayElement([{matches}], each.1)\n"
        "  AND toUnixTimestamp64Milli(timestamp) >= each.2 AND toUnixTimestamp64Milli(timestamp) < each.3\n"
        "  AND toUnixTimestamp64Milli(accepted_at) < each.4, windows)\n"
        f"GROUP BY minute ORDER BY minute\n{SETTINGS}"
    ), bound


def _stored(scope: Scope, start: datetime, end: datetime, bound: dict[str, Any]) -> str:
    bound |= {
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "stored_from": milliseconds(start),
        "stored_until": milliseconds(end),
    }
    return (
        "tenant_id = {tenant_id:String} AND environment_id = {environment_id:String}"
        f" AND stored_at >= {_TIME.format('stored_from')} AND stored_at < {_TIME.format('stored_until')}"
    )
