"""Expressions of meters as columns of a statement: the tree of billing.expressions, computed exactly.

Owns which SQL stands for which node. Three statuses: a value, none (as in billing.expressions), or undecided: where 256
bits may not hold a step, or a number is written in a way that few are (1e3), the properties that the expression reads
are handed out, and billing.expressions says what they are worth. So every event has the same digits as in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from billing.errors import Invalid
from billing.event_values import NUMBER, VALUE_LIMIT, VALUE_PLACES
from billing.expressions import tree
from billing.expressions.parsing import parse_expression
from models.clickhouse.exact_columns import (
    FINE,
    NO_VALUE,
    ONE,
    UNDECIDED,
    Arithmetic,
    Column,
    Layers,
    Number,
    Plain,
    TooWide,
    constant,
    in_pairs,
    integer,
    small,
)

PLACES_MAX: Final = 18
_PLAIN_NUMBER: Final = rf"^-?[0-9]{{1,26}}(?:\\.[0-9]{{0,{PLACES_MAX}}})?$"
_ANY_NUMBER: Final = "^" + NUMBER.replace("\\", "\\\\") + "$"
HELD: Final = "="
SOMETHING: Final = "{}"
_UNIT: Final = 10**VALUE_PLACES
_RELATIONS: Final = {
    tree.Relation.equal: "=",
    tree.Relation.unequal: "!=",
    tree.Relation.less: "<",
    tree.Relation.at_most: "<=",
    tree.Relation.greater: ">",
    tree.Relation.at_least: ">=",
}

Path = tuple[str, ...]
Value = Number | Plain


@dataclass(frozen=True, slots=True)
class ExpressionColumns:
    """An expression's columns: `units` of 10^-12, their `status`, and `read`, what it read as an array of texts."""

    units: str
    status: str
    read: str


def check_computable(text: str, multiplier: Decimal | None = None) -> None:
    """Raises Invalid for an expression of which no event's value can be computed in a statement.

    A worker would have to hold and compute every event by itself.
    """
    if not is_computable(text, multiplier):
        raise Invalid(
            "aggregation.expression must be simpler: its steps build on each other too deeply, or its numbers have too"
            " many digits, to be computed where events are stored",
            field="aggregation.expression",
        )


def is_computable(text: str, multiplier: Decimal | None = None) -> bool:
    """Whether a statement can compute the expression of every event with usual numbers."""
    return ExpressionSql({}).add(text, multiplier).status != str(UNDECIDED)


class ExpressionSql:
    """The expressions of one statement: columns of its events, and the layers above them."""

    def __init__(self, bound: dict[str, Any]) -> None:
        self.layers = Layers()
        self.columns: list[str] = []
        """Of the events themselves: `x_0_j` is the JSON type of a property, `x_0_t` its text."""
        self._bound = bound
        self._paths: dict[Path, int] = {}
        self._numbers = Arithmetic(self.layers)

    def add(self, text: str, multiplier: Decimal | None) -> ExpressionColumns:
        """The columns of an expression."""
        node = parse_expression(text)
        read = ", ".join(self._as_read(path) for path in paths_of(node))
        payload = f"[{read}]" if read else "emptyArrayString()"
        try:
            units, status = self._units(self._number(node), Fraction(1 if multiplier is None else multiplier))
        except TooWide:
            units, status = integer(0), small(UNDECIDED)
        return ExpressionColumns(units.sql, status.sql, payload)

    def _as_read(self, path: Path) -> str:
        """What `expression_usage` reads: `=` and the text of a scalar, {} for what is something else, or nothing."""
        place = self._place(path)
        return (
            f"multiIf(x_{place}_j = 'Null', '', x_{place}_j IN ('Object', 'Array'), '{SOMETHING}', "
            f"concat('{HELD}', x_{place}_t))"
        )

    def _place(self, path: Path) -> int:
        if path not in self._paths:
            place = self._paths[path] = len(self._paths)
            names = [f"x_{place}_{number}" for number in range(len(path))]
            self._bound |= dict(zip(names, path, strict=True))
            keys = ", ".join(["properties", *(f"{{{name}:String}}" for name in names)])
            self.columns += [f"JSONType({keys}) AS x_{place}_j", f"JSONExtractString({keys}) AS x_{place}_t"]
        return self._paths[path]

    def _units(self, number: Number, multiplier: Fraction) -> tuple[Column, Column]:
        """The number times the multiplier in units of 10^-12, half away from 0, unless it is rejected."""
        on = self.layers
        whole = self._numbers.product(number, constant(multiplier.numerator * _UNIT, multiplier.denominator))
        rounded = self._numbers.round(self._numbers.absolute(whole))
        limit = integer(VALUE_LIMIT * _UNIT)
        kept = on.add(
            f"toUInt8(({number.n.sql} < 0 AND {rounded.n.sql} > 0) OR {rounded.n.sql} >= {limit.sql})",
            number.n,
            rounded.n,
        )
        status = on.most(rounded.status, kept)
        return rounded.n, status

    def _number(self, node: tree.Node) -> Number:
        found = self._value(node)
        assert isinstance(found, Number)
        return found

    def _plain(self, node: tree.Node) -> Plain:
        found = self._value(node)
        assert isinstance(found, Plain)
        return found

    def _value(self, node: tree.Node) -> Value:
        match node:
            case tree.Literal(value):
                return self._literal(value)
            case tree.Property(path, kind):
                return self._property(path, kind)
            case tree.Has(path):
                return Plain(Column(f"(x_{self._place(path)}_j != 'Null')"))
            case tree.Negative(operand):
                return self._numbers.negative(self._number(operand))
            case tree.Not(operand):
                truth = self._plain(operand)
                return Plain(self.layers.add(f"NOT {truth.value.sql}", truth.value), truth.status)
            case tree.Arithmetic(tree.Operator.add, _, _):
                return in_pairs(self._numbers.sum, [self._number(each) for each in _added(node)])
            case tree.Arithmetic(operator, left, right):
                return self._arithmetic(operator, self._number(left), self._number(right))
            case tree.Comparison(relation, left, right, kind):
                return self._comparison(relation, left, right, kind)
            case tree.Every(left, right):
                return self._logic(self._plain(left), self._plain(right), decisive=False)
            case tree.Either(left, right):
                return self._logic(self._plain(left), self._plain(right), decisive=True)
            case tree.OneOf(operand, options, kind):
                return self._one_of(operand, options, kind)
            case tree.Condition(test, then, otherwise):
                return self._condition(self._plain(test), self._value(then), self._value(otherwise))
        return self._call(node)

    def _literal(self, value: Decimal | str | bool) -> Value:
        if isinstance(value, bool):
            return Plain(small(int(value)))
        if isinstance(value, str):
            name = f"text_{len(self._bound)}"
            self._bound[name] = value
            return Plain(Column(f"{{{name}:String}}"))
        exact = Fraction(value)
        return constant(exact.numerator, exact.denominator)

    def _property(self, path: Path, kind: tree.Kind | None) -> Value:
        place, on = self._place(path), self.layers
        kept, text = Column(f"x_{place}_j"), Column(f"x_{place}_t")
        absent = f"{kept.sql} IN ('Null', 'Object', 'Array')"
        if kind is tree.Kind.boolean:
            status = on.add(f"toUInt8({absent} OR {text.sql} NOT IN ('true', 'false'))", kept, text)
            return Plain(on.add(f"{text.sql} = 'true'", text), status)
        if kind is not tree.Kind.number:
            return Plain(text, on.add(f"toUInt8({absent})", kept))
        number = (
            f"multiIf({absent}, {NO_VALUE}, match({text.sql}, '{_PLAIN_NUMBER}'), 0, "
            f"match({text.sql}, '{_ANY_NUMBER}'), {UNDECIDED}, {NO_VALUE})"
        )
        status = on.add(f"toUInt8({number})", kept, text)
        point = on.add(f"position({text.sql}, '.')", text)
        places = on.add(
            f"toUInt8(if({status.sql} = 0 AND {point.sql} > 0, length({text.sql}) - {point.sql}, 0))", status, point
        )
        return Number(
            on.add(f"toInt256OrZero(replaceOne({text.sql}, '.', ''))", text),
            on.add(f"toInt256(intExp10({places.sql}))", places),
            on.add(f"toUInt32(length({text.sql}))", text),
            places,
            status,
        )

    def _arithmetic(self, operator: tree.Operator, left: Number, right: Number) -> Number:
        numbers = self._numbers
        match operator:
            case tree.Operator.subtract:
                return numbers.sum(left, right, "-")
            case tree.Operator.multiply:
                return numbers.product(left, right)
            case tree.Operator.divide:
                return numbers.quotient(left, right)
        return numbers.remainder(left, right)

    def _comparison(self, relation: tree.Relation, left: tree.Node, right: tree.Node, kind: tree.Kind) -> Plain:
        if kind is tree.Kind.number:
            return self._numbers.comparison(_RELATIONS[relation], self._number(left), self._number(right))
        return self._strict(f"{{}} {_RELATIONS[relation]} {{}}", self._plain(left), self._plain(right))

    def _strict(self, sql: str, *operands: Plain) -> Plain:
        """A truth of values; none if one of them is."""
        values = [operand.value for operand in operands]
        made = self.layers.add(sql.format(*(value.sql for value in values)), *values)
        return Plain(made, self.layers.most(*(operand.status for operand in operands)))

    def _logic(self, left: Plain, right: Plain, decisive: bool) -> Plain:
        on, word = self.layers, "" if decisive else "NOT "
        sides = [f"({side.status.sql} = 0 AND {word}{side.value.sql})" for side in (left, right)]
        parts = (left.value, left.status, right.value, right.status)
        decided = on.add(f"({sides[0]} OR {sides[1]})", *parts)
        status = on.add(f"if({decided.sql}, 0, greatest({left.status.sql}, {right.status.sql}))", decided, *parts)
        return Plain(decided if decisive else on.add(f"NOT {decided.sql}", decided), status)

    def _one_of(self, operand: tree.Node, options: Sequence[tree.Literal], kind: tree.Kind) -> Plain:
        if kind is tree.Kind.number:
            number = self._number(operand)
            found = [self._numbers.comparison("=", number, self._number(option)) for option in options]
            return self._strict(f"({' OR '.join(['{}'] * len(found))})", *found)
        values = [self._plain(operand), *(self._plain(option) for option in options)]
        return self._strict(f"{{}} IN ({', '.join(['{}'] * len(options))})", *values)

    def _condition(self, test: Plain, then: Value, otherwise: Value) -> Value:
        on, truth = self.layers, test.value
        status = on.choice(truth, then.status, otherwise.status)
        if test.status != FINE:
            status = on.add(f"if({test.status.sql} = 0, {status.sql}, {test.status.sql})", test.status, status)
        if isinstance(then, Number) and isinstance(otherwise, Number):
            chosen = self._numbers.chosen(truth, then, otherwise)
            return Number(chosen.n, chosen.d, chosen.n_digits, chosen.d_digits, status)
        assert isinstance(then, Plain)
        assert isinstance(otherwise, Plain)
        return Plain(on.choice(truth, then.value, otherwise.value), status)

    def _call(self, node: tree.Call) -> Value:
        match node.function:
            case tree.Function.size:
                text = self._plain(node.arguments[0])
                size = self.layers.add(f"toInt256(lengthUTF8({text.value.sql}))", text.value)
                return Number(size, ONE, small(10), small(0), text.status)
            case tree.Function.contains:
                return self._strict("position({}, {}) > 0", *map(self._plain, node.arguments))
            case tree.Function.starts_with:
                return self._strict("startsWith({}, {})", *map(self._plain, node.arguments))
            case tree.Function.ends_with:
                return self._strict("endsWith({}, {})", *map(self._plain, node.arguments))
            case tree.Function.pow:
                exponent = node.arguments[1]
                assert isinstance(exponent, tree.Literal)
                return self._numbers.power(self._number(node.arguments[0]), int(exponent.value))
            case tree.Function.min | tree.Function.max:
                relation = "<" if node.function is tree.Function.min else ">"
                return self._numbers.extreme(relation, [self._number(each) for each in node.arguments])
        whole = {
            tree.Function.abs: self._numbers.absolute,
            tree.Function.ceil: self._numbers.ceil,
            tree.Function.floor: self._numbers.floor,
            tree.Function.round: self._numbers.round,
            tree.Function.int: self._numbers.cut,
        }[node.function]
        return whole(self._number(node.arguments[0]))


def _added(node: tree.Node) -> list[tree.Node]:
    """What a chain of additions adds, in its order."""
    found, waiting = [], [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, tree.Arithmetic) and part.operator is tree.Operator.add:
            waiting += [part.right, part.left]
        else:
            found.append(part)
    return found


def paths_of(node: tree.Node) -> tuple[Path, ...]:
    """The properties that an expression reads, each once."""
    found: dict[Path, None] = {}
    waiting: list[Any] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, tree.Property | tree.Has):
            found[part.path] = None
        elif isinstance(part, tuple):
            waiting += part
        elif isinstance(part, tree.Node):
            waiting += [getattr(part, name) for name in part.__slots__]
    return tuple(sorted(found))
