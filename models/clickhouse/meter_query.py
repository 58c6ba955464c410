"""The exact quantities of meters over a period, as one ClickHouse statement.

Owns how an event's property becomes a number and how numbers fold; a query is a value whose SQL is tested as text.
Rules: billing-rules.md section 1 (quantities), usage.md sections 3 and 4. Never a float: a value is read from the text
of its property (what ingestion stored keeps every digit), rounded half away from zero to 12 places, and added as a
decimal of 76 digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing.errors import Invalid
from billing.event_values import NUMBER
from billing.meters import AggregationType, Meter, ResetUsage, UsageQuantity
from billing.money import shown_decimal
from billing.periods import Period
from models.clickhouse.expression_sql import ExpressionSql
from models.clickhouse.expression_usage import expression_folds, expression_quantity
from models.clickhouse.known_events import ALL_KNOWN, known_events
from models.clickhouse.listed import listed_sql
from models.clickhouse.properties import text_sql, texts_sql
from models.clickhouse.times import milliseconds
from models.clickhouse.windows import Window

_LIMIT = "toDecimal256('100000000000000000000000000', 0)"
EVENT = "reinterpretAsUInt128(sipHash128(concat(event_id, '\\0', toString(revision)))) AS event"
"""A sum of hashes does not depend on the order in which parts are read, and knows every event and revision."""

_LASTING = "toDecimal256({end_us:Int64} - greatest(toUnixTimestamp64Milli(timestamp) * 1000, {start_us:Int64}), 0)"
"""How long a change of a level lasts within the period, in microseconds."""

CARRIED_ON = (AggregationType.AVG, AggregationType.SUM_WITH_MULTIPLIER, AggregationType.WEIGHTED_SUM)
"""Whose quantity `carried_on` makes of what has been added up."""

SOURCE = "source"
PROPERTY = "properties."
SETTINGS = "SETTINGS do_not_merge_across_partitions_select_final = 1, short_circuit_function_evaluation = 'disable'"
"""No step needs another's guard; computing steps for chosen rows only costs more than the steps."""


ROWS_MOST = 100_000
"""Buckets, of all groups and customers, that a statement answers at most: a worker holds them all, about 1 KiB each."""


@dataclass(frozen=True, slots=True)
class MeterQuery:
    """Usage of `meters` in [start, end): of one customer, or of all where `external_customer_id` is None.

    One statement reads the events once and folds every meter. Meters that never reset measure everything before the
    end; they are not mixed with others. With `window`, one row a window that has events. With `each_of`, one row (or
    its windows) for each of these customers that has events. With `group_by` (`source`, or `properties.NAME`), one row
    for each combination of values; a property that is absent has the value "".
    """

    tenant_id: str
    environment_id: str
    external_customer_id: str | None
    meters: tuple[Meter, ...]
    start: datetime
    end: datetime
    window: Window | None = None
    each_of: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    """Only events of these sources, where any are named."""
    accepted_before: datetime | None = None
    """Only events that were accepted before this, where it is given."""
    known_before: datetime | None = None
    """As the events were known before this instant of business time; None: as they are known now."""

    def __post_init__(self) -> None:
        if not self.meters:
            raise Invalid("meters must name at least one meter", field="meters")
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise Invalid("start and end must carry a time zone", field="start")
        if self.start > self.end:
            raise Invalid(f"start_time {self.start} must not be after end_time {self.end}", field="start_time")
        if self.each_of and self.external_customer_id is not None:
            raise Invalid("each_of and external_customer_id exclude each other", field="external_customer_id")
        for name in self.group_by:
            if name != SOURCE and not (name.startswith(PROPERTY) and name != PROPERTY):
                raise Invalid(f"group_by must name {SOURCE} or {PROPERTY}NAME; got {name!r}", field="group_by")
        if self.window and any(meter.is_cumulative for meter in self.meters):
            raise Invalid(
                "window_size must be absent: a WEIGHTED_SUM, and a meter that never resets, have no windows",
                field="window_size",
            )
        if any(meter.bucket_size not in (None, self.window and self.window.size) for meter in self.meters):
            raise Invalid("window must be that of the meters' buckets: they are measured one by one", field="window")
        if len({meter.reset_usage for meter in self.meters}) > 1:
            raise Invalid("meters must all reset, or all never", field="meters")

    @property
    def period(self) -> Period:
        """[start, end), in UTC."""
        return Period(self.start.astimezone(UTC), self.end.astimezone(UTC))

    @property
    def microseconds(self) -> int:
        """The length of the period."""
        return (self.end - self.start) // timedelta(microseconds=1)

    def to_sql(self) -> tuple[str, dict[str, Any]]:
        """The statement and its parameters.

        Columns: [customer,] [window,] [groups,] a meter's quantity, events, rejected, checksum, the next meter's ...
        """
        bound: dict[str, Any] = {}
        outer = ["external_customer_id"] if self.each_of else []
        if self.window:
            outer.append(f"{self.window.start_sql()} AS window_start")
            bound |= self.window.parameters(self.period)
        outer += [f"group_{number}" for number in range(len(self.group_by))]
        groups = [column.rpartition(" ")[2] for column in outer]
        inner = ["external_customer_id"] if self.each_of else []
        inner += ["timestamp", "accepted_at", "kafka_offset", "event_id", EVENT]
        inner += _group_columns(self.group_by, bound)
        inner += property_columns(self.meters, bound)
        expressions = ExpressionSql(bound)
        for number, meter in enumerate(self.meters):
            inner.append(match_column(number, meter, self.meters, bound))
            if meter.aggregation is AggregationType.WEIGHTED_SUM:
                bound |= {"start_us": _microseconds(self.start), "end_us": _microseconds(self.end)}
            if meter.expression is None:
                outer.extend(_folds(number, meter, self.meters))
            else:
                columns = expressions.add(meter.expression, meter.multiplier)
                outer.extend(expression_folds(number, meter, columns))
        inner += expressions.columns
        events = [
            "  SELECT",
            ",\n".join(f"    {column}" for column in inner),
            *(f"  {line}" for line in self._source(bound)),
        ]
        lines = [
            "SELECT",
            ",\n".join(f"  {column}" for column in outer),
            "FROM (",
            expressions.layers.wrap("\n".join(events)),
            ")",
        ]
        if groups:
            lines += [f"GROUP BY {', '.join(groups)}", f"ORDER BY {', '.join(groups)}"]
        lines.append(f"{SETTINGS}{_bounded(self.meters)}")
        return "\n".join(lines), bound

    def rows_sql(self, most: int) -> tuple[str, dict[str, Any]]:
        """`most` of the events themselves: name, id, timestamp, acceptance, offset, properties, what it adds to sums.

        Times in Unix milliseconds. A few of these are read faster than the statement above is planned.
        """
        bound: dict[str, Any] = {}
        columns = (
            "event_name, event_id, toUnixTimestamp64Milli(timestamp), toUnixTimestamp64Milli(accepted_at),"
            f" kafka_offset, properties, toString({EVENT.removesuffix(' AS event')})"
        )
        source = "\n".join(self._source(bound))
        return f"SELECT {columns}\n{source}\nLIMIT {most}\n{SETTINGS}", bound

    def _source(self, bound: dict[str, Any]) -> list[str]:
        """Which events, as of when."""
        own, wanted = self._own(bound), self._wanted(bound)
        if self.known_before is None:
            return [ALL_KNOWN, "WHERE " + "\n    AND ".join([*own, *wanted])]
        bound["known_before"] = milliseconds(self.known_before)
        return known_events(own, wanted)

    def _own(self, bound: dict[str, Any]) -> list[str]:
        """Whose events."""
        bound |= {"tenant_id": self.tenant_id, "environment_id": self.environment_id}
        conditions = ["tenant_id = {tenant_id:String}", "environment_id = {environment_id:String}"]
        if self.external_customer_id is not None:
            bound["external_customer_id"] = self.external_customer_id
            conditions.append("external_customer_id = {external_customer_id:String}")
        if self.each_of:
            conditions.append(listed_sql("external_customer_id", "each_of", self.each_of, bound))
        return conditions

    def _wanted(self, bound: dict[str, Any]) -> list[str]:
        """Which of them."""
        bound["end"] = milliseconds(self.end)
        conditions = []
        if self.sources:
            bound["sources"] = list(self.sources)
            conditions.append("source IN {sources:Array(String)}")
        names = list(dict.fromkeys(meter.event_name for meter in self.meters))
        bound |= {f"name_{number}": name for number, name in enumerate(names)}
        conditions.append(f"event_name IN ({', '.join(f'{{name_{number}:String}}' for number in range(len(names)))})")
        if self.meters[0].reset_usage is ResetUsage.BILLING_PERIOD:
            bound["start"] = milliseconds(self.start)
            conditions.append("timestamp >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')")
        conditions.append("timestamp < fromUnixTimestamp64Milli({end:Int64}, 'UTC')")
        if self.accepted_before is not None:
            bound["accepted"] = milliseconds(self.accepted_before)
            conditions.append("accepted_at < fromUnixTimestamp64Milli({accepted:Int64}, 'UTC')")
        return conditions


def _bounded(meters: Sequence[Meter]) -> str:
    """Fails beyond ROWS_MOST, before the engine holds them, where how many there are is up to the events."""
    if meters[0].bucket_size is None:
        return ""
    return f", max_rows_to_group_by = {ROWS_MOST}, group_by_overflow_mode = 'throw'"


def _group_columns(group_by: Sequence[str], bound: dict[str, Any]) -> list[str]:
    columns = []
    for number, name in enumerate(group_by):
        if name == SOURCE:
            columns.append(f"toString(source) AS group_{number}")
            continue
        text = text_sql(name.removeprefix(PROPERTY), f"group_key_{number}", bound)
        columns.append(f"ifNull({text}, '') AS group_{number}")
    return columns


def property_keys(meters: Sequence[Meter]) -> list[str]:
    """The properties that `meters` read, each once; their places name the columns t_0, n_0, v_0, t_1 ..."""
    read = [key for meter in meters for key in (meter.field, *(filter_.key for filter_ in meter.filters)) if key]
    return list(dict.fromkeys(read))


def property_columns(meters: Sequence[Meter], bound: dict[str, Any]) -> list[str]:
    """`t`: the text of a scalar property, or NULL; `n`: the number in it; `v`: that number unless it is rejected; `w`:
    the same where a negative number counts, as a level that falls.

    1.0 has the text '1', true has 'true'; absent, null, objects and arrays have none. Cutting at 13 places and then
    rounding half away from zero to 12 is exact, because only the 13th digit decides.
    """
    numeric = {meter.field for meter in meters if meter.aggregation is not AggregationType.COUNT_UNIQUE}
    levels = {meter.field for meter in meters if meter.aggregation is AggregationType.WEIGHTED_SUM}
    pattern = NUMBER.replace("\\", "\\\\")
    keys = property_keys(meters)
    columns, texts = texts_sql(keys, "key", bound)
    for place, (key, text) in enumerate(zip(keys, texts, strict=True)):
        columns.append(f"{text} AS t_{place}")
        if key in numeric:
            number = f"if(match(t_{place}, '^{pattern}$'), toDecimal256OrNull(t_{place}, 13), NULL)"
            columns.append(f"round({number}, 12) AS n_{place}")
            columns.append(f"if(n_{place} >= 0 AND n_{place} < {_LIMIT}, n_{place}, NULL) AS v_{place}")
        if key in levels:
            columns.append(f"if(abs(n_{place}) < {_LIMIT}, n_{place}, NULL) AS w_{place}")
    return columns


def match_column(number: int, meter: Meter, meters: Sequence[Meter], bound: dict[str, Any]) -> str:
    """Whether an event counts for the meter: its name and every filter."""
    bound[f"event_{number}"] = meter.event_name
    tests = [f"event_name = {{event_{number}:String}}"]
    for place, filter_ in enumerate(meter.filters):
        text = f"t_{property_keys(meters).index(filter_.key)}"
        tests.append(f"ifNull({listed_sql(text, f'values_{number}_{place}', filter_.values, bound)}, 0)")
    return f"{' AND '.join(tests)} AS m_{number}"


def _folds(number: int, meter: Meter, meters: Sequence[Meter]) -> list[str]:
    matches = f"m_{number}"
    place = property_keys(meters).index(meter.field) if meter.field else 0
    value = f"ifNull(v_{place}, toDecimal256(0, 13))"
    quantity = {
        AggregationType.COUNT: f"countIf({matches})",
        AggregationType.SUM: f"sumIf({value}, {matches})",
        AggregationType.MAX: f"maxIf({value}, {matches})",
        # At one timestamp the event received last wins, then the larger id.
        AggregationType.LATEST: f"argMaxIf({value}, (timestamp, accepted_at, kafka_offset, event_id), {matches})",
        AggregationType.COUNT_UNIQUE: f"uniqExactIf(t_{place}, {matches})",
        AggregationType.MIN: f"minIf({value}, {matches})",
        # Sums, of which `quantities` makes the quotient or the product, exactly.
        AggregationType.AVG: f"sumIf({value}, {matches})",
        AggregationType.SUM_WITH_MULTIPLIER: f"sumIf({value}, {matches})",
        AggregationType.WEIGHTED_SUM: f"sumIf(ifNull(w_{place}, toDecimal256(0, 13)) * {_LASTING}, {matches})",
    }[meter.aggregation]
    rejected = {
        AggregationType.COUNT: "toUInt64(0)",
        AggregationType.COUNT_UNIQUE: f"countIf({matches} AND t_{place} IS NULL)",
        AggregationType.WEIGHTED_SUM: f"countIf({matches} AND w_{place} IS NULL)",
    }.get(meter.aggregation, f"countIf({matches} AND v_{place} IS NULL)")
    return [
        f"toString({quantity}) AS quantity_{number}",
        f"countIf({matches}) AS events_{number}",
        f"{rejected} AS rejected_{number}",
        f"toString(sumIf(event, {matches})) AS checksum_{number}",
    ]


def quantities(query: MeterQuery, row: Sequence[Any]) -> dict[str, UsageQuantity]:
    """The four columns a meter of a result row (without its window) as quantities by meter id."""
    found = {}
    for number, meter in enumerate(query.meters):
        if meter.expression is not None:
            found[meter.id] = expression_quantity(meter, row[number * 4 : number * 4 + 4])
            continue
        folded, events, rejected, checksum = row[number * 4 : number * 4 + 4]
        quantity, exact = Decimal(folded), None
        if meter.aggregation in CARRIED_ON:
            carried = carried_on(meter, Fraction(quantity), int(events), query.microseconds)
            quantity = shown_decimal(carried)
            exact = None if Fraction(quantity) == carried else carried
        found[meter.id] = UsageQuantity(quantity, int(events), int(rejected), f"{int(checksum):032x}", exact)
    return found


def carried_on(meter: Meter, folded: Fraction, events: int, microseconds: int) -> Fraction:
    """The quantity of what ClickHouse has added up, without a rounding; 0 where nothing was."""
    if meter.aggregation is AggregationType.AVG:
        return folded / events if events else Fraction(0)
    if meter.aggregation is AggregationType.WEIGHTED_SUM:
        return max(folded / microseconds, Fraction(0)) if microseconds else Fraction(0)
    return folded * Fraction(meter.multiplier) if meter.multiplier is not None else folded


def _microseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
