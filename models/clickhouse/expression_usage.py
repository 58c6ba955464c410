"""What meters with an expression measured: how the values of their events fold, in the statement and behind it.

Owns the columns of such a meter and their reading. Events that the statement leaves undecided are computed by
billing.expressions, from what the expression read of them, and folded in: the digits are those of the rules in memory.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from billing.event_values import VALUE_PLACES
from billing.expressions.evaluation import expression_value
from billing.expressions.parsing import parse_expression
from billing.meters import AggregationType, Meter, UsageQuantity
from billing.money import shown_decimal
from models.clickhouse.client import ClickHouseTooMuch
from models.clickhouse.expression_sql import HELD, SOMETHING, ExpressionColumns, Path, paths_of

_LAST: Final = "(timestamp, accepted_at, kafka_offset, event_id)"
_NONE: Final = "emptyArrayString()"
UNDECIDED_MOST: Final = 50_000
"""Events of a customer that may be left to the rules, for each meter: some seconds and 100 MiB of a worker."""


def expression_folds(number: int, meter: Meter, columns: ExpressionColumns) -> list[str]:
    """Four columns: (folded units of 10^-12, what is undecided, the last event if that is), events, rejected, checksum.

    The first is a tuple; the others are as any meter's.
    """
    matches, status = f"m_{number}", columns.status
    decided = f"{matches} AND {status} = 0"
    units = f"if({status} = 0, {columns.units}, toInt256(0))"
    last = _NONE
    match meter.aggregation:
        case AggregationType.MAX:
            folded = f"maxIf({units}, {decided})"
        case AggregationType.LATEST:
            folded = f"argMaxIf({units}, {_LAST}, {matches})"
            last = f"argMaxIf(if({status} = 2, {columns.read}, {_NONE}), {_LAST}, {matches})"
        case _:
            folded = f"sumIf({units}, {decided})"
    return [
        f"tuple(toString({folded}), groupArrayIf({UNDECIDED_MOST + 1})({columns.read}, {matches} AND {status} = 2), "
        f"{last}) AS quantity_{number}",
        f"countIf({matches}) AS events_{number}",
        f"countIf({matches} AND {status} = 1) AS rejected_{number}",
        f"toString(sumIf(event, {matches})) AS checksum_{number}",
    ]


def expression_quantity(meter: Meter, row: Sequence[Any]) -> UsageQuantity:
    """What the four columns say. Raises ClickHouseTooMuch where too many events are left to the rules."""
    (folded, undecided, last), events, rejected, checksum = row
    if len(undecided) > UNDECIDED_MOST:
        raise ClickHouseTooMuch(
            f"{meter.id}: more than {UNDECIDED_MOST} events with numbers that its expression cannot be computed of"
            " where events are stored (too many digits, or written as 1e3): send shorter numbers, or simplify the"
            " aggregation.expression"
        )
    values = [value_of(meter, read) for read in undecided]
    found = [Fraction(folded) / 10**VALUE_PLACES, *(Fraction(value) for value in values if value is not None)]
    match meter.aggregation:
        case AggregationType.MAX:
            exact = max(found)
        case AggregationType.LATEST:
            exact = Fraction(value_of(meter, last) or 0) if last else found[0]
        case AggregationType.AVG:
            exact = sum(found, Fraction(0)) / int(events) if int(events) else Fraction(0)
        case _:
            exact = sum(found, Fraction(0))
    shown = shown_decimal(exact)
    return UsageQuantity(
        shown,
        int(events),
        int(rejected) + values.count(None),
        f"{int(checksum):032x}",
        None if Fraction(shown) == exact else exact,
    )


def value_of(meter: Meter, read: Sequence[str]) -> Decimal | None:
    """What an undecided event is worth, of what its expression read; None where it is rejected."""
    assert meter.expression is not None
    paths = paths_of(parse_expression(meter.expression))
    return expression_value(meter.expression, properties_of(paths, read), meter.multiplier)


def properties_of(paths: Sequence[Path], read: Sequence[str]) -> Mapping[str, object]:
    """The properties of an event as far as they were read."""
    properties: dict[str, Any] = {}
    for path, text in zip(paths, read, strict=True):
        if text:
            inside = properties
            for key in path[:-1]:
                inside = inside.setdefault(key, {})
            if text == SOMETHING:
                inside.setdefault(path[-1], {})
            else:
                inside[path[-1]] = text.removeprefix(HELD)
    return properties
