"""Exact fractions as columns of 256-bit integers, one layer of a statement upon the other.

Owns the arithmetic: a number is a numerator, a denominator above 0, bounds on their digits, and a status. Where 256
bits might not hold a step the status is UNDECIDED, and whoever reads the result computes that event by
billing.expressions. ClickHouse copies an alias into each place that names it, so that a chain of them grows without
bounds; a column of a sub-query is computed once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import lcm
from typing import Final

DECIDED: Final = 0
NO_VALUE: Final = 1
UNDECIDED: Final = 2
DIGITS: Final = 75
"""Of an integer of 256 bits, with room for one step."""
LEVELS_MAX: Final = 60
"""ClickHouse takes 100 sub-queries inside each other."""


class TooWide(Exception):
    """A constant does not fit, or an expression is too deep."""


@dataclass(frozen=True, slots=True)
class Column:
    """SQL that can be named once `level` layers are computed; `value` is that of a constant."""

    sql: str
    level: int = 0
    value: int | None = None


def integer(value: int) -> Column:
    """A constant of 256 bits."""
    if abs(value) > 10**DIGITS:
        raise TooWide
    return Column(f"toInt256('{value}')", 0, value)


def small(value: int) -> Column:
    """A constant status or number of digits."""
    return Column(str(value), 0, value)


FINE: Final = small(DECIDED)
ONE: Final = integer(1)


@dataclass(frozen=True, slots=True)
class Number:
    """The fraction `n` / `d`; `n_digits` and `d_digits` bound them: at most 10 to that power."""

    n: Column
    d: Column
    n_digits: Column
    d_digits: Column
    status: Column = FINE


@dataclass(frozen=True, slots=True)
class Plain:
    """A text, or a truth (0 or 1)."""

    value: Column
    status: Column = FINE


@dataclass(slots=True)
class Layers:
    """The layers of one statement; the columns of a layer may name those of the layers below it."""

    columns: list[list[str]] = field(default_factory=list)
    _known: dict[str, Column] = field(default_factory=dict)

    def add(self, sql: str, *parts: Column) -> Column:
        """A column of its own for `sql`, which is made of `parts`; the same SQL is the same column."""
        found = self._known.get(sql)
        if found is not None:
            return found
        level = 1 + max((part.level for part in parts), default=0)
        if level > LEVELS_MAX:
            raise TooWide
        while len(self.columns) < level:
            self.columns.append([])
        made = self._known[sql] = Column(f"e_{len(self._known)}", level)
        self.columns[level - 1].append(f"{sql} AS {made.sql}")
        return made

    def wrap(self, select: str) -> str:
        """`select` with the layers around it, innermost first."""
        for columns in self.columns:
            select = f"SELECT *, {', '.join(columns)} FROM (\n{select}\n)"
        return select

    def times(self, left: Column, right: Column) -> Column:
        """left * right"""
        if left.value is not None and right.value is not None:
            return integer(left.value * right.value)
        if left.value == 1:
            return right
        return left if right.value == 1 else self.add(f"{left.sql} * {right.sql}", left, right)

    def plus(self, left: Column, right: Column, sign: str = "+") -> Column:
        """left + right, or left - right"""
        if left.value is not None and right.value is not None:
            return integer(left.value + right.value if sign == "+" else left.value - right.value)
        return self.add(f"{left.sql} {sign} {right.sql}", left, right)

    def digits(self, *parts: Column) -> Column:
        """The digits of a product: their sum."""
        known = sum(part.value or 0 for part in parts)
        dynamic = [part for part in parts if part.value is None]
        if not dynamic:
            return small(known)
        if not known and len(dynamic) == 1:
            return dynamic[0]
        sql = " + ".join(part.sql for part in dynamic) + (f" + {known}" if known else "")
        return self.add(sql, *dynamic)

    def most(self, *parts: Column) -> Column:
        """The largest of some statuses or numbers of digits."""
        known = max((part.value for part in parts if part.value is not None), default=0)
        dynamic = list({part.sql: part for part in parts if part.value is None}.values())
        if not dynamic:
            return small(known)
        if not known and len(dynamic) == 1:
            return dynamic[0]
        listed = [part.sql for part in dynamic] + ([str(known)] if known else [])
        return self.add(f"greatest({', '.join(listed)})", *dynamic)

    def fitting(self, status: Column, *digits: Column) -> Column:
        """`status`, or UNDECIDED where integers of so many digits may not fit."""
        if any(one.value is not None and one.value > DIGITS for one in digits):
            raise TooWide
        dynamic = list({one.sql: one for one in digits if one.value is None}.values())
        if not dynamic:
            return status
        wide = " OR ".join(f"{one.sql} > {DIGITS}" for one in dynamic)
        own = self.add(f"toUInt8(if({wide}, {UNDECIDED}, 0))", *dynamic)
        return self.most(status, own)

    def choice(self, test: Column, then: Column, otherwise: Column) -> Column:
        """if(test, then, otherwise)"""
        if then == otherwise:
            return then
        return self.add(f"if({test.sql}, {then.sql}, {otherwise.sql})", test, then, otherwise)

    def quotient(self, numerator: Column, divisor: Column, status: Column) -> Column:
        """numerator / divisor cut towards 0; where the status says that the divisor may be anything, anything."""
        if divisor.value is not None or status == FINE:
            return self.add(f"intDiv({numerator.sql}, {divisor.sql})", numerator, divisor)
        safe = f"if({status.sql} = 0, {divisor.sql}, {ONE.sql})"
        return self.add(f"intDiv({numerator.sql}, {safe})", numerator, divisor, status)


def constant(numerator: int, denominator: int) -> Number:
    """A fraction that is written out."""
    return Number(
        integer(numerator), integer(denominator), small(len(str(abs(numerator)))), small(_digits(denominator))
    )


def _digits(value: int) -> int:
    """The least power of 10 that is not below."""
    return len(str(value - 1)) if value > 1 else 0


def in_pairs(combine: Callable[[Number, Number], Number], numbers: Sequence[Number]) -> Number:
    """All of them combined, neighbours first: a statement gets no deeper than the logarithm of how many there are."""
    while len(numbers) > 1:
        pairs = [combine(*numbers[at : at + 2]) for at in range(0, len(numbers) - 1, 2)]
        numbers = [*pairs, *numbers[2 * len(pairs) :]]
    return numbers[0]


class Arithmetic:
    """What can be computed of numbers, column by column."""

    def __init__(self, layers: Layers) -> None:
        self._on = layers

    def sum(self, left: Number, right: Number, sign: str = "+") -> Number:
        """left + right, or left - right"""
        on, status = self._on, self._on.most(left.status, right.status)
        if left.d.value is not None and right.d.value is not None:
            common = lcm(left.d.value, right.d.value)
            left, right = self._over(left, common), self._over(right, common)
            n, d, d_digits = on.plus(left.n, right.n, sign), integer(common), small(_digits(common))
            return Number(n, d, on.digits(on.most(left.n_digits, right.n_digits), small(1)), d_digits, status)
        n = on.plus(on.times(left.n, right.d), on.times(right.n, left.d), sign)
        n_digits = on.most(on.digits(left.n_digits, right.d_digits), on.digits(right.n_digits, left.d_digits))
        d_digits = on.digits(left.d_digits, right.d_digits)
        return Number(n, on.times(left.d, right.d), on.digits(n_digits, small(1)), d_digits, status)

    def product(self, left: Number, right: Number) -> Number:
        """left * right"""
        on = self._on
        return Number(
            on.times(left.n, right.n),
            on.times(left.d, right.d),
            on.digits(left.n_digits, right.n_digits),
            on.digits(left.d_digits, right.d_digits),
            on.most(left.status, right.status),
        )

    def quotient(self, left: Number, right: Number) -> Number:
        """left / right; no value where right is 0."""
        return self.product(left, self.reciprocal(right))

    def reciprocal(self, number: Number) -> Number:
        """1 / number; no value of 0."""
        on, n = self._on, number.n
        if n.value is not None and number.d.value is not None:
            if n.value == 0:
                return Number(integer(0), ONE, small(0), small(0), on.most(number.status, small(NO_VALUE)))
            sign = 1 if n.value > 0 else -1
            upper, lower = integer(sign * number.d.value), integer(abs(n.value))
        else:
            upper = on.add(f"if({n.sql} < 0, -{number.d.sql}, {number.d.sql})", n, number.d)
            lower = on.add(f"toInt256(abs({n.sql}))", n)
        none = FINE if n.value is not None else on.add(f"toUInt8({n.sql} = 0)", n)
        return Number(upper, lower, number.d_digits, number.n_digits, on.most(number.status, none))

    def remainder(self, left: Number, right: Number) -> Number:
        """left - right * (left / right cut towards 0)"""
        return self.sum(left, self.product(right, self.cut(self.quotient(left, right))), "-")

    def power(self, number: Number, exponent: int) -> Number:
        """number to a whole power."""
        if exponent < 0:
            return self.power(self.reciprocal(number), -exponent)
        if exponent == 0:
            return Number(ONE, ONE, small(0), small(0), number.status)
        half = self.power(number, exponent // 2) if exponent > 1 else None
        if half is None:
            return number
        square = self.product(half, half)
        return self.product(square, number) if exponent % 2 else square

    def negative(self, number: Number) -> Number:
        """-number"""
        n = number.n
        turned = integer(-n.value) if n.value is not None else self._on.add(f"-{n.sql}", n)
        return Number(turned, number.d, number.n_digits, number.d_digits, number.status)

    def absolute(self, number: Number) -> Number:
        """The number without its sign."""
        n = self._on.add(f"toInt256(abs({number.n.sql}))", number.n)
        return Number(n, number.d, number.n_digits, number.d_digits, number.status)

    def cut(self, number: Number) -> Number:
        """Cut towards 0."""
        return self._whole(number, "{n}")

    def floor(self, number: Number) -> Number:
        """The next whole number below."""
        return self._whole(number, "if({n} < 0, {n} - {d} + 1, {n})")

    def ceil(self, number: Number) -> Number:
        """The next whole number above."""
        return self._whole(number, "if({n} > 0, {n} + {d} - 1, {n})")

    def round(self, number: Number) -> Number:
        """Half away from 0."""
        return self._whole(number, "if({n} < 0, {n} * 2 - {d}, {n} * 2 + {d})", 2)

    def _whole(self, number: Number, numerator: str, factor: int = 1) -> Number:
        on, n, d = self._on, number.n, number.d
        n_digits = on.digits(on.most(number.n_digits, number.d_digits), small(1))
        status = on.fitting(number.status, n_digits)
        upper = on.add(numerator.format(n=n.sql, d=d.sql), n, d)
        whole = on.quotient(upper, on.times(d, integer(factor)), status)
        return Number(whole, ONE, n_digits, small(0), status)

    def comparison(self, relation: str, left: Number, right: Number) -> Plain:
        """`left` = != < <= > >= `right`"""
        on = self._on
        upper, lower = on.times(left.n, right.d), on.times(right.n, left.d)
        digits = on.digits(left.n_digits, right.d_digits), on.digits(right.n_digits, left.d_digits)
        status = on.fitting(on.most(left.status, right.status), *digits)
        return Plain(on.add(f"{upper.sql} {relation} {lower.sql}", upper, lower), status)

    def extreme(self, relation: str, numbers: Sequence[Number]) -> Number:
        """The least (`<`) or the largest (`>`) of some."""

        def better(left: Number, right: Number) -> Number:
            test = self.comparison(relation, left, right)
            chosen = self.chosen(test.value, left, right)
            return Number(chosen.n, chosen.d, chosen.n_digits, chosen.d_digits, test.status)

        return in_pairs(better, numbers)

    def chosen(self, test: Column, then: Number, otherwise: Number) -> Number:
        """One of two, with its status."""
        on = self._on
        return Number(
            on.choice(test, then.n, otherwise.n),
            on.choice(test, then.d, otherwise.d),
            on.choice(test, then.n_digits, otherwise.n_digits),
            on.choice(test, then.d_digits, otherwise.d_digits),
            on.choice(test, then.status, otherwise.status),
        )

    def _over(self, number: Number, denominator: int) -> Number:
        """The same over another denominator, a multiple of its own."""
        factor = denominator // (number.d.value or 1)
        n, digits = self._on.times(number.n, integer(factor)), self._on.digits(number.n_digits, small(_digits(factor)))
        return Number(n, integer(denominator), digits, small(_digits(denominator)), number.status)
