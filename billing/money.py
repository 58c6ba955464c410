"""Numbers: exact sums, the one rounding, splitting, and the text form of decimals.

Owns the 50-digit context and the only rounding function of the code base. Does not know prices or invoices.
Rules: billing-rules.md section 1.
"""

import re
from collections.abc import Iterable, Sequence
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation, Overflow
from fractions import Fraction
from functools import lru_cache, reduce
from math import lcm
from typing import Final

from iso4217 import Currency

from billing.errors import Invalid, InvariantBroken

Number = Decimal | Fraction | int

# Python's default of 28 digits silently rounds a Decimal(38, 12). `Inexact` is trapped: sums never round.
CONTEXT: Final = Context(prec=50, rounding=ROUND_HALF_UP, traps=[Inexact, InvalidOperation, Overflow])
_UNBOUNDED: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation, Overflow])
ZERO: Final = Decimal(0)
NOTHING: Final = Fraction(0)
WHOLE: Final = Fraction(1)
SHOWN_PLACES: Final = 12
INTEGER_DIGITS_MAX: Final = 23  # NUMERIC(38, 15) holds 23 digits before the point
_DECIMAL_TEXT: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_TEXT_LENGTH_MAX: Final = 100


@lru_cache(maxsize=512)
def exponent(currency: str) -> int:
    """Digits after the point of a currency (ISO 4217): usd 2, jpy 0, kwd 3, clf 4. Raises Invalid for unknown codes."""
    try:
        digits = Currency(currency.upper()).exponent
    except ValueError:
        digits = None
    if digits is None or not currency.islower():
        raise Invalid(
            f"currency {currency!r} is not known; write a lower-case ISO 4217 code with a minor unit, such as 'usd'",
            field="currency",
        )
    return digits


@lru_cache(maxsize=65_536)
def fraction_of(value: Decimal) -> Fraction:
    """`value` as a fraction. Prices and tiers come again and again: the conversion is worth remembering."""
    return Fraction(value)


def round_amount(value: Number, currency: str) -> Decimal:
    """`value` (major units) at the currency's exponent, half away from zero. The only rounding of amounts there is."""
    return round_places(value, exponent(currency))


def round_places(value: Number, places: int) -> Decimal:
    """`value` at `places` digits after the point, half away from zero; exact, for numbers of any size."""
    numerator, divisor = value.as_integer_ratio()
    units = (2 * abs(numerator) * 10**places + divisor) // (2 * divisor)
    return _from_units(units if numerator >= 0 else -units, places)


def is_rounded(value: Decimal, currency: str) -> bool:
    """Whether an amount has no more digits than its currency."""
    return value == round_amount(value, currency)


def total(values: Iterable[Decimal]) -> Decimal:
    """Exact sum; raises decimal.Inexact rather than lose a digit beyond 50."""
    return reduce(CONTEXT.add, values, ZERO)


def exact_total(values: Iterable[Number]) -> Fraction:
    """Exact sum, over one common denominator: reduced once, where adding one by one would reduce at every step."""
    ratios = [value.as_integer_ratio() for value in values]
    unit = lcm(*(divisor for _, divisor in ratios))
    return Fraction(sum(numerator * (unit // divisor) for numerator, divisor in ratios), unit)


def product(left: Number, right: Number) -> Fraction:
    """Exact product, reduced once."""
    numerator, denominator = left.as_integer_ratio()
    factor, divisor = right.as_integer_ratio()
    return Fraction(numerator * factor, denominator * divisor)


def minus(left: Decimal, right: Decimal) -> Decimal:
    """Exact `left` - `right`."""
    return CONTEXT.subtract(left, right)


def negated(value: Decimal) -> Decimal:
    """-`value`, with a plain 0 for 0."""
    return value.copy_negate() if value else value.copy_abs()


def allocate(amount: Decimal, weights: Sequence[Number], currency: str) -> tuple[Decimal, ...]:
    """Split `amount` in proportion to non-negative `weights`; parts are rounded and add up to `amount`.

    Largest remainder, ties to the earlier part. Raises InvariantBroken when there is nothing to split on.
    """
    whole = exact_total(weights)
    if any(weight < 0 for weight in weights) or (whole == 0 and amount != 0):
        raise InvariantBroken("an amount can only be split by non-negative weights that are not all 0")
    if whole == 0:
        return tuple(round_amount(0, currency) for _ in weights)
    a_unit = Fraction(amount) / whole
    return apportion(amount, [product(weight, a_unit) for weight in weights], currency)


def apportion(amount: Decimal, shares: Sequence[Fraction], currency: str) -> tuple[Decimal, ...]:
    """Round exact `shares` (of any sign) so that they add up to `amount`, the rounded sum of them.

    Each share is cut down to the minor unit; the units that are missing go to the largest remainders, ties to the
    earlier share. Raises InvariantBroken if `amount` is not the rounded sum.
    """
    places = exponent(currency)
    scale = 10**places
    unit = lcm(*(share.denominator for share in shares))
    # every share in whole parts of a minor unit, `unit` of them each: all that follows is arithmetic of integers
    exact = [share.numerator * (unit // share.denominator) * scale for share in shares]
    units = [one // unit for one in exact]
    missing = int(amount.scaleb(places, CONTEXT)) - sum(units)
    if not 0 <= missing <= len(shares) or not is_rounded(amount, currency):
        raise InvariantBroken(f"shares of {decimal_text(amount)} {currency} do not add up to it")
    by_remainder = sorted(range(len(shares)), key=lambda index: exact[index] % unit, reverse=True)
    for index in by_remainder[:missing]:
        units[index] += 1
    return tuple(_from_units(count, places) for count in units)


def decimal_text(value: Decimal) -> str:
    """Wire form of a decimal: no exponent, no trailing zeros, no "-0"."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def amount_text(value: Decimal, currency: str) -> str:
    """An amount for people, with all digits of its currency: "12.50"."""
    return format(round_amount(value, currency), "f")


def shown_decimal(value: Number) -> Decimal:
    """An exact number as it is shown and stored: 12 digits after the point, half away from zero."""
    return round_places(value, SHOWN_PLACES)


def parse_decimal(value: object, field: str, places: int = 15) -> Decimal:
    """A decimal from the wire (text, int or Decimal), exactly. Raises Invalid naming `field`.

    Floats are refused, they have lost digits already; so are more than `places` digits after the point and more than 23
    before it.
    """
    number = _read_decimal(value, field)
    if number.is_zero():
        return ZERO
    digits = number.as_tuple()
    zeros_behind = next(place for place, digit in enumerate(reversed(digits.digits)) if digit)
    if -(int(digits.exponent) + zeros_behind) > places:
        raise Invalid(f"{field} has more than {places} digits after the point: {number}", field=field)
    if number.adjusted() >= INTEGER_DIGITS_MAX:
        raise Invalid(f"{field} has more than {INTEGER_DIGITS_MAX} digits before the point: {number}", field=field)
    return Decimal(decimal_text(number))


def _read_decimal(value: object, field: str) -> Decimal:
    if isinstance(value, Decimal) and value.is_finite():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and len(value) <= _TEXT_LENGTH_MAX and _DECIMAL_TEXT.fullmatch(value):
        return Decimal(value)
    shown = str(value)[:40]
    raise Invalid(f"{field} must be a decimal number written as text, such as '12.50'; got {shown!r}", field=field)


def _from_units(units: int, places: int) -> Decimal:
    """`units` minor units as a Decimal with `places` digits, of any size."""
    return Decimal(units).scaleb(-places, _UNBOUNDED)
