"""What an expression says, as plain values: what evaluation computes and what SQL can be written from.

Owns the shapes only; they are made, and checked to fit together, by billing.expressions.parsing. A value is exact: a
fraction, a text, or true or false; or there is none, which is an error in CEL and NULL in SQL.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Kind(StrEnum):
    """What a value is."""

    number = "number"
    text = "text"
    boolean = "boolean"


class Operator(StrEnum):
    """Of two numbers; `%` has the sign of the left one. Division by 0 has no value."""

    add = "+"
    subtract = "-"
    multiply = "*"
    divide = "/"
    remainder = "%"


class Relation(StrEnum):
    """Of two values of one kind; the last four of numbers only."""

    equal = "=="
    unequal = "!="
    less = "<"
    at_most = "<="
    greater = ">"
    at_least = ">="


class Function(StrEnum):
    """Functions with an exact result, by their names in CEL. `round` is half away from zero, `int` cuts towards it."""

    abs = "abs"
    ceil = "ceil"
    floor = "floor"
    round = "round"
    int = "int"
    min = "min"
    max = "max"
    pow = "pow"
    size = "size"
    contains = "contains"
    starts_with = "startsWith"
    ends_with = "endsWith"


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that is written out."""

    value: Decimal | str | bool


@dataclass(frozen=True, slots=True)
class Property:
    """The property at `path`, read as `kind`: no value where it is absent or something else.

    Numbers are read from texts too, booleans from the texts true and false, texts from numbers without trailing zeros.
    """

    path: tuple[str, ...]
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class Has:
    """Whether there is anything but null at `path`."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Negative:
    """-operand"""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class Not:
    """!operand"""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """left operator right"""

    operator: Operator
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Comparison:
    """left relation right, both read as `kind`."""

    relation: Relation
    left: "Node"
    right: "Node"
    kind: Kind


@dataclass(frozen=True, slots=True)
class Every:
    """left && right: false if one is false, whatever the other."""

    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Either:
    """left || right: true if one is true, whatever the other."""

    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class OneOf:
    """operand in [options], compared as `kind`."""

    operand: "Node"
    options: tuple[Literal, ...]
    kind: Kind


@dataclass(frozen=True, slots=True)
class Condition:
    """test ? then : otherwise"""

    test: "Node"
    then: "Node"
    otherwise: "Node"


@dataclass(frozen=True, slots=True)
class Call:
    """function(arguments); the exponent of `pow` is a whole Literal."""

    function: Function
    arguments: tuple["Node", ...]


Node = (
    Literal | Property | Has | Negative | Not | Arithmetic | Comparison | Every | Either | OneOf | Condition | Call
)  # fmt: skip


def kind_of(node: Node) -> Kind | None:
    """What the value of `node` is; None of a property that may still be read as anything."""
    match node:
        case Literal(bool()) | Has() | Not() | Comparison() | Every() | Either() | OneOf():
            return Kind.boolean
        case Literal(str()):
            return Kind.text
        case Property(_, kind):
            return kind
        case Condition(_, then, otherwise):
            return kind_of(then) or kind_of(otherwise)
        case Call(Function.contains | Function.starts_with | Function.ends_with):
            return Kind.boolean
    return Kind.number
