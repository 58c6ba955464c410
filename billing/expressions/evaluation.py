"""Expressions applied to events: exact numbers, rounded once.

Owns the values of a tree. It is turned into functions once; None is a value that does not exist, and behaves as NULL
does in SQL: it makes everything that needs it None, but false && none is false, and true || none is true.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, trunc
from typing import Any, Final

from billing.event_values import as_fraction, counted_value, number_in, scalar_text, value_at
from billing.expressions.parsing import NUMBER_PLACES, parse_expression
from billing.expressions.tree import (
    Arithmetic,
    Comparison,
    Condition,
    Either,
    Every,
    Function,
    Has,
    Kind,
    Literal,
    Negative,
    Node,
    Not,
    OneOf,
    Operator,
    Property,
    Relation,
)
from billing.money import round_places

Properties = Mapping[str, object]
Value = Fraction | str | bool
Evaluate = Callable[[Properties], Any]
"""From the properties of an event to a Value of the node's kind, or None."""


def expression_value(text: str, properties: Properties, multiplier: Decimal | None = None) -> Decimal | None:
    """The expression's number times `multiplier`, rounded once at 12 digits after the point, half away from zero.

    None where it is rejected: an error, a negative number, 10^26 and more.
    """
    value: Fraction | None = compiled(text)(properties)
    if value is None:
        return None
    return counted_value(value if multiplier is None else value * Fraction(multiplier))


@lru_cache(maxsize=4096)
def compiled(text: str) -> Evaluate:
    """The function of an expression. Raises Invalid for one that billing cannot use."""
    return _function(parse_expression(text))


def _function(node: Node) -> Evaluate:
    match node:
        case Literal(value):
            constant = Fraction(value) if isinstance(value, Decimal) else value
            return lambda properties: constant
        case Property(path, kind):
            return _reading(path, kind)
        case Has(path):
            return lambda properties: value_at(properties, path) is not None
        case Negative(operand):
            return _strict(lambda number: -number, (operand,))
        case Not(operand):
            return _strict(lambda truth: not truth, (operand,))
        case Arithmetic(operator, left, right):
            return _strict(_OPERATORS[operator], (left, right))
        case Comparison(relation, left, right):
            return _strict(_RELATIONS[relation], (left, right))
        case Every(left, right):
            return _logic(left, right, decisive=False)
        case Either(left, right):
            return _logic(left, right, decisive=True)
        case OneOf(operand, options):
            values = frozenset(_function(option)({}) for option in options)
            return _strict(lambda value: value in values, (operand,))
        case Condition():
            return _choice(node)
    return _strict(_FUNCTIONS[node.function], node.arguments)


def _strict(operation: Callable[..., Value | None], operands: tuple[Node, ...]) -> Evaluate:
    """`operation` of the operands; None if one of them is."""
    functions = tuple(_function(operand) for operand in operands)

    def evaluate(properties: Properties) -> Value | None:
        values = []
        for function in functions:
            value = function(properties)
            if value is None:
                return None
            values.append(value)
        return operation(*values)

    return evaluate


def _logic(left: Node, right: Node, decisive: bool) -> Evaluate:
    """`decisive` if either side is, whatever the other."""
    functions = (_function(left), _function(right))

    def evaluate(properties: Properties) -> bool | None:
        values = [function(properties) for function in functions]
        if decisive in values:
            return decisive
        return None if None in values else not decisive

    return evaluate


def _choice(node: Condition) -> Evaluate:
    test, then, otherwise = _function(node.test), _function(node.then), _function(node.otherwise)

    def evaluate(properties: Properties) -> Value | None:
        chosen = test(properties)
        if chosen is None:
            return None
        value: Value | None = then(properties) if chosen else otherwise(properties)
        return value

    return evaluate


def _reading(path: tuple[str, ...], kind: Kind | None) -> Evaluate:
    if kind is Kind.number:
        return lambda properties: _number(scalar_text(value_at(properties, path)))
    if kind is Kind.boolean:
        return lambda properties: {"true": True, "false": False}.get(scalar_text(value_at(properties, path)) or "")
    return lambda properties: scalar_text(value_at(properties, path))


def _number(text: str | None) -> Fraction | None:
    number = number_in(text)
    return None if number is None else as_fraction(number, NUMBER_PLACES)


def _divided(left: Fraction, right: Fraction) -> Fraction | None:
    return left / right if right else None


def _remainder(left: Fraction, right: Fraction) -> Fraction | None:
    return left - right * trunc(left / right) if right else None


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    return None if not base and exponent < 0 else base ** int(exponent)


def _rounded(number: Fraction) -> Fraction:
    return Fraction(round_places(number, 0))


_OPERATORS: Final[Mapping[Operator, Callable[[Fraction, Fraction], Fraction | None]]] = {
    Operator.add: lambda left, right: left + right,
    Operator.subtract: lambda left, right: left - right,
    Operator.multiply: lambda left, right: left * right,
    Operator.divide: _divided,
    Operator.remainder: _remainder,
}
_RELATIONS: Final[Mapping[Relation, Callable[[Any, Any], bool]]] = {
    Relation.equal: lambda left, right: left == right,
    Relation.unequal: lambda left, right: left != right,
    Relation.less: lambda left, right: left < right,
    Relation.at_most: lambda left, right: left <= right,
    Relation.greater: lambda left, right: left > right,
    Relation.at_least: lambda left, right: left >= right,
}
_FUNCTIONS: Final[Mapping[Function, Callable[..., Value | None]]] = {
    Function.abs: abs,
    Function.ceil: lambda number: Fraction(ceil(number)),
    Function.floor: lambda number: Fraction(floor(number)),
    Function.round: _rounded,
    Function.int: lambda number: Fraction(trunc(number)),
    Function.min: lambda *numbers: min(numbers),
    Function.max: lambda *numbers: max(numbers),
    Function.pow: _power,
    Function.size: lambda text: Fraction(len(text)),
    Function.contains: lambda text, part: part in text,
    Function.starts_with: lambda text, part: text.startswith(part),
    Function.ends_with: lambda text, part: text.endswith(part),
}
