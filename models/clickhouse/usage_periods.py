"""Sealing of billing periods to date: one cell a customer and series, put together from cells of days and first hours.

Where many subscriptions began their period at one instant, they end it at one, and a close of all of them reads one
cell each. Exact for the reasons of `usage_seals`. Design: usage.md section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from billing.periods import Period
from models.clickhouse.client import ClickHouse
from models.clickhouse.meter_query import SETTINGS
from models.clickhouse.times import milliseconds
from models.clickhouse.usage_parts import NO_UNIQUES, NO_VALUE
from models.clickhouse.usage_rollups import RolledQuery, Sealed, make_plan
from models.clickhouse.usage_seals import CELL, PERIODS, Sealing, record
from models.clickhouse.usage_series import FOLDS, merged_sql, series_of

CELLS_A_STATEMENT: Final = 1_000_000
DAYS_OF_A_PERIOD: Final = 31


@dataclass(frozen=True, slots=True)
class OpenPeriod:
    """A billing period that many subscriptions are in: they began together; the first of them end at `end`."""

    start: datetime
    end: datetime


async def seal_period(clickhouse: ClickHouse, step: Sealing, days: Sequence[Sealed]) -> None:
    """Brings the cells of the period `step.layer.start` to `step.horizon`, then says so. Raises ClickHouseError.

    `days` are sealed up to `step.block` at least. Cells move on by the days that were added; those of customers for
    whom rows came into the time before are made anew.
    """
    since = step.since
    if since is None or step.horizon < since[0]:
        await _write(clickhouse, step, days, "1", DAYS_OF_A_PERIOD)
    else:
        changed = (
            f"SELECT external_customer_id FROM events WHERE {_rows(step, since[0])} AND _block_number > {since[1]}"
        )
        # In this order: who changes in between is in both and made anew by the second.
        if step.horizon > since[0]:
            before = Sealed(step.layer, *since)
            await _write(clickhouse, step, [*days, before], f"external_customer_id NOT IN ({changed})", 2)
        await _write(clickhouse, step, days, f"external_customer_id IN ({changed})", DAYS_OF_A_PERIOD)
    await record(clickhouse, step)


async def _write(clickhouse: ClickHouse, step: Sealing, sealed: Sequence[Sealed], whose: str, cells: int) -> None:
    """Cells of those customers, in statements of a bearable size; each of their series has about so many `cells`."""
    [[customers]] = await clickhouse.query(
        f"SELECT uniqExact(external_customer_id) FROM events WHERE {_rows(step, step.horizon)} AND {whose}",
        _bound(step),
    )
    shares = 1 + int(customers) * len(step.meters) * cells // CELLS_A_STATEMENT
    for share in range(shares if customers else 0):
        only = [whose, f"sipHash64(external_customer_id) % {shares} = {share}"]
        await clickhouse.command(*_sql(step, sealed, only))


def _rows(step: Sealing, end: datetime) -> str:
    return (
        "tenant_id = {tenant_id:String} AND environment_id = {environment_id:String}"
        " AND event_name IN {names:Array(String)}"
        f" AND timestamp >= fromUnixTimestamp64Milli(toInt64({milliseconds(step.layer.start)}), 'UTC')"
        f" AND timestamp < fromUnixTimestamp64Milli(toInt64({milliseconds(end)}), 'UTC')"
    )


def _bound(step: Sealing) -> dict[str, object]:
    return {
        "tenant_id": step.scope.tenant_id,
        "environment_id": step.scope.environment_id,
        "names": sorted({meter.event_name for meter in step.meters}),
    }


def _sql(step: Sealing, sealed: Sequence[Sealed], narrowed: Sequence[str]) -> tuple[str, dict[str, object]]:
    """The INSERT of the cells: of all parts, and of nothing for who had a cell and may have no part any more."""
    meters = {series_of(meter): meter for meter in step.meters}
    start = step.layer.start
    query = RolledQuery(step.scope, (), tuple(meters.values()), Period(start, step.horizon), tuple(narrowed))
    parts, bound = query.parts_of(make_plan(start, step.horizon, sealed))
    keys = ", ".join(f"toUInt128('{key}')" for key in meters)
    span = f"toDateTime({milliseconds(start) // 1000}, 'UTC')"
    until = f"toDateTime({milliseconds(step.horizon) // 1000}, 'UTC')"
    whose = " AND ".join(["tenant_id = {tenant_id:String}", "environment_id = {environment_id:String}", *narrowed])
    known = (
        f"SELECT external_customer_id, toInt64({milliseconds(start)}) AS at, series, any(fold) AS fold,"
        " toUInt64(0) AS events, toUInt64(0) AS rejected, toUInt128(0) AS checksum,"
        f" {NO_VALUE} AS value, {NO_VALUE} AS moment, {NO_UNIQUES} AS uniques\n"
        f"FROM usage_cells WHERE {whose} AND level = {PERIODS} AND span = {span} AND until = {until}"
        f" AND series IN ({keys})\n"
        "GROUP BY external_customer_id, series"
    )
    folds = [FOLDS[meter.aggregation] for meter in meters.values()]
    return (
        f"INSERT INTO usage_cells (tenant_id, environment_id, level, span, until, block, {CELL})\n"
        f"SELECT {{tenant_id:String}}, {{environment_id:String}}, toUInt8({PERIODS}), {span}, {until},"
        f" toUInt64({step.block}), external_customer_id, series, {merged_sql(folds)}\n"
        f"FROM (\n{parts}\nUNION ALL\n{known}\n)\n"
        f"GROUP BY external_customer_id, series\n{SETTINGS}"
    ), bound
