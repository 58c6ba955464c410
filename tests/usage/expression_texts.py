"""Expressions of meters for tests: each construct once, and random ones of every kind and depth."""

import random
from typing import Final

WRITTEN: Final = (
    "value / 60",
    "ceil(value / 60) * 60",
    "(value * 3 + other * 15) / 1000000",
    "value / other",
    "value * other * other",
    "model in ['a', '1', '2.5'] ? value * 2 : value",
    "has(usage.tokens) ? usage.tokens - value : value",
    "max(value, other, 5) - min(value, other, 5)",
    "model.startsWith('a') && !up ? 10 : 1",
    "value % 7 + 3",
    "-value % other",
    "pow(value, 3) + pow(other, -2)",
    "round(value * 100) / 100 + int(other) + floor(-value) + abs(-other)",
    "size(model) + (model.contains(usage.model) ? 1 : 0) + (model.endsWith('b') ? 2 : 0)",
    "value > other || other == 0 ? value : other",
    "model == usage.model && value != 1 ? 3.25 : 1 / 3",
    "value in [61, 7, 0.5] ? 1 : value >= 100 ? 2 : value <= 1 ? 0.000000000001 : value",
    "properties['usage']['tokens'] * 0.0000000000005",
    "properties['missing'] + 1",
    "size(value) + (value == '1.5' ? 100 : 0) + (value in ['0.0000001', '1000000000000000000000'] ? 1000 : 0)",
    r"""model == 'a\\b\t\n{c:String}\'"' || usage.model.startsWith('a\\b') ? value : 1""",
    "1 / 3",
    "value * pow(1000000, 15) / pow(1000000, 15)",  # beyond 256 bits
    " + ".join(["value"] * 70),  # beyond the layers of a statement
)

NUMBERS: Final = ("value", "other", "usage.tokens", "properties['value']")
TEXTS: Final = ("model", "usage.model", "'a'", "'b'", "''", "'1'", "'ü€😀'")
LITERALS: Final = ("0", "1", "2", "7", "60", "1000000", "0.5", "0.000001", "0.333333333333", "3e4", "-12")


def random_expression(chance: random.Random, depth: int) -> str:
    """An expression with the value of a number."""
    return _number(chance, depth)


def _number(chance: random.Random, depth: int) -> str:
    if depth <= 0 or chance.random() < 0.1:
        return chance.choice(NUMBERS) if chance.random() < 0.7 else chance.choice(LITERALS)
    one, other = _number(chance, depth - 1), _number(chance, depth - 2)
    match chance.randrange(8):
        case 0 | 1 | 2:
            return f"({one} {chance.choice('+-*/%')} {other})"
        case 3:
            return f"{chance.choice(('abs', 'ceil', 'floor', 'round', 'int'))}({one})"
        case 4:
            return f"{chance.choice(('min', 'max'))}({one}, {other}, {_number(chance, depth - 2)})"
        case 5:
            return f"pow({one}, {chance.randrange(-2, 4)})"
        case 6:
            return f"(-{_number(chance, 0)})" if chance.random() < 0.5 else f"size({chance.choice(TEXTS)})"
    return f"({_truth(chance, depth - 1)} ? {one} : {other})"


def _truth(chance: random.Random, depth: int) -> str:
    if depth <= 0:
        return chance.choice(("up", "has(value)", "has(usage)", "has(usage.tokens)", "true", "false"))
    match chance.randrange(7):
        case 0:
            return f"!{_truth(chance, 0)}"
        case 1:
            return f"({_truth(chance, depth - 1)} {chance.choice(('&&', '||'))} {_truth(chance, depth - 1)})"
        case 2:
            relation = chance.choice(("==", "!=", "<", "<=", ">", ">="))
            return f"({_number(chance, depth - 1)} {relation} {_number(chance, depth - 2)})"
        case 3:
            return f"({chance.choice(TEXTS)} {chance.choice(('==', '!='))} {chance.choice(TEXTS)})"
        case 4:
            options = chance.sample(LITERALS[:-1], 3)
            return f"({_number(chance, depth - 2)} in [{', '.join(options)}])"
        case 5:
            return f"({chance.choice(TEXTS)} in ['a', '', '1.5'])"
    return f"{chance.choice(TEXTS)}.{chance.choice(('contains', 'startsWith', 'endsWith'))}({chance.choice(TEXTS)})"
