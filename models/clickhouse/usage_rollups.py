"""Usage put together from sealed cells and, where none holds, from the events themselves.

Owns which span of a period is read from where, and the statement that reads all of them. The digits are those of
`meter_query` over the whole period. Three steps: which hours had rows since their seal; cells and events together; and
whether an event was corrected meanwhile, because such a one may have moved from a span that was read before to one
that was read after, which no read of one statement would show. Design: usage.md section 3.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from billing.meters import Meter, ResetUsage, UsageQuantity
from billing.money import shown_decimal
from billing.periods import Period
from models.clickhouse.client import ClickHouse
from models.clickhouse.listed import listed_sql
from models.clickhouse.meter_query import CARRIED_ON, SETTINGS, carried_on
from models.clickhouse.times import instant, milliseconds
from models.clickhouse.usage_parts import PART_COLUMNS, parts_sql
from models.clickhouse.usage_seals import DAYS, HOURS, PERIODS, SPANS, Layer, month_of, next_month
from models.clickhouse.usage_series import FOLDS, Fold, folded_sql, series_of
from models.scope import Scope

LATE_MOST: Final = 5000
"""Hours with late rows that are told apart; beyond, everything is read from the events."""

RANGES_MOST: Final = 300


@dataclass(frozen=True, slots=True)
class Span:
    """[start, end)."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Sealed:
    """A layer as it can be read for some series together: before `horizon`, up to insert `block`."""

    layer: Layer
    horizon: datetime
    block: int


@dataclass(frozen=True, slots=True)
class LateHour:
    """An hour of a customer with rows that came after insert `block` of its layer; `newest` is the largest of them."""

    external_customer_id: str
    hour: datetime
    newest: int
    corrected: int
    """The newest insert that voided or amended an event; 0 for none."""


@dataclass(slots=True)
class ReadPlan:
    """Which spans of a period come from its cells to date, from cells of days and hours, and from the events."""

    to_date: Span | None = None
    days: list[Span] = field(default_factory=list)
    hours: list[Span] = field(default_factory=list)
    events: list[Span] = field(default_factory=list)

    @property
    def ranges(self) -> int:
        """How many there are."""
        return len(self.days) + len(self.hours) + len(self.events)

    @property
    def has_cells(self) -> bool:
        """Whether anything comes from cells."""
        return bool(self.to_date or self.days or self.hours)


def make_plan(start: datetime, end: datetime, sealed: Sequence[Sealed], late: Iterable[LateHour] = ()) -> ReadPlan:
    """Covers [start, end): the beginning from cells to date, then whole days, whole hours, and the rest from events.

    `sealed` holds at most one layer a month and level, and one of the period.
    """
    plan = ReadPlan()
    late = list(late)
    by_level = {(each.layer.start, each.layer.level): each for each in sealed}
    at = start
    to_date = by_level.get((start, PERIODS))
    if to_date and to_date.horizon <= end and not _changed_within(start, to_date, late):
        plan.to_date = Span(start, to_date.horizon)
        at = to_date.horizon
    first_sealed = min((each.layer.start for each in sealed), default=end)
    if at < first_sealed:  # nothing is sealed before; a meter that never resets begins in 1970
        at = min(first_sealed, end)
        _add(plan.events, start, at)
    while at < end:
        month = month_of(at)
        stop = min(next_month(month), end)
        days, hours = by_level.get((month, DAYS)), by_level.get((month, HOURS))
        _cover(plan, at, stop, days, hours, late)
        at = stop
    return plan


def _changed_within(start: datetime, to_date: Sealed, late: Sequence[LateHour]) -> bool:
    """Whether a row came into [start, horizon) since. Hours are known, so the first one may begin earlier."""
    return any(start - SPANS[HOURS] < each.hour < to_date.horizon and each.newest > to_date.block for each in late)


def _cover(
    plan: ReadPlan, start: datetime, end: datetime, days: Sealed | None, hours: Sealed | None, late: Sequence[LateHour]
) -> None:
    """[start, end) of one month."""
    at = start
    for span in _whole(start, end, days, DAYS, late):
        _cover_hours(plan, at, span.start, hours, late)
        _add(plan.days, span.start, span.end)
        at = span.end
    _cover_hours(plan, at, end, hours, late)


def _cover_hours(
    plan: ReadPlan, start: datetime, end: datetime, hours: Sealed | None, late: Sequence[LateHour]
) -> None:
    at = start
    for span in _whole(start, end, hours, HOURS, late):
        _add(plan.events, at, span.start)
        _add(plan.hours, span.start, span.end)
        at = span.end
    _add(plan.events, at, end)


def _whole(start: datetime, end: datetime, sealed: Sealed | None, level: int, late: Sequence[LateHour]) -> list[Span]:
    """The whole spans of a level within [start, end) that are sealed and have not changed since."""
    if sealed is None or start >= end:
        return []
    size = SPANS[level]
    first = _floor(start, size)
    first = first if first == start else first + size
    last = _floor(min(end, sealed.horizon), size)
    changed = {_floor(each.hour, size) for each in late if each.newest > sealed.block}
    spans: list[Span] = []
    at = first
    for gap in sorted(one for one in changed if first <= one < last):
        _add(spans, at, gap)
        at = gap + size
    _add(spans, at, last)
    return spans


def _floor(at: datetime, size: timedelta) -> datetime:
    """The start of its hour or day of UTC."""
    return at - (at - datetime(1970, 1, 1, tzinfo=UTC)) % size


def _add(spans: list[Span], start: datetime, end: datetime) -> None:
    """Adds [start, end), joined to the last one where they touch."""
    if start >= end:
        return
    if spans and spans[-1].end == start:
        spans[-1] = Span(spans[-1].start, end)
    else:
        spans.append(Span(start, end))


@dataclass(frozen=True, slots=True)
class RolledQuery:
    """Usage of `meters` (each with a series) of some customers, or all, in a period."""

    scope: Scope
    customers: tuple[str, ...]
    meters: tuple[Meter, ...]
    period: Period
    narrowed: tuple[str, ...] = ()
    """Further conditions on the customer, for all of whom (no `customers`) a period is sealed."""

    @property
    def start(self) -> datetime:
        """Where events begin to count: a meter that never resets counts them all."""
        never = self.meters[0].reset_usage is ResetUsage.NEVER
        return datetime(1970, 1, 1, tzinfo=UTC) if never else self.period.start

    def late_sql(self, sealed: Sequence[Sealed]) -> tuple[str, dict[str, Any]]:
        """The hours in which rows came since they were sealed: customer, hour, newest insert, newest correction."""
        bound = self._own()
        cases = []
        for place, each in enumerate(sealed):
            start, end = max(each.layer.start, self.start), min(each.horizon, self.period.end)
            bound |= {
                f"late_from_{place}": milliseconds(start),
                f"late_to_{place}": milliseconds(max(end, start)),
                f"block_{place}": each.block,
            }
            cases.append(
                f"({_between(f'late_from_{place}', f'late_to_{place}')} AND _block_number > {{block_{place}:UInt64}})"
            )
        return (
            "SELECT external_customer_id, toUnixTimestamp(toStartOfHour(timestamp, 'UTC')) AS hour,"
            " max(_block_number), maxIf(_block_number, revision > 0)\n"
            f"FROM events\nWHERE {self._rows()} AND ({' OR '.join(cases)})\n"
            f"GROUP BY external_customer_id, hour\nLIMIT {LATE_MOST + 1}",
            bound,
        )

    def to_sql(self, plan: ReadPlan) -> tuple[str, dict[str, Any]]:
        """One row a customer and series: customer, series, events, rejected, checksum, folded quantity."""
        parts, bound = self.parts_of(plan)
        bound["end_us"] = (self.period.end - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        return (
            "SELECT external_customer_id, toString(series), sum(events), sum(rejected), toString(sum(checksum)),"
            f" {folded_sql(self.folds)}\nFROM (\n{parts}\n)\nGROUP BY external_customer_id, series\n{SETTINGS}"
        ), bound

    @property
    def folds(self) -> list[Fold]:
        """How its series fold."""
        return [FOLDS[meter.aggregation] for meter in self.meters]

    def parts_of(self, plan: ReadPlan) -> tuple[str, dict[str, Any]]:
        """A SELECT of all parts of the period, as `plan` says, and its parameters."""
        bound = self._own()
        meters = {series_of(meter): meter for meter in self.meters}
        parts = []
        if plan.has_cells:
            parts.append(self._cells_sql(plan, list(meters), bound))
        if plan.events:
            starts = ", ".join(f"toInt64({milliseconds(span.start)})" for span in plan.events)
            where = f"{self._rows()} AND ({_any(plan.events, 'event', bound)})"
            at = f"roundDown(toUnixTimestamp64Milli(timestamp), [{starts}])"
            columns = ", ".join(("external_customer_id", "at", "series", *PART_COLUMNS))
            parts.append(f"SELECT {columns} FROM (\n{parts_sql(list(meters.values()), at, where, bound)}\n)")
        return "\nUNION ALL\n".join(parts), bound

    def _cells_sql(self, plan: ReadPlan, series: Sequence[int], bound: dict[str, Any]) -> str:
        levels = []
        if plan.to_date:
            span = f"toDateTime({milliseconds(plan.to_date.start) // 1000}, 'UTC')"
            until = f"toDateTime({milliseconds(plan.to_date.end) // 1000}, 'UTC')"
            levels.append(f"(level = {PERIODS} AND span = {span} AND until = {until})")
        for level, spans in ((DAYS, plan.days), (HOURS, plan.hours)):
            if spans:
                cases = " OR ".join(
                    f"(span >= toDateTime({milliseconds(span.start) // 1000}, 'UTC')"
                    f" AND span < toDateTime({milliseconds(span.end) // 1000}, 'UTC'))"
                    for span in spans
                )
                levels.append(f"(level = {level} AND ({cases}))")
        keys = ", ".join(f"toUInt128('{key}')" for key in series)
        columns = ", ".join(PART_COLUMNS)
        return (
            f"SELECT external_customer_id, toInt64(toUnixTimestamp(span)) * 1000 AS at, series, {columns}\n"
            f"FROM usage_cells FINAL\nWHERE {self._whose()} AND series IN ({keys}) AND ({' OR '.join(levels)})"
        )

    def _own(self) -> dict[str, Any]:
        bound: dict[str, Any] = {
            "tenant_id": self.scope.tenant_id,
            "environment_id": self.scope.environment_id,
            "names": sorted({meter.event_name for meter in self.meters}),
        }
        if len(self.customers) == 1:
            bound["customer"] = self.customers[0]
        elif self.customers:
            listed_sql("external_customer_id", "customers", self.customers, bound)
        return bound

    def _whose(self) -> str:
        conditions = ["tenant_id = {tenant_id:String}", "environment_id = {environment_id:String}"]
        if len(self.customers) == 1:
            conditions.append("external_customer_id = {customer:String}")
        elif self.customers:
            conditions.append(listed_sql("external_customer_id", "customers", self.customers, {}))
        return " AND ".join([*conditions, *self.narrowed])

    def _rows(self) -> str:
        return f"{self._whose()} AND event_name IN {{names:Array(String)}}"


def _between(start: str, end: str) -> str:
    return (
        f"timestamp >= fromUnixTimestamp64Milli({{{start}:Int64}}, 'UTC')"
        f" AND timestamp < fromUnixTimestamp64Milli({{{end}:Int64}}, 'UTC')"
    )


def _any(spans: Sequence[Span], name: str, bound: dict[str, Any]) -> str:
    cases = []
    for place, span in enumerate(spans):
        start, end = f"{name}_from_{place}", f"{name}_to_{place}"
        bound |= {start: milliseconds(span.start), end: milliseconds(span.end)}
        cases.append(f"({_between(start, end)})")
    return " OR ".join(cases)


async def read_late(clickhouse: ClickHouse, query: RolledQuery, sealed: Sequence[Sealed]) -> list[LateHour]:
    """Hours of sealed layers in which rows came since; more than LATE_MOST mean that not all are told."""
    rows = await clickhouse.query(*query.late_sql(sealed))
    return [
        LateHour(str(customer), instant(int(hour) * 1000), int(newest), int(corrected))
        for customer, hour, newest, corrected in rows
    ]


async def read_rolled(
    clickhouse: ClickHouse, query: RolledQuery, plan: ReadPlan
) -> dict[str, dict[str, UsageQuantity]]:
    """What each meter measured, by customer; only those that have a cell or events."""
    found: dict[str, dict[str, UsageQuantity]] = {}
    by_series: dict[int, list[Meter]] = {}
    for meter in query.meters:
        by_series.setdefault(series_of(meter), []).append(meter)
    for customer, series, events, rejected, checksum, folded in await clickhouse.query(*query.to_sql(plan)):
        for meter in by_series[int(series)]:
            usage = _quantity(meter, query.period, str(folded), int(events), int(rejected), int(checksum))
            found.setdefault(str(customer), {})[meter.id] = usage
    return found


def _quantity(meter: Meter, period: Period, folded: str, events: int, rejected: int, checksum: int) -> UsageQuantity:
    quantity, exact = Decimal(folded), None
    if meter.aggregation in CARRIED_ON:
        microseconds = (period.end - period.start) // timedelta(microseconds=1)
        carried = carried_on(meter, Fraction(quantity), events, microseconds)
        quantity = shown_decimal(carried)
        exact = None if Fraction(quantity) == carried else carried
    return UsageQuantity(quantity, events, rejected, f"{checksum:032x}", exact)
