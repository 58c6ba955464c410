"""Reading JSON bodies without losing a digit, and refusing what the database could not keep."""

import json
from decimal import Decimal
from typing import Any

from fastapi import Request

_MARKS = (b"\\u0000", b"\\ud", b"\\uD")


class ExactRequest(Request):
    """A request whose JSON numbers with a point become Decimals."""

    async def json(self) -> Any:
        """The parsed body. Raises json.JSONDecodeError for anything that is not JSON as RFC 8259 has it."""
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json


def parse_json(body: bytes) -> Any:
    """JSON text as Python values, numbers exact. Raises json.JSONDecodeError."""
    try:
        value = json.loads(body.decode("utf-8"), parse_float=Decimal, parse_constant=_refuse_constant)
    except json.JSONDecodeError:
        raise
    except (UnicodeDecodeError, ValueError, ArithmeticError, RecursionError) as error:
        raise json.JSONDecodeError(f"not JSON: {error}", "", 0) from error
    if any(mark in body for mark in _MARKS):
        _check_text(value)
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _check_text(value: Any) -> None:
    """Refuses NUL and half surrogates: no Postgres text can hold them."""
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise json.JSONDecodeError("text must not hold NUL or half a surrogate pair", "", 0)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_text(item)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)
