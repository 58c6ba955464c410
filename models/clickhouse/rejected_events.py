"""Stored events that count on no meter, by event name and reason. Nothing is dropped: a meter made later counts them.

Reasons are those of `billing.simulation.usage`: no meter has the name, no meter with the name matches, or a meter that
matches finds no number (a negative one, none at all) and counts 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from billing.meters import AggregationType, Meter
from models.clickhouse.client import ClickHouse
from models.clickhouse.meter_query import SETTINGS, match_column, property_columns, property_keys
from models.clickhouse.times import instant, milliseconds
from models.scope import Scope

NO_METER: Final = "no_meter_for_event_name"
NO_MATCH: Final = "no_matching_meter"
VALUE: Final = "value_rejected"
GROUPS: Final = 1000


@dataclass(frozen=True, slots=True)
class RejectedEvents:
    """Events of one name that count nowhere for one reason; `example_event_id` is the oldest of them."""

    event_name: str
    reason: str
    count: int
    customers: int
    first_at: datetime
    last_at: datetime
    example_event_id: str


def rejected_sql(scope: Scope, meters: Sequence[Meter], start: datetime, end: datetime) -> tuple[str, dict[str, Any]]:
    """The statement and its parameters: at most GROUPS rows, the most frequent first."""
    bound: dict[str, Any] = {
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "start": milliseconds(start),
        "end": milliseconds(end),
        "names": sorted({meter.event_name for meter in meters}),
    }
    inner = ["event_name", "timestamp", "event_id", "external_customer_id", *property_columns(meters, bound)]
    inner += [match_column(number, meter, meters, bound) for number, meter in enumerate(meters)]
    matching = " OR ".join(f"m_{number}" for number in range(len(meters))) or "0"
    valueless = " OR ".join(filter(None, (_valueless(number, meter, meters) for number, meter in enumerate(meters))))
    return (
        "SELECT event_name, reason, count(), uniqExact(external_customer_id), toUnixTimestamp64Milli(min(timestamp)),\n"
        "  toUnixTimestamp64Milli(max(timestamp)), argMin(event_id, (timestamp, event_id))\n"
        "FROM (\n"
        f"  SELECT {', '.join(inner)},\n"
        f"    multiIf(event_name NOT IN {{names:Array(String)}}, '{NO_METER}', NOT ({matching}), '{NO_MATCH}',\n"
        f"      {valueless or '0'}, '{VALUE}', '') AS reason\n"
        "  FROM events FINAL\n"
        "  WHERE tenant_id = {tenant_id:String} AND environment_id = {environment_id:String}\n"
        "    AND timestamp >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')\n"
        "    AND timestamp < fromUnixTimestamp64Milli({end:Int64}, 'UTC')\n"
        ")\n"
        "WHERE reason != ''\n"
        f"GROUP BY event_name, reason ORDER BY count() DESC, event_name, reason LIMIT {GROUPS}\n{SETTINGS}",
        bound,
    )


def _valueless(number: int, meter: Meter, meters: Sequence[Meter]) -> str:
    if meter.aggregation is AggregationType.COUNT or not meter.field:
        return ""
    column = {AggregationType.COUNT_UNIQUE: "t", AggregationType.WEIGHTED_SUM: "w"}.get(meter.aggregation, "v")
    return f"(m_{number} AND {column}_{property_keys(meters).index(meter.field)} IS NULL)"


async def read_rejected(
    clickhouse: ClickHouse, scope: Scope, meters: Sequence[Meter], start: datetime, end: datetime
) -> list[RejectedEvents]:
    """Events of [start, end) that count on none of `meters`, which are all of the environment's.

    Raises ClickHouseError.
    """
    rows = await clickhouse.query(*rejected_sql(scope, meters, start, end))
    return [
        RejectedEvents(
            name, reason, int(count), int(customers), instant(int(first)), instant(int(last)), example_event_id
        )
        for name, reason, count, customers, first, last, example_event_id in rows
    ]
