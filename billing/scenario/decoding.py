"""From JSON to dataclasses: the dataclass is the schema, and every error carries the path of the offending value.

Knows no scenario. Text and integers become what the field's annotation says: Decimal, datetime, enum, Literal, nested
dataclass, tuple or mapping. A field without a default is required. Nothing is guessed, and no unknown field is skipped.
"""

import dataclasses
import json
import types
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from billing.errors import BillingError, Invalid
from billing.money import parse_decimal
from billing.periods import check_utc, to_milliseconds

Value = TypeVar("Value")
INTEGER_MAX: Final = 2**63 - 1


def read_json(text: str) -> Any:
    """The JSON value of `text`; numbers with a point keep their digits. Raises Invalid: broken, or a key twice."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError:
        raise Invalid("the document is nested too deeply", field="") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Invalid(f"the document is not JSON: {error.msg} at {where}", field="", code="not_json") from None


def decode(kind: type[Value], data: object, path: str = "") -> Value:
    """`data` as a `kind`. Raises Invalid with the path of the first value that does not fit."""
    return cast(Value, _decode(kind, data, path))


def at_path(error: BillingError, path: str) -> Invalid:
    """The error of a rule about the part at `path` as an error of the document, with the whole path."""
    whole = joined(path, error.field or "")
    message = error.message
    if error.field and message.startswith(error.field):
        message = message[len(error.field) :].lstrip()
    shown = f"{whole} {message}" if message != error.message else f"{whole}: {message}"
    return Invalid(shown if whole else error.message, whole, error.details, error.code)


def joined(path: str, field: str) -> str:
    """`plans[0]` and `name` as `plans[0].name`."""
    return path + field if field.startswith("[") else f"{path}.{field}".strip(".")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"the field {twice!r} is given twice in one object", field=twice)
    return found


def _refuse_constant(name: str) -> Any:
    raise Invalid(f"{name} is not a number that JSON knows", field="")


def _decode(kind: Any, data: object, path: str) -> object:
    origin = get_origin(kind)
    if kind is Any:
        return data
    if origin in (types.UnionType, Union):
        return _decode_optional(kind, data, path)
    if origin is Literal:
        return _choice(get_args(kind), data, path)
    if origin is tuple:
        return _decode_list(get_args(kind)[0], data, path)
    if origin is Mapping:
        return _decode_mapping(get_args(kind)[1], data, path)
    if dataclasses.is_dataclass(kind):
        return _decode_fields(cast(type, kind), data, path)
    return _decode_scalar(kind, data, path)


def _decode_optional(kind: Any, data: object, path: str) -> object:
    """What a field may lack: null, or the one thing that it can be."""
    (wanted,) = (option for option in get_args(kind) if option is not type(None))
    return None if data is None else _decode(wanted, data, path)


def _decode_list(item_kind: Any, data: object, path: str) -> tuple[object, ...]:
    if not isinstance(data, list):
        raise _wrong("a list", data, path)
    return tuple(_decode(item_kind, item, f"{path}[{index}]") for index, item in enumerate(data))


def _decode_mapping(item_kind: Any, data: object, path: str) -> dict[str, object]:
    if not isinstance(data, Mapping):
        raise _wrong("an object", data, path)
    return {name: _decode(item_kind, item, joined(path, name)) for name, item in data.items()}


def _decode_fields(kind: type, data: object, path: str) -> object:
    if not isinstance(data, Mapping):
        raise _wrong("an object", data, path)
    hints, required = _schema(kind)
    for name in data:
        if name not in hints:
            known = ", ".join(hints)
            where = joined(path, name)
            raise Invalid(f"{where} is not a field that is known here; known: {known}", field=where)
    for name in required:
        if name not in data:
            raise Invalid(f"{joined(path, name)} is required", field=joined(path, name))
    return kind(**{name: _decode(hints[name], item, joined(path, name)) for name, item in data.items()})


def _decode_scalar(kind: Any, data: object, path: str) -> object:
    if kind is Decimal:
        return _decimal(data, path)
    if kind is datetime:
        return _instant(data, path)
    if kind is int:
        if type(data) is int and abs(data) <= INTEGER_MAX:
            return data
        raise _wrong("a whole number", data, path)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(_choice(tuple(each.value for each in kind), data, path))
    if type(data) is kind:
        return data
    raise _wrong({str: "a text", bool: "true or false"}[kind], data, path)


def _decimal(data: object, path: str) -> Decimal:
    try:
        return parse_decimal(data, "value")
    except Invalid as error:
        raise Invalid(error.message.replace("value", path, 1), field=path) from None


def _instant(data: object, path: str) -> datetime:
    """RFC 3339 with an offset; kept to the millisecond, as everywhere."""
    if isinstance(data, str) and "T" in data.upper():
        try:
            instant = datetime.fromisoformat(data)
        except ValueError:
            instant = None
        if instant is not None and instant.tzinfo is not None:
            return _milliseconds(instant, path)
    raise _wrong("an instant such as '2026-01-31T00:00:00Z'", data, path)


def _milliseconds(instant: datetime, path: str) -> datetime:
    try:
        at = instant.astimezone(UTC)
        return check_utc(to_milliseconds(at), path)
    except OverflowError:
        raise _wrong("an instant between the years 1970 and 9990", instant.isoformat(), path) from None


def _choice(known: tuple[Any, ...], data: object, path: str) -> object:
    if isinstance(data, str) and data in known:
        return data
    raise _wrong(f"one of {', '.join(known)}", data, path)


def _wrong(wanted: str, data: object, path: str) -> Invalid:
    shown = json.dumps(data, default=str, ensure_ascii=False)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return Invalid(f"{path or 'the document'} must be {wanted}; got {shown}", field=path)


@lru_cache(maxsize=256)
def _schema(kind: type) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Annotations by field, and the fields that have no default."""
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    required = tuple(each.name for each in fields if each.default is missing and each.default_factory is missing)
    return get_type_hints(kind), required
