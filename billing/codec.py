"""JSON form of the values of this package, for storing what an invoice was computed from and reading it back exactly.

Decimals are text without trailing zeros, fractions "n/d", instants RFC 3339 in UTC, enums their value,
dataclasses and structs are objects by field name. Owns no schema: their fields are the schema.
"""

import dataclasses
import types
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from msgspec import Struct

from billing.errors import Invalid
from billing.money import decimal_text

Value = TypeVar("Value")


def to_json(value: object) -> Any:
    """`value` (a value of this package, or a part of one) as dicts, lists, strings, integers and booleans."""
    kind: type = type(value)
    names = _field_names(kind)
    if names:
        return {name: to_json(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, datetime):
        return instant_text(value)
    if value is None or isinstance(value, (str, int)):
        return value
    raise Invalid(f"a {type(value).__name__} has no JSON form here")


def from_json(kind: type[Value], data: object) -> Value:
    """The `kind` that `to_json` wrote. Raises Invalid naming the first field that does not fit."""
    return cast(Value, _decode(kind, data, ""))


def instant_text(value: datetime) -> str:
    """A UTC instant in RFC 3339, as short as it is exact: 2025-01-31T00:00:00Z."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _decode(kind: Any, data: object, path: str) -> object:
    origin = get_origin(kind)
    if origin in (types.UnionType, Union):
        return None if data is None else _decode(_without_none(kind), data, path)
    if origin is tuple and isinstance(data, list):
        return tuple(_decode(get_args(kind)[0], item, f"{path}[{index}]") for index, item in enumerate(data))
    if isinstance(kind, type) and isinstance(data, Mapping) and _field_names(kind):
        return _decode_fields(kind, data, path)
    if kind in (str, int, bool) and type(data) is kind:
        return data
    if isinstance(data, str) and isinstance(kind, type):
        return _decode_text(kind, data, path)
    raise Invalid(f"{path or 'value'} must be a {getattr(kind, '__name__', kind)}; got {data!r}", field=path)


def _decode_fields(kind: type, data: Mapping[str, object], path: str) -> object:
    hints = _hints(kind)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise Invalid(f"{path or kind.__name__} has no field {unknown[0]!r}", field=f"{path}.{unknown[0]}".lstrip("."))
    try:
        return kind(**{name: _decode(hints[name], item, f"{path}.{name}".lstrip(".")) for name, item in data.items()})
    except TypeError as error:
        raise Invalid(f"{path or kind.__name__} is incomplete: {error}", field=path) from error


def _decode_text(kind: type, data: str, path: str) -> object:
    try:
        if issubclass(kind, datetime):
            return datetime.fromisoformat(data)
        if issubclass(kind, (Enum, Decimal, Fraction)):
            return kind(data)
    except (ValueError, ArithmeticError):
        pass
    raise Invalid(f"{path or 'value'} must be a {kind.__name__}; got {data!r}", field=path)


def _without_none(kind: Any) -> Any:
    return next(argument for argument in get_args(kind) if argument is not type(None))


@lru_cache(maxsize=512)
def _field_names(kind: type) -> tuple[str, ...]:
    """The fields of a dataclass or a struct; () for other types."""
    if issubclass(kind, Struct):
        return kind.__struct_fields__
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


@lru_cache(maxsize=256)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
