"""A scenario document as text in, its result or its error out.

Owns no rule, and imports nothing but billing: the API runs it in processes of its own.
"""

import json
from typing import Any

from billing.errors import BillingError, Invalid
from billing.scenario.decoding import read_json
from billing.simulation.result import Json, error_of
from billing.simulation.simulate import simulate

NOT_UTF8 = "the document must be JSON in UTF-8"


def outcome(text: str, explain: bool = False) -> Json:
    """The result of the scenario in `text`, or its name and `error`: code, message and the path of the field.

    `explain` adds the explanations of its invoices.
    """
    document: Any = None
    try:
        document = read_json(text)
        return simulate(document, explain)
    except BillingError as error:
        return {"name": _name(document), "error": error_of(error)}
    except ArithmeticError as error:
        beyond = Invalid(f"a number of the story is too large to be exact: {type(error).__name__}", code="out_of_range")
        return {"name": _name(document), "error": error_of(beyond)}


def outcome_bytes(body: bytes) -> tuple[Json | None, bytes]:
    """The error (None for a story that makes sense) and the result as JSON, of a document as it comes over the wire."""
    try:
        found = outcome(body.decode("utf-8"))
    except UnicodeDecodeError:
        return {"code": "not_json", "message": NOT_UTF8, "path": ""}, b""
    if "error" in found:
        return found["error"], b""
    return None, json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def _name(document: Any) -> str:
    name = document.get("name") if isinstance(document, dict) else None
    return name if isinstance(name, str) else ""
