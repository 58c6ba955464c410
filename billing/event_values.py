"""What the property of an event is as a text and as a number, the same in memory as in the store.

Owns reading single values. Which events count and how values fold is billing.usage_aggregation's. Rules:
billing-rules.md section 1.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

from billing.money import Number, decimal_text, round_places

VALUE_PLACES: Final = 12
VALUE_LIMIT: Final = 10**26
NUMBER: Final = (
    r"[+-]?(?:[0-9]{1,60}(?:\.[0-9]*)?|\.[0-9]+"
    r"|(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})[eE](?:\+?[0-4]?[0-9]|-[0-9]{1,3}))"
)
"""Texts that are numbers, whether sent as JSON strings or numbers. Values of 10^26 and more are rejected as well."""

_NUMBER: Final = re.compile(NUMBER)


def property_text(properties: Mapping[str, object], key: str) -> str | None:
    """A scalar property as filters and COUNT_UNIQUE compare it: 1.0 is "1", true is "true"; None for all else.

    Where there is no property of that very name, dots lead into objects: `usage.model`.
    """
    value = properties.get(key)
    if value is None and "." in key:
        value = value_at(properties, key.split("."))
    return scalar_text(value)


def value_at(properties: Mapping[str, object], path: Iterable[str]) -> object:
    """What is at the path; None where there is nothing."""
    value: object = properties
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def scalar_text(value: object) -> str | None:
    """The same, of the value itself."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return decimal_text(value)
    return str(value) if isinstance(value, (str, int)) else None


def number_in(text: str | None) -> Decimal | None:
    """The number in `text` with all its digits; None of absent values and of texts that are not numbers."""
    return None if text is None or not _NUMBER.fullmatch(text) else Decimal(text)


def event_value(text: str | None, negative: bool = False) -> Decimal | None:
    """The number in `text` at 12 digits after the point, half away from zero; None where it is rejected.

    Rejected are absent values, texts that are not numbers, 10^26 and more, and, unless `negative`, negative ones.
    """
    number = number_in(text)
    return None if number is None else counted_value(number, negative)


def counted_value(number: Number, negative: bool = False) -> Decimal | None:
    """The same, of a number."""
    value = round_places(number, VALUE_PLACES)
    return value if (value >= 0 or negative) and value.copy_abs() < VALUE_LIMIT else None


def as_fraction(number: Decimal, places: int) -> Fraction | None:
    """`number` exactly; None of one with more than `places` digits after the point, or of 10^26 and more."""
    fraction = Fraction(number)
    too_fine = 10**places % fraction.denominator
    return None if too_fine or abs(fraction) >= VALUE_LIMIT else fraction
