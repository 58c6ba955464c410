"""Reading usage: runs meter queries and gives quantities. Owns no SQL of aggregation (see `meter_query`)."""

from collections.abc import Sequence
from datetime import datetime

from billing.meters import Meter, ResetUsage, UsageQuantity
from models.clickhouse.client import ClickHouse
from models.clickhouse.meter_query import MeterQuery, quantities
from models.clickhouse.times import instant

METERS_A_QUERY = 20
"""Keeps a statement well under ClickHouse's `max_query_size` of 256 KiB."""


async def usage_by_meter(clickhouse: ClickHouse, query: MeterQuery) -> dict[str, UsageQuantity]:
    """What each meter of `query` (without a window) measured, by meter id."""
    sql, parameters = query.to_sql()
    rows = await clickhouse.query(sql, parameters)
    return quantities(query, rows[0])


async def usage_by_window(clickhouse: ClickHouse, query: MeterQuery) -> list[tuple[datetime, dict[str, UsageQuantity]]]:
    """The same for each window of `query.window` that has events: its start in UTC, and quantities by meter id."""
    sql, parameters = query.to_sql()
    rows = await clickhouse.query(sql, parameters)
    return [(instant(int(row[0])), quantities(query, row[1:])) for row in rows]


async def usage_by_customer(clickhouse: ClickHouse, query: MeterQuery) -> dict[str, dict[str, UsageQuantity]]:
    """What each meter of `query` measured for each of its customers (`each_of`) that has events."""
    sql, parameters = query.to_sql()
    rows = await clickhouse.query(sql, parameters)
    return {str(row[0]): quantities(query, row[1:]) for row in rows}


async def usage_by_customer_and_window(
    clickhouse: ClickHouse, query: MeterQuery
) -> dict[str, list[tuple[datetime, dict[str, UsageQuantity]]]]:
    """The same window by window, in their order."""
    sql, parameters = query.to_sql()
    found: dict[str, list[tuple[datetime, dict[str, UsageQuantity]]]] = {}
    for row in await clickhouse.query(sql, parameters):
        found.setdefault(str(row[0]), []).append((instant(int(row[1])), quantities(query, row[2:])))
    return found


async def usage_by_group(
    clickhouse: ClickHouse, query: MeterQuery
) -> list[tuple[datetime | None, tuple[str, ...], dict[str, UsageQuantity]]]:
    """Window start (None without windows), values of `query.group_by`, and what each meter measured in it.

    Without groups and windows one entry; else only those that have events of any meter.
    """
    sql, parameters = query.to_sql()
    first = 1 if query.window else 0
    last = first + len(query.group_by)
    return [
        (
            instant(int(row[0])) if query.window else None,
            tuple(str(value) for value in row[first:last]),
            quantities(query, row[last:]),
        )
        for row in await clickhouse.query(sql, parameters)
    ]


def in_batches(meters: Sequence[Meter]) -> list[tuple[Meter, ...]]:
    """`meters` cut into lists that one statement can carry: those that never reset read more events than others."""
    alike = [[meter for meter in meters if meter.reset_usage is reset] for reset in ResetUsage]
    return [
        tuple(some[start : start + METERS_A_QUERY]) for some in alike for start in range(0, len(some), METERS_A_QUERY)
    ]
