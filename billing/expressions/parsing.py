"""From the text of an expression to its tree: the part of CEL that has an exact result, by the grammar of cel-python.

Owns which constructs billing can use, and why it refuses the others: each time an Invalid of the field
`aggregation.expression`. Properties are variables by name (`tokens`, `usage.tokens`, `properties['input-tokens']`).
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, cast

from billing.errors import Invalid
from billing.event_values import as_fraction
from billing.expressions.tree import (
    Arithmetic,
    Call,
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
    kind_of,
)

if TYPE_CHECKING:
    from celpy.celparser import CELParser
    from lark import Token, Tree

FIELD: Final = "aggregation.expression"
LENGTH_MAX: Final = 2000
OPERATIONS_MAX: Final = 100
EXPONENT_MAX: Final = 20
NUMBER_PLACES: Final = 38
"""Digits after the point that a number in an expression may have; together with 10^26 they fit 76 digits."""

_ALL: Final = "properties"
_RESERVED: Final = {
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
    "namespace", "return", "var", "void", "while",
}  # fmt: skip
_INEXACT: Final = {
    "sqrt", "cbrt", "log", "ln", "log2", "log10", "exp", "sin", "cos", "tan", "double", "random", "now",
}  # fmt: skip
_ARGUMENTS: Final[Mapping[Function, tuple[Kind, int, int]]] = {
    Function.abs: (Kind.number, 1, 1),
    Function.ceil: (Kind.number, 1, 1),
    Function.floor: (Kind.number, 1, 1),
    Function.round: (Kind.number, 1, 1),
    Function.int: (Kind.number, 1, 1),
    Function.min: (Kind.number, 1, OPERATIONS_MAX),
    Function.max: (Kind.number, 1, OPERATIONS_MAX),
    Function.pow: (Kind.number, 2, 2),
    Function.size: (Kind.text, 1, 1),
    Function.contains: (Kind.text, 2, 2),
    Function.starts_with: (Kind.text, 2, 2),
    Function.ends_with: (Kind.text, 2, 2),
}
"""What each function takes: the kind of its arguments, the least and the largest number of them."""

_METHODS: Final = (Function.size, Function.contains, Function.starts_with, Function.ends_with)
"""Written `text.contains(part)`; `size(text)` is both."""


@lru_cache(maxsize=4096)
def parse_expression(text: str) -> Node:
    """The tree of an expression whose value is a number. Raises Invalid, saying what billing cannot use and why."""
    if not text.strip() or len(text) > LENGTH_MAX:
        raise _refused(f"must be a CEL expression of at most {LENGTH_MAX} characters")
    tree = _syntax(text)
    if sum(len(part.children) > 1 for part in tree.iter_subtrees()) > OPERATIONS_MAX:
        raise _refused(f"must not have more than {OPERATIONS_MAX} operations")
    return _as(_node(tree), Kind.number, "the expression")


def _syntax(text: str) -> "Tree[Token]":
    from celpy.celparser import CELParseError  # imports much; most meters have no expression

    try:
        return _parser().parse(text)
    except CELParseError as error:
        where = f" at line {error.line}, column {error.column}" if error.line and error.line > 0 else ""
        raise _refused(f"is not CEL: it cannot be understood{where}") from None


@lru_cache(maxsize=1)
def _parser() -> "CELParser":
    from celpy.celparser import CELParser

    return CELParser()


def _node(tree: "Tree[Token]") -> Node:
    tree = _meant(tree)
    if tree.data in _NO_VALUES:
        raise _refused(f"must not hold {_NO_VALUES[tree.data]}: it has no exact number")
    return (_SINGLE.get(tree.data) or _COMBINED[tree.data])(tree)


def _meant(tree: "Tree[Token]") -> "Tree[Token]":
    """The part that says something: a rule of the grammar with one child only passes it on."""
    while len(tree.children) == 1 and tree.data not in _SINGLE and tree.data not in _NO_VALUES:
        tree = _subtree(tree, 0)
    return tree


def _condition(tree: "Tree[Token]") -> Node:
    test, then, otherwise = (_node(_subtree(tree, place)) for place in range(3))
    kind = kind_of(then) or kind_of(otherwise)
    if kind is not None:
        then, otherwise = _as(then, kind, "one side of ? :"), _as(otherwise, kind, "one side of ? :")
    return Condition(_as(test, Kind.boolean, "what stands before ?"), then, otherwise)


def _either(tree: "Tree[Token]") -> Node:
    return Either(*(_as(_node(_subtree(tree, place)), Kind.boolean, "a side of ||") for place in (0, 1)))


def _every(tree: "Tree[Token]") -> Node:
    return Every(*(_as(_node(_subtree(tree, place)), Kind.boolean, "a side of &&") for place in (0, 1)))


def _arithmetic(operator: Operator, tree: "Tree[Token]") -> Node:
    sides = (_subtree(_subtree(tree, 0), 0), _subtree(tree, 1))
    left, right = (_as(_node(side), Kind.number, f"a side of {operator}") for side in sides)
    return Arithmetic(operator, left, right)


def _comparison(relation: Relation, tree: "Tree[Token]") -> Node:
    """Two properties are compared as texts, as filters do it; only numbers have an order."""
    left, right = _node(_subtree(_subtree(tree, 0), 0)), _node(_subtree(tree, 1))
    ordered = relation not in (Relation.equal, Relation.unequal)
    kind = Kind.number if ordered else kind_of(left) or kind_of(right) or Kind.text
    where = f"a side of {relation}"
    return Comparison(relation, _as(left, kind, where), _as(right, kind, where), kind)


def _one_of(tree: "Tree[Token]") -> Node:
    operand, listed = _node(_subtree(_subtree(tree, 0), 0)), _meant(_subtree(tree, 1))
    options = [_node(each) for each in _arguments(listed)] if listed.data == "list_lit" else []
    literals = tuple(option for option in options if isinstance(option, Literal))
    if not literals or len(literals) != len(options):
        raise _refused("must have a list of written values behind in, such as region in ['eu', 'us']")
    kind = kind_of(literals[0]) or Kind.text
    for literal in literals:
        _as(literal, kind, "a value behind in")
    return OneOf(_as(operand, kind, "what stands before in"), literals, kind)


def _operation(tree: "Tree[Token]") -> Node:
    """relation, addition and multiplication: the operator is the name of the first of two children."""
    return _OPERATIONS[_subtree(tree, 0).data](tree)


def _unary(tree: "Tree[Token]") -> Node:
    operand = _node(_subtree(tree, 1))
    if _subtree(tree, 0).data == "unary_not":
        return Not(_as(operand, Kind.boolean, "what stands behind !"))
    return Negative(_as(operand, Kind.number, "what stands behind -"))


def _identifier(tree: "Tree[Token]") -> Node:
    name = str(tree.children[0])
    if name in _RESERVED:
        raise _refused(f"must not use {name!r}: CEL reserves it; a property of that name is {_ALL}[{name!r}]")
    return Property(() if name == _ALL else (name,))


def _member(tree: "Tree[Token]") -> Node:
    """base.name and base['name']"""
    base = _node(_subtree(tree, 0))
    key: object = str(tree.children[1])
    if tree.data == "member_index":
        index = _node(_subtree(tree, 1))
        key = index.value if isinstance(index, Literal) else None
    if not isinstance(base, Property) or not isinstance(key, str):
        raise _refused("must name properties by their names, such as usage.tokens or properties['input-tokens']")
    return Property((*base.path, key))


def _function_call(tree: "Tree[Token]") -> Node:
    name, arguments = str(tree.children[0]), _arguments(tree)
    if name == "has":
        return _has(arguments)
    return _call(name, [_node(argument) for argument in arguments], methods=False)


def _method_call(tree: "Tree[Token]") -> Node:
    nodes = [_node(argument) for argument in _arguments(tree)]
    return _call(str(tree.children[1]), [_node(_subtree(tree, 0)), *nodes], methods=True)


def _has(arguments: list["Tree[Token]"]) -> Node:
    found = _node(arguments[0]) if len(arguments) == 1 else None
    if not isinstance(found, Property) or not found.path:
        raise _refused("must ask has() for one property, such as has(tokens)")
    return Has(found.path)


def _call(name: str, nodes: list[Node], methods: bool) -> Node:
    if name in _INEXACT:
        raise _refused(f"must not call {name}: it has no exact result; numbers are exact decimals here")
    known = [each for each in Function if (each in _METHODS if methods else each not in _METHODS[1:])]
    if name not in known:
        choice = ", ".join(known if methods else ["has", *known])
        raise _refused(f"must not call {name}: {'methods' if methods else 'functions'} that are known: {choice}")
    function = Function(name)
    kind, least, most = _ARGUMENTS[function]
    if not least <= len(nodes) <= most:
        wanted = f"{least}" if least == most else f"at least {least}"
        raise _refused(f"must give {name} {wanted} argument(s); got {len(nodes)}")
    arguments = tuple(_as(node, kind, f"an argument of {name}") for node in nodes)
    if function is Function.pow:
        _check_exponent(arguments[1])
    return Call(function, arguments)


def _check_exponent(node: Node) -> None:
    value = node.value if isinstance(node, Literal) else None
    whole = isinstance(value, Decimal) and value == value.to_integral_value() and abs(value) <= EXPONENT_MAX
    if not whole:
        raise _refused(
            f"must raise pow to a written whole number from -{EXPONENT_MAX} to {EXPONENT_MAX}: "
            "other powers have no exact result"
        )


def _literal(tree: "Tree[Token]") -> Node:
    from celpy.evaluation import celstr

    token = cast("Token", tree.children[0])
    text = str(token)
    match token.type:
        case "BOOL_LIT":
            return Literal(text == "true")
        case "INT_LIT" | "FLOAT_LIT":
            return Literal(_number(text))
        case "STRING_LIT" | "MLSTRING_LIT":
            try:
                value = str(celstr(token))
                value.encode()
            except (ValueError, OverflowError):
                raise _refused(f"has a text that is no text: {text[:40]}") from None
            if "\0" in value:
                raise _refused(f"must not hold the character NUL: {text[:40]}")
            return Literal(value)
        case "NULL_LIT":
            raise _refused("must not use null: ask has(property) whether there is a value")
    raise _refused(f"must not hold {text[:40]}: write numbers such as 60 or 0.25, and texts such as 'eu'")


def _number(text: str) -> Decimal:
    value = Decimal(int(text, 16)) if "x" in text else Decimal(text)
    if as_fraction(value, NUMBER_PLACES) is None:
        raise _refused(f"must not hold {text[:40]}: numbers are below 10^26, with {NUMBER_PLACES} decimals at most")
    return value


def _as(node: Node, kind: Kind, where: str) -> Node:
    """`node` read as `kind`. Raises Invalid for one that is something else."""
    if isinstance(node, Property):
        if not node.path:
            raise _refused(f"must name a property: {_ALL} alone is all of them")
        return Property(node.path, kind)
    if isinstance(node, Condition) and kind_of(node) is None:
        return Condition(node.test, _as(node.then, kind, where), _as(node.otherwise, kind, where))
    if kind_of(node) is not kind:
        hint = "; write (...) ? 1 : 0" if kind is Kind.number and kind_of(node) is Kind.boolean else ""
        raise _refused(f"does not fit together: {where} must be a {kind}, and is a {kind_of(node)}{hint}")
    return node


def _arguments(tree: "Tree[Token]") -> list["Tree[Token]"]:
    """The expressions in the brackets of a call or a list."""
    listed = [cast("Tree[Token]", each) for each in tree.children if getattr(each, "data", None) == "exprlist"]
    return [_subtree(each, place) for each in listed for place in range(len(each.children))]


def _subtree(tree: "Tree[Token]", place: int) -> "Tree[Token]":
    return cast("Tree[Token]", tree.children[place])


def _refused(what: str) -> Invalid:
    return Invalid(f"{FIELD} {what}", field=FIELD)


_OPERATIONS: Final[Mapping[str, Callable[["Tree[Token]"], Node]]] = {
    "addition_add": partial(_arithmetic, Operator.add),
    "addition_sub": partial(_arithmetic, Operator.subtract),
    "multiplication_mul": partial(_arithmetic, Operator.multiply),
    "multiplication_div": partial(_arithmetic, Operator.divide),
    "multiplication_mod": partial(_arithmetic, Operator.remainder),
    "relation_eq": partial(_comparison, Relation.equal),
    "relation_ne": partial(_comparison, Relation.unequal),
    "relation_lt": partial(_comparison, Relation.less),
    "relation_le": partial(_comparison, Relation.at_most),
    "relation_gt": partial(_comparison, Relation.greater),
    "relation_ge": partial(_comparison, Relation.at_least),
    "relation_in": _one_of,
}

_SINGLE: Final[Mapping[str, Callable[["Tree[Token]"], Node]]] = {
    "literal": _literal,
    "ident": _identifier,
    "ident_arg": _function_call,
    "member_dot": _member,
    "member_index": _member,
    "member_dot_arg": _method_call,
}
"""Rules that say something whatever the number of their children."""

_COMBINED: Final[Mapping[str, Callable[["Tree[Token]"], Node]]] = {
    "expr": _condition,
    "conditionalor": _either,
    "conditionaland": _every,
    "relation": _operation,
    "addition": _operation,
    "multiplication": _operation,
    "unary": _unary,
}
"""Rules that say something when they have several."""

_NO_VALUES: Final = {
    "list_lit": "a list, except behind in",
    "map_lit": "a map",
    "member_object": "a message",
    "dot_ident": "a name that begins with a dot",
    "dot_ident_arg": "a name that begins with a dot",
}
