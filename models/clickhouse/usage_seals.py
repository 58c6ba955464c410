"""Sealing: cells of whole hours and days of UTC, and the record of up to where they are complete.

What makes a seal exact is that nobody's clock is asked. Every row knows the number of the insert that brought it
(`_block_number`), and numbers grow in the order in which inserts become visible. A seal says: these cells hold every
row up to this number. Whoever reads looks for rows with larger ones and reads their hours from the events; so an event
that is late, amended or voided counts from the instant at which it is stored, whatever became of the seal.

A number is taken before the events are read, cells are written next, the seal last: a crash anywhere leaves cells that
are newer than their seal says, which is never wrong. Two who seal at once write cells that are each complete up to
their own number, and the larger wins. Design: usage.md section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from billing.meters import Meter
from models.clickhouse.client import ClickHouse
from models.clickhouse.meter_query import SETTINGS
from models.clickhouse.times import milliseconds
from models.clickhouse.usage_parts import NO_UNIQUES, NO_VALUE, parts_sql
from models.clickhouse.usage_series import FOLDS, series_of
from models.scope import Scope

HOURS: Final = 0
DAYS: Final = 1
PERIODS: Final = 2
"""Levels of cells."""

SPANS: Final = {HOURS: timedelta(hours=1), DAYS: timedelta(days=1)}
_STARTS: Final = {HOURS: "toStartOfHour(timestamp, 'UTC')", DAYS: "toStartOfDay(timestamp, 'UTC')"}
ROWS_A_STATEMENT: Final = 3_000_000
"""Rows that one statement folds at most, about: it must end within a connection's patience of a minute."""

_TABLE_ID: Final = "(SELECT uuid FROM system.tables WHERE database = currentDatabase() AND name = 'events')"
CELL: Final = "external_customer_id, series, fold, events, rejected, checksum, value, moment, uniques"
"""The columns of a cell that say what it holds."""

_ROWS: Final = (
    "tenant_id = {tenant_id:String} AND environment_id = {environment_id:String}"
    " AND event_name IN {names:Array(String)}"
    " AND timestamp >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')"
    " AND timestamp < fromUnixTimestamp64Milli({horizon:Int64}, 'UTC')"
)


@dataclass(frozen=True, slots=True)
class Layer:
    """Cells of one level, of all customers or of one: of the month that starts at `start`, or of a period to date."""

    start: datetime
    level: int
    external_customer_id: str = ""

    @property
    def end(self) -> datetime:
        """Where the next month begins."""
        return next_month(self.start)


@dataclass(frozen=True, slots=True)
class Seal:
    """The cells of `series` before `horizon` hold every row up to insert `block`."""

    layer: Layer
    series: int
    horizon: datetime
    block: int


@dataclass(frozen=True, slots=True)
class Sealing:
    """One step: cells of `meters` in `layer` from what was complete (`since`; None: nothing) to `horizon`, `block`."""

    scope: Scope
    layer: Layer
    meters: tuple[Meter, ...]
    since: tuple[datetime, int] | None
    horizon: datetime
    block: int


async def newest_blocks(clickhouse: ClickHouse) -> dict[int, int]:
    """The number of the newest insert into each month of `events`. Raises ClickHouseError."""
    rows = await clickhouse.query(
        "SELECT toUInt32(partition), max(max_block_number) FROM system.parts WHERE active"
        " AND database = currentDatabase() AND table = 'events' GROUP BY partition"
    )
    return {int(month): int(block) for month, block in rows}


async def read_seals(clickhouse: ClickHouse, scope: Scope) -> list[Seal]:
    """All seals of an environment that belong to this table of events. Raises ClickHouseError."""
    rows = await clickhouse.query(
        "SELECT external_customer_id, toString(series), level, toUnixTimestamp(start), toUnixTimestamp(horizon),"
        " block\n"
        "FROM usage_seals FINAL\n"
        "WHERE tenant_id = {tenant_id:String} AND environment_id = {environment_id:String}"
        f" AND events_table = {_TABLE_ID}",
        {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id},
    )
    return [
        Seal(
            Layer(datetime.fromtimestamp(int(start), UTC), int(level), customer),
            int(series),
            datetime.fromtimestamp(int(horizon), UTC),
            int(block),
        )
        for customer, series, level, start, horizon, block in rows
    ]


async def months_with_events(
    clickhouse: ClickHouse, scope: Scope, names: Sequence[str], among: Sequence[int]
) -> list[int]:
    """Those months of `among` in which events of these names happened. Raises ClickHouseError."""
    rows = await clickhouse.query(
        "SELECT DISTINCT toYYYYMM(timestamp) FROM events WHERE tenant_id = {tenant_id:String}"
        " AND environment_id = {environment_id:String} AND event_name IN {names:Array(String)}"
        " AND toYYYYMM(timestamp) IN {among:Array(UInt32)}",
        {
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
            "names": list(names),
            "among": list(among),
        },
    )
    return sorted(int(month) for [month] in rows)


async def seal(clickhouse: ClickHouse, step: Sealing) -> int:
    """Writes what has changed since, then says so; returns how many rows had come. Raises ClickHouseError.

    `step.block` must have been read before this call. Repeating it changes nothing.
    """
    rows, bound = _changed_rows(step)
    [[changed]] = await clickhouse.query(f"SELECT count() FROM events WHERE {rows}", bound)
    if changed:
        shares = 1 + int(changed) // ROWS_A_STATEMENT
        for share in range(shares):
            await clickhouse.command(*seal_sql(step, share, shares))
    await record(clickhouse, step)
    return int(changed)


def _changed_rows(step: Sealing) -> tuple[str, dict[str, Any]]:
    """The condition of rows that came since, up to the horizon; whatever becomes of them under FINAL."""
    layer, scope = step.layer, step.scope
    bound: dict[str, Any] = {
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "names": sorted({meter.event_name for meter in step.meters}),
        "from": milliseconds(layer.start),
        "horizon": milliseconds(step.horizon),
    }
    changed = _ROWS
    if layer.external_customer_id:
        bound["customer"] = layer.external_customer_id
        changed += " AND external_customer_id = {customer:String}"
    if step.since is not None:
        bound |= {"since_horizon": milliseconds(step.since[0]), "since_block": step.since[1]}
        changed += (
            " AND (_block_number > {since_block:UInt64}"
            " OR timestamp >= fromUnixTimestamp64Milli({since_horizon:Int64}, 'UTC'))"
        )
    return changed, bound


def seal_sql(step: Sealing, share: int = 0, shares: int = 1) -> tuple[str, dict[str, Any]]:
    """The INSERT of the cells of `step`: of every span in which a row came since, also where none counts any more.

    With `shares`, of that share of the customers.
    """
    layer = step.layer
    changed, bound = _changed_rows(step)
    bound["block"] = step.block
    start = _STARTS[layer.level]
    if shares > 1:
        changed += f" AND sipHash64(external_customer_id) % {shares} = {share}"
    groups = f"SELECT external_customer_id, event_name, {start} AS at FROM events WHERE {changed}"
    meters = {series_of(meter): meter for meter in step.meters}
    rows = _ROWS + (" AND external_customer_id = {customer:String}" if layer.external_customer_id else "")
    where = f"{rows} AND (external_customer_id, event_name, {start}) IN ({groups})"
    parts = parts_sql(list(meters.values()), start, where, bound)
    return (
        f"INSERT INTO usage_cells (tenant_id, environment_id, level, span, block, {CELL})\n"
        f"SELECT {{tenant_id:String}}, {{environment_id:String}}, toUInt8({layer.level}), toDateTime(at, 'UTC'),"
        " {block:UInt64}, external_customer_id, series, any(fold), sum(events), sum(rejected), sum(checksum),"
        " sum(value), sum(moment), uniqExactIfMergeState(uniques)\n"
        # A series whose event did not come in this span has a part of nothing here, which must not become a cell.
        f"FROM (\n{parts}\nWHERE state.3 > 0\nUNION ALL\n{_empty_parts(meters, groups, bound)}\n)\n"
        f"GROUP BY external_customer_id, series, at\n{SETTINGS}"
    ), bound


def _empty_parts(meters: dict[int, Meter], groups: str, bound: dict[str, Any]) -> str:
    """One part of nothing for each span that is sealed, so that a span without events replaces what it was."""
    names = ", ".join(f"{{series_name_{place}:String}}" for place in range(len(meters)))
    bound |= {f"series_name_{place}": meter.event_name for place, meter in enumerate(meters.values())}
    series = ", ".join(f"toUInt128('{key}')" for key in meters)
    folds = ", ".join(f"toUInt8({int(FOLDS[meter.aggregation])})" for meter in meters.values())
    return (
        "SELECT external_customer_id, at, series, fold, toUInt64(0) AS events, toUInt64(0) AS rejected,"
        f" toUInt128(0) AS checksum, {NO_VALUE} AS value, {NO_VALUE} AS moment, {NO_UNIQUES} AS uniques\n"
        f"FROM (\n  {groups} GROUP BY external_customer_id, event_name, at\n)\n"
        f"ARRAY JOIN [{series}] AS series, [{folds}] AS fold, [{names}] AS of_name\n"
        "WHERE of_name = event_name\nGROUP BY external_customer_id, at, series, fold"
    )


async def record(clickhouse: ClickHouse, step: Sealing) -> None:
    """Says that the cells of `step` are complete. Raises ClickHouseError."""
    layer = step.layer
    await clickhouse.command(
        "INSERT INTO usage_seals (tenant_id, environment_id, external_customer_id, series, level, start, events_table,"
        " horizon, block)\n"
        "SELECT {tenant_id:String}, {environment_id:String}, {customer:String},"
        " arrayJoin(arrayMap(each -> toUInt128(each), {series:Array(String)})), {level:UInt8},"
        " toDateTime({start:Int64}, 'UTC'),"
        f" {_TABLE_ID}, toDateTime({{horizon:Int64}}, 'UTC'), {{block:UInt64}}",
        {
            "tenant_id": step.scope.tenant_id,
            "environment_id": step.scope.environment_id,
            "customer": layer.external_customer_id,
            "series": [str(key) for key in {series_of(meter) for meter in step.meters}],
            "level": layer.level,
            "start": milliseconds(layer.start) // 1000,
            "horizon": milliseconds(step.horizon) // 1000,
            "block": step.block,
        },
    )


@dataclass(frozen=True, slots=True)
class MonthOfEvents:
    """What is stored of a month: rows of the meters' events, whose they are, and whose are very many."""

    events: int
    customers: int
    large: tuple[str, ...]


async def month_of_events(
    clickhouse: ClickHouse, scope: Scope, names: Sequence[str], month: datetime, large: int
) -> MonthOfEvents:
    """Large are customers who have at least so many rows of one event name. Raises ClickHouseError."""
    [[events, customers, names_of_large]] = await clickhouse.query(
        "SELECT sum(counted), uniqExact(external_customer_id),"
        " arraySort(groupUniqArrayIf(external_customer_id, counted >= {large:UInt64}))\n"
        "FROM (\n  SELECT external_customer_id, count() AS counted FROM events\n"
        "  WHERE tenant_id = {tenant_id:String} AND environment_id = {environment_id:String}"
        " AND event_name IN {names:Array(String)} AND toYYYYMM(timestamp) = {month:UInt32}\n"
        "  GROUP BY external_customer_id, event_name\n)",
        {
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
            "names": list(names),
            "month": month.year * 100 + month.month,
            "large": large,
        },
    )
    return MonthOfEvents(int(events), int(customers), tuple(map(str, names_of_large)))


def month_of(at: datetime) -> datetime:
    """The start of its month in UTC."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: datetime) -> datetime:
    """The start of the month after one that starts at `month`."""
    return (month + timedelta(days=32)).replace(day=1)
