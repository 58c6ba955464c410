"""What can be sealed in cells: the series of a meter, and how the parts of a series fold into one quantity.

A series is what a meter measures, by its definition and not by its id: a meter that is changed has another series, and
two that measure the same share one. Parts are of disjoint spans of time, so that of latest values the one of the latest
span counts. Owns which meters have a series; others are read from the events. Design: usage.md section 3.
"""

import hashlib
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final

import msgspec

from billing.meters import AggregationType, Meter, ResetUsage


class Fold(IntEnum):
    """How parts are put together."""

    ADD = 0
    HIGHEST = 1
    LOWEST = 2
    LATEST = 3
    UNIQUE = 4
    LEVEL = 5
    """Changes of a level, weighted with how long each lasts."""


FOLDS: Final = {
    AggregationType.COUNT: Fold.ADD,
    AggregationType.SUM: Fold.ADD,
    AggregationType.AVG: Fold.ADD,
    AggregationType.SUM_WITH_MULTIPLIER: Fold.ADD,
    AggregationType.MAX: Fold.HIGHEST,
    AggregationType.MIN: Fold.LOWEST,
    AggregationType.LATEST: Fold.LATEST,
    AggregationType.COUNT_UNIQUE: Fold.UNIQUE,
    AggregationType.WEIGHTED_SUM: Fold.LEVEL,
}


_READING: Final = "1"
"""To be changed together with how an event's property becomes a value, so that no cell of before is read any more."""


def has_series(meter: Meter) -> bool:
    """Whether the meter's usage can be put together from parts with the digits of one read.

    Buckets are priced one by one, values of expressions are computed by who reads them, and a level that never resets
    has changes from before the period, which last for the whole of it: these are read from the events.
    """
    return (
        meter.bucket_size is None
        and meter.expression is None
        and not (meter.aggregation is AggregationType.WEIGHTED_SUM and meter.reset_usage is ResetUsage.NEVER)
    )


def series_of(meter: Meter) -> int:
    """128 bits that stand for what the meter measures: which events, which value, and how it folds."""
    filters = sorted((filter_.key, sorted(set(filter_.values))) for filter_ in meter.filters)
    meaning = [meter.event_name, FOLDS[meter.aggregation].name, meter.field or "", filters]
    digest = hashlib.sha256(msgspec.json.encode([_READING, *meaning])).digest()
    return int.from_bytes(digest[:16], "big")


def folded_sql(folds: Sequence[Fold]) -> str:
    """The quantity of a group of parts as text; columns `fold`, `events`, `value`, `moment`, `uniques`, `at`.

    Of a level it takes the parameter `end_us`, the end of the period in microseconds.
    """
    unique = "uniqExactIfMergeIf(uniques, fold = 4)"
    level = "sumIf(value, fold = 5) * toDecimal256({end_us:Int64}, 0) - sumIf(moment, fold = 5)"
    return _by_fold(folds, {**_VALUES, Fold.UNIQUE: unique, Fold.LEVEL: level}, "''", "toString")


def merged_sql(folds: Sequence[Fold]) -> str:
    """The same group as one part: its columns from `fold` on, in their order."""
    value = _by_fold(folds, {**_VALUES, Fold.LEVEL: "sumIf(value, fold = 5)"}, "toDecimal256(0, 13)")
    return (
        f"any(fold) AS fold_, sum(events) AS events_, sum(rejected), sum(checksum), {value}, sum(moment),"
        " uniqExactIfMergeState(uniques)"
    )


_VALUES: Final = {
    Fold.ADD: "sumIf(value, fold = 0)",
    Fold.HIGHEST: "maxIf(value, fold = 1)",
    # A part without events has no value.
    Fold.LOWEST: "minIf(value, fold = 2 AND events > 0)",
    Fold.LATEST: "argMaxIf(value, at, fold = 3 AND events > 0)",
}


def _by_fold(folds: Sequence[Fold], texts: Mapping[Fold, str], otherwise: str, wrapped: str = "") -> str:
    wanted = [fold for fold in Fold if fold in set(folds) and fold in texts]
    cases = "".join(f"any(fold) = {int(fold)}, {wrapped}({texts[fold]}), " for fold in wanted)
    return f"multiIf({cases}{otherwise})" if cases else otherwise
