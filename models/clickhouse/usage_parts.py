"""Events folded into parts: one row a customer, series and span, with a state that other parts can be added to.

The values are those of `meter_query`, so that parts put together give the digits of one read. Owns the columns of a
part; which events make it is the caller's.
"""

from collections.abc import Sequence
from typing import Any, Final

from billing.meters import AggregationType, Meter
from models.clickhouse.meter_query import EVENT, match_column, property_columns, property_keys
from models.clickhouse.usage_series import FOLDS, Fold, series_of

PART_COLUMNS: Final = ("fold", "events", "rejected", "checksum", "value", "moment", "uniques")
NO_VALUE: Final = "toDecimal256(0, 13)"
NO_UNIQUES: Final = "uniqExactIfState(CAST(NULL, 'Nullable(String)'), toUInt8(0))"
_MICROSECONDS: Final = "toDecimal256(toUnixTimestamp64Milli(timestamp) * 1000, 0)"


def parts_sql(meters: Sequence[Meter], span: str, where: str, bound: dict[str, Any]) -> str:
    """SELECT external_customer_id, at, series, fold, events, rejected, checksum, value, moment, uniques.

    `span` is the expression of `timestamp` by which events are put together (`at`); `where` chooses events.
    """
    inner = ["external_customer_id", f"{span} AS at", "timestamp", "accepted_at", "kafka_offset", "event_id", EVENT]
    inner += property_columns(meters, bound)
    inner += [match_column(number, meter, meters, bound) for number, meter in enumerate(meters)]
    states = ",\n      ".join(_state(number, meter, meters) for number, meter in enumerate(meters))
    uniques = ", ".join(_uniques(number, meter, meters) for number, meter in enumerate(meters))
    columns = ", ".join(f"state.{place} AS {name}" for place, name in enumerate(("series", *PART_COLUMNS[:-1]), 1))
    return (
        f"SELECT external_customer_id, at, {columns}, unique AS uniques\n"
        f"FROM (\n  SELECT external_customer_id, at,\n    [{states}] AS states,\n    [{uniques}] AS unique_states\n"
        f"  FROM (\n    SELECT {', '.join(inner)}\n    FROM events FINAL\n    WHERE {where}\n  )\n"
        "  GROUP BY external_customer_id, at\n)\n"
        "ARRAY JOIN states AS state, unique_states AS unique"
    )


def _state(number: int, meter: Meter, meters: Sequence[Meter]) -> str:
    """A tuple: series, fold, events, rejected, checksum, value, moment."""
    matches, place = f"m_{number}", property_keys(meters).index(meter.field) if meter.field else 0
    value, level = f"ifNull(v_{place}, {NO_VALUE})", f"ifNull(w_{place}, {NO_VALUE})"
    fold = FOLDS[meter.aggregation]
    folded, moment = {
        Fold.ADD: (f"sumIf({value}, {matches})", NO_VALUE),
        Fold.HIGHEST: (f"maxIf({value}, {matches})", NO_VALUE),
        Fold.LOWEST: (f"minIf({value}, {matches})", NO_VALUE),
        # At one timestamp the event received last wins, then the larger id.
        Fold.LATEST: (f"argMaxIf({value}, (timestamp, accepted_at, kafka_offset, event_id), {matches})", NO_VALUE),
        Fold.UNIQUE: (NO_VALUE, NO_VALUE),
        Fold.LEVEL: (f"sumIf({level}, {matches})", f"sumIf({level} * {_MICROSECONDS}, {matches})"),
    }[fold]
    read = {AggregationType.COUNT_UNIQUE: "t", AggregationType.WEIGHTED_SUM: "w"}.get(meter.aggregation, "v")
    rejected = f"countIf({matches} AND {read}_{place} IS NULL)"
    if meter.aggregation is AggregationType.COUNT:
        folded, rejected = f"toDecimal256(countIf({matches}), 13)", "toUInt64(0)"
    return (
        f"(toUInt128('{series_of(meter)}'), toUInt8({int(fold)}), countIf({matches}), {rejected},"
        f" sumIf(event, {matches}), {folded}, {moment})"
    )


def _uniques(number: int, meter: Meter, meters: Sequence[Meter]) -> str:
    if meter.aggregation is not AggregationType.COUNT_UNIQUE:
        return NO_UNIQUES
    return f"uniqExactIfState(t_{property_keys(meters).index(meter.field or '')}, toUInt8(m_{number}))"
