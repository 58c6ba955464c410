"""Errors on the wire: one body that clients of both generations of the reference understand.

The twin of the translator in `activities/`, which speaks to Temporal: a planned error becomes a status and a body.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from asyncpg import InterfaceError, PostgresError
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from temporalio.service import RPCError, RPCStatusCode

from activities.ports import StoreUnavailable
from billing.errors import BillingError
from models.clickhouse.client import ClickHouseTooMuch, ClickHouseUnavailable
from starter.commands import Unavailable

log = structlog.get_logger(__name__)

STATUS = {
    "validation_error": 400,
    "invalid_operation": 400,
    "permission_denied": 403,
    "not_found": 404,
    "already_exists": 409,
    "conflict": 409,
    "invariant_broken": 500,
    "not_implemented": 501,
    "service_unavailable": 503,
}
UNEXPECTED = "An unexpected error occurred"
OUTAGE_RETRY_SECONDS = 2
OUTAGES: tuple[type[Exception], ...] = (
    ClickHouseUnavailable, StoreUnavailable, RPCError, DBAPIError, PostgresError, InterfaceError, PoolTimeout,
    ConnectionError, TimeoutError,
)  # fmt: skip
"""Errors that `on_outage` looks at."""
CLOSED = "connection is closed"
"""What asyncpg says of a connection that broke under it; it has no class of its own for that."""
_TEMPORAL_IS_AWAY = frozenset(
    {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.RESOURCE_EXHAUSTED}
)


class Refused(Exception):
    """An answer that is decided before any route: status, code, message and, where it helps, seconds to wait."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


def error_response(
    status: int, code: str, message: str, details: Mapping[str, Any] | None = None, retry_after: int | None = None
) -> Response:
    """The error envelope."""
    facts = dict(details or {})
    body: dict[str, Any] = {"code": code, "message": message, "http_status_code": status, "success": False}
    if facts:
        body["details"] = facts
    body["error"] = {"message": message, "details": facts}
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    encoded = msgspec.json.encode(body, enc_hook=str)
    return Response(encoded, status, headers=headers, media_type="application/json")


def unauthorized(message: str) -> Response:
    """The answer 401."""
    return Response(unauthorized_body(message), 401, media_type="application/json")


def unauthorized_body(message: str) -> bytes:
    """401 has a body of its own in the reference: only `error`, as text."""
    return msgspec.json.encode({"error": message})


def billing_error_response(error: BillingError) -> Response:
    """A planned error: its code decides the status. Codes of single rules (`unknown_zone`) belong to invalid input."""
    status = STATUS.get(error.code) or STATUS.get(error.default_code, 500)
    if status == 500:
        log.error("a law of the system does not hold", code=error.code, problem=error.message, **error.details)
        return error_response(500, error.code, UNEXPECTED)
    details = {**({"field": error.field} if error.field else {}), **error.details}
    return error_response(status, error.code, error.message, details)


async def on_billing_error(_request: Request, error: Exception) -> Response:
    """Handler of BillingError."""
    assert isinstance(error, BillingError)
    return billing_error_response(error)


async def on_unavailable(_request: Request, error: Exception) -> Response:
    """Handler of commands that nobody acted on in time."""
    assert isinstance(error, Unavailable)
    return error_response(503, "service_unavailable", str(error), retry_after=error.retry_after_seconds)


async def on_too_much(_request: Request, error: Exception) -> Response:
    """Handler of questions whose answer would be larger than what one may be."""
    assert isinstance(error, ClickHouseTooMuch)
    return error_response(400, "validation_error", str(error))


async def on_refused(_request: Request, error: Exception) -> Response:
    """Handler of Refused."""
    assert isinstance(error, Refused)
    return error_response(error.status, error.code, error.message, retry_after=error.retry_after)


async def on_invalid_request(_request: Request, error: Exception) -> Response:
    """Handler of requests that do not have the shape of the route."""
    assert isinstance(error, RequestValidationError)
    return invalid_request_response(error.errors())


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Handler of what the framework refuses: unknown routes and methods."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return error_response(404, "not_found", "there is no such route; see /docs")
    if error.status_code == 405:
        return error_response(405, "invalid_operation", "this route does not take this method; see /docs")
    code = "validation_error" if error.status_code == 400 else "http_client_error"
    message = "Invalid request format" if error.status_code == 400 else str(error.detail)
    return error_response(error.status_code, code, message)


def outage_of(error: BaseException) -> str | None:
    """What does not answer, in words, if that is the cause of `error`; None for any other failure."""
    if isinstance(error, ClickHouseUnavailable):
        return "ClickHouse does not answer"
    if isinstance(error, StoreUnavailable):
        return "the document store does not answer"
    if isinstance(error, RPCError):
        return "Temporal does not answer" if error.status in _TEMPORAL_IS_AWAY else None
    if isinstance(error, DBAPIError):
        if getattr(error.orig, "sqlstate", None) in _GIVEN_UP:
            return "the same was being changed at this moment, and nothing has been done; ask again"
        return "Postgres does not answer" if error.connection_invalidated or _is_away(error.orig) else None
    if isinstance(error, PoolTimeout | ConnectionError | TimeoutError) or _is_away(error):
        return "Postgres does not answer"
    return None


_GIVEN_UP: Final = ("40001", "40P01")
"""SQLSTATE of a transaction that was undone for another's sake: serialization failure, deadlock."""


def _is_away(error: BaseException | None) -> bool:
    """SQLSTATE classes 08 (connection), 53 (resources) and 57 (shutdown), or a connection that broke."""
    if isinstance(error, InterfaceError):  # the driver's own: it broke while it was being set up, before any statement
        return CLOSED in str(error)
    state = str(getattr(error, "sqlstate", None) or "")
    return isinstance(error, ConnectionError | TimeoutError) or state.startswith(("08", "53", "57"))


async def on_outage(request: Request, error: Exception) -> Response:
    """Handler of errors that mean, mostly, that a neighbour does not answer; the others are unplanned."""
    outage = outage_of(error)
    if outage is None:
        return await on_unexpected(request, error)
    log.warning("a neighbour does not answer", outage=outage, problem=str(error)[:500])
    return error_response(503, "service_unavailable", outage, retry_after=OUTAGE_RETRY_SECONDS)


async def on_unexpected(request: Request, error: Exception) -> Response:
    """Handler of everything unplanned: the caller learns nothing but that it went wrong."""
    log.error("unplanned error", method=request.method, path=request.url.path, exc_info=error)
    return error_response(500, "internal_error", UNEXPECTED)


def invalid_request_response(problems: Sequence[Any]) -> Response:
    """400 that names each field by its path and says what would be right."""
    if any(problem["type"] in ("json_invalid", "bytes_type") for problem in problems):
        return error_response(400, "validation_error", "Invalid request format")
    found = [_problem(problem) for problem in problems]
    message = "; ".join(text for _, text in found)
    details = {"field": found[0][0], "fields": [{"field": path, "message": text} for path, text in found]}
    return error_response(400, "validation_error", message, details)


def _problem(problem: Mapping[str, Any]) -> tuple[str, str]:
    """Path of the field, and a sentence about it."""
    kind = problem["type"]
    if kind == "absent":
        name = str(problem["ctx"]["name"])
        path = _path([*problem["loc"], name])
        return path, f"{path} must be left out: {problem['ctx']['reason']}"
    path = _path(problem["loc"]) or "body"
    if kind == "missing":
        return path, f"{path} is required"
    if kind in ("model_attributes_type", "model_type", "dict_type"):
        return path, f"{path} must be a JSON object"
    text = str(problem["msg"]).replace("Input should", "must").replace("String should", "must")
    text = text.replace("List should", "must").replace("Value error, ", "")
    shown = problem.get("input")
    given = f"; got {_shown(shown)}" if isinstance(shown, str | int | bool) and "; got" not in text else ""
    return path, f"{path} {text}{given}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _path(location: Sequence[Any]) -> str:
    """`tiers[1].up_to`, without the place (body, query) where the framework found it."""
    parts = list(location[1:]) if location and location[0] in ("body", "query", "path", "header") else list(location)
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path
