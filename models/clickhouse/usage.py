"""Reading usage: runs meter queries and gives quantities. Owns no SQL of aggregation (see `meter_query`)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, Final

from billing.errors import Invalid
from billing.meters import Meter, ResetUsage, UsagePart, UsageQuantity
from billing.money import shown_decimal
from billing.periods import Period
from billing.windows import WindowSize
from models.clickhouse.client import ClickHouse, ClickHouseTooMuch
from models.clickhouse.meter_query import PROPERTY, ROWS_MOST, MeterQuery, quantities
from models.clickhouse.times import instant
from models.clickhouse.windows import Window

METERS_A_QUERY = 20
"""Keeps a statement well under ClickHouse's `max_query_size` of 256 KiB."""

EXPRESSION_LENGTH = 50
"""Characters of an expression that make a statement as much longer as a meter without one does."""

FILTERS_A_METER = 5
"""So many filters make it longer by as much."""

_CHECKSUMS: Final = 2**128


@dataclass(frozen=True, slots=True)
class BucketedUsage:
    """What a meter with buckets measured: all of it, and each bucket (and group) that has events, in time order.

    `measured` says of each part what was counted in it.
    """

    usage: UsageQuantity
    parts: tuple[UsagePart, ...] = ()
    measured: tuple[UsageQuantity, ...] = ()

    def in_windows(self, window: Window) -> list[tuple[datetime, UsageQuantity]]:
        """By windows: a bucket belongs to the one in which it begins."""
        found: dict[datetime, list[UsageQuantity]] = defaultdict(list)
        for part, measured in zip(self.parts, self.measured, strict=True):
            found[window.at(part.period.start).start].append(measured)
        return [(start, total_usage(some)) for start, some in sorted(found.items())]


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


async def rows_by_customer(clickhouse: ClickHouse, query: MeterQuery) -> dict[str, list[Sequence[Any]]]:
    """The rows of each customer of `query.each_of` that has events, as they come: what `windows_of` or `quantities`
    makes of them need not be made for all at once."""
    sql, parameters = query.to_sql()
    found: dict[str, list[Sequence[Any]]] = {}
    for row in await clickhouse.query(sql, parameters):
        found.setdefault(str(row[0]), []).append(row[1:])
    return found


def windows_of(query: MeterQuery, rows: Sequence[Sequence[Any]]) -> list[tuple[datetime, dict[str, UsageQuantity]]]:
    """A customer's windows, in their order: their start in UTC, and quantities by meter id."""
    return [(instant(int(row[0])), quantities(query, row[1:])) for row in rows]


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


async def usage_by_bucket(clickhouse: ClickHouse, query: MeterQuery) -> dict[tuple[str, ...], dict[str, BucketedUsage]]:
    """What meters with buckets measured in the buckets of `query.window`, which are cut at the period's ends.

    By customer (where the query has `each_of`) and by the values of `query.group_by`, but for the group of the meters
    themselves, which comes last: it is one of each part. Only those that have events. Raises ClickHouseTooMuch where
    these are more than ROWS_MOST, about.
    """
    sql, parameters = query.to_sql()
    try:
        rows = await clickhouse.query(sql, parameters)
    except ClickHouseTooMuch:
        names = ", ".join(meter.id for meter in query.meters)
        raise ClickHouseTooMuch(
            f"{names}: more than {ROWS_MOST} buckets and groups from {query.start} to {query.end}, the most that can be"
            " priced one by one; a longer bucket_size, or a group_by with fewer values, makes fewer"
        ) from None
    customer, grouped = int(bool(query.each_of)), query.meters[0].group_by is not None
    first = customer + 1
    last = first + len(query.group_by)
    found: dict[tuple[str, ...], list[_Bucket]] = defaultdict(list)
    for row in rows:
        groups = [str(value) for value in row[first:last]]
        own = groups.pop() if grouped else None
        key = tuple([*map(str, row[:customer]), *groups])
        found[key].append(_Bucket(_cut(query, instant(int(row[customer]))), own, quantities(query, row[last:])))
    return {key: {meter.id: _bucketed(meter, buckets) for meter in query.meters} for key, buckets in found.items()}


@dataclass(frozen=True, slots=True)
class _Bucket:
    """One row: a bucket of one group, with what each meter measured in it."""

    period: Period
    group: str | None
    measured: dict[str, UsageQuantity]


def _cut(query: MeterQuery, start: datetime) -> Period:
    assert query.window is not None
    whole = query.window.at(start)
    return Period(max(whole.start, query.start), min(whole.end, query.end))


def _bucketed(meter: Meter, buckets: Iterable[_Bucket]) -> BucketedUsage:
    """All buckets of one meter together; those without events of its own are none."""
    own = [bucket for bucket in buckets if bucket.measured[meter.id].event_count]
    own.sort(key=lambda bucket: (bucket.period.start, bucket.group or ""))
    parts = tuple(UsagePart(bucket.period, bucket.measured[meter.id].value, bucket.group) for bucket in own)
    measured = tuple(bucket.measured[meter.id] for bucket in own)
    return BucketedUsage(total_usage(measured), parts, measured)


def total_usage(measured: Sequence[UsageQuantity]) -> UsageQuantity:
    """The sum of quantities that no event is counted in twice."""
    exact = sum((one.value for one in measured), Fraction(0))
    shown = shown_decimal(exact)
    return UsageQuantity(
        shown,
        sum(one.event_count for one in measured),
        sum(one.rejected_values for one in measured),
        f"{sum(int(one.checksum, 16) for one in measured) % _CHECKSUMS:032x}",
        None if Fraction(shown) == exact else exact,
    )


def in_batches(meters: Sequence[Meter]) -> list[tuple[Meter, ...]]:
    """`meters` cut into lists that one statement can carry: those that never reset read more events than others."""
    batches: list[tuple[Meter, ...]] = []
    for reset in ResetUsage:
        batch, weight = list[Meter](), 0
        for meter in meters:
            if meter.reset_usage is not reset:
                continue
            own = _weight(meter)
            if batch and weight + own > METERS_A_QUERY:
                batches.append(tuple(batch))
                batch, weight = [], 0
            batch.append(meter)
            weight += own
        batches += [tuple(batch)] if batch else []
    return batches


def in_bucketed_batches(meters: Sequence[Meter]) -> list[tuple[Meter, ...]]:
    """Meters with buckets cut into lists that one statement can carry: those with the same buckets and groups."""
    alike: dict[tuple[WindowSize | None, str | None], list[Meter]] = defaultdict(list)
    for meter in meters:
        alike[(meter.bucket_size, meter.group_by)].append(meter)
    return [batch for some in alike.values() for batch in in_batches(some)]


def bucket_window(meter: Meter, zone: str, anchor: datetime | None) -> Window:
    """The buckets of a meter. Raises Invalid for one that has none."""
    if meter.bucket_size is None:
        raise Invalid(f"meter {meter.id} has no buckets", field="aggregation.bucket_size")
    return Window(meter.bucket_size, zone, anchor)


def bucket_groups(meter: Meter) -> tuple[str, ...]:
    """What a query of buckets groups by, for the meter's own group."""
    return (f"{PROPERTY}{meter.group_by}",) if meter.group_by is not None else ()


def _weight(meter: Meter) -> int:
    return 1 + len(meter.expression or "") // EXPRESSION_LENGTH + len(meter.filters) // FILTERS_A_METER
