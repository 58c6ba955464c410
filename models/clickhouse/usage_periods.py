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
from models.clickhouse.times import milliseconds
from models.clickhouse.usage_parts import NO_UNIQUES, NO_VALUE
from models.clickhouse.usage_rollups import RolledQuery, Sealed, make_plan
from models.clickhouse.usage_seals import CELL, PERIODS, Sealing, record
from models.clickhouse.usage_series import FOLDS, merged_sql, series_of

CELLS_A_STATEMENT: Final = 1_000_000
_SETTINGS: Final = "SETTINGS do_not_merge_across_partitions_select_final = 1"


@dataclass(frozen=True, slots=True)
class OpenPeriod:
    """A billing period that many subscriptions are in: they began together; the first of them end at `end`."""

    start: datetime
    end: datetime


async def seal_period(clickhouse: ClickHouse, step: Sealing, days: Sequence[Sealed]) -> None:
    """Brings the cells of the period `step.layer.start` to `step.horizon`, then says so. Raises ClickHouseError.

    `days` are sealed up to `step.block` at least. Where the horizon has not moved, only customers are looked at for
    whom rows came since.
    """
    customers = await _customers(clickhouse, step)
    if customers:
        shares = 1 + customers * len(step.meters) * 31 // CELLS_A_STATEMENT
        for share in range(shares):
            narrowed = [f"sipHash64(external_customer_id) % {shares} = {share}"] if shares > 1 else []
            if _is_still(step):
                changed = f"SELECT external_customer_id FROM events WHERE {_changed(step)}"
                narrowed.append(f"external_customer_id IN ({changed})")
            sql, bound = _sql(step, days, narrowed)
            await clickhouse.command(sql, bound)
    await record(clickhouse, step)


def _is_still(step: Sealing) -> bool:
    return step.since is not None and step.since[0] == step.horizon


async def _customers(clickhouse: ClickHouse, step: Sealing) -> int:
    """How many customers have something to be written."""
    where = _changed(step) if _is_still(step) else _rows(step)
    rows = await clickhouse.query(f"SELECT uniqExact(external_customer_id) FROM events WHERE {where}", _bound(step))
    return int(rows[0][0])


def _rows(step: Sealing) -> str:
    return (
        "tenant_id = {tenant_id:String} AND environment_id = {environment_id:String}"
        " AND event_name IN {names:Array(String)}"
        f" AND timestamp >= fromUnixTimestamp64Milli(toInt64({milliseconds(step.layer.start)}), 'UTC')"
        f" AND timestamp < fromUnixTimestamp64Milli(toInt64({milliseconds(step.horizon)}), 'UTC')"
    )


def _changed(step: Sealing) -> str:
    return f"{_rows(step)} AND _block_number > {step.since[1] if step.since else 0}"


def _bound(step: Sealing) -> dict[str, object]:
    return {
        "tenant_id": step.scope.tenant_id,
        "environment_id": step.scope.environment_id,
        "names": sorted({meter.event_name for meter in step.meters}),
    }


def _sql(step: Sealing, days: Sequence[Sealed], narrowed: Sequence[str]) -> tuple[str, dict[str, object]]:
    """The INSERT of the cells: of all parts, and of nothing for who had a cell and may have no part any more."""
    meters = {series_of(meter): meter for meter in step.meters}
    start = step.layer.start
    query = RolledQuery(step.scope, (), tuple(meters.values()), Period(start, step.horizon), tuple(narrowed))
    parts, bound = query.parts_of(make_plan(start, step.horizon, days))
    keys = ", ".join(f"toUInt128('{key}')" for key in meters)
    span = f"toDateTime({milliseconds(start) // 1000}, 'UTC')"
    whose = " AND ".join(["tenant_id = {tenant_id:String}", "environment_id = {environment_id:String}", *narrowed])
    known = (
        f"SELECT external_customer_id, toInt64({milliseconds(start)}) AS at, series, any(fold) AS fold,"
        " toUInt64(0) AS events, toUInt64(0) AS rejected, toUInt128(0) AS checksum,"
        f" {NO_VALUE} AS value, {NO_VALUE} AS moment, {NO_UNIQUES} AS uniques\n"
        f"FROM usage_cells WHERE {whose} AND level = {PERIODS} AND span = {span} AND series IN ({keys})\n"
        "GROUP BY external_customer_id, series"
    )
    folds = [FOLDS[meter.aggregation] for meter in meters.values()]
    return (
        f"INSERT INTO usage_cells (tenant_id, environment_id, level, span, block, {CELL})\n"
        f"SELECT {{tenant_id:String}}, {{environment_id:String}}, toUInt8({PERIODS}), {span}, toUInt64({step.block}),"
        f" external_customer_id, series, {merged_sql(folds)}\nFROM (\n{parts}\nUNION ALL\n{known}\n)\n"
        f"GROUP BY external_customer_id, series\n{_SETTINGS}"
    ), bound
