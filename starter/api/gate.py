"""What every request passes before a route sees it: request id, log context, metrics, body limit, authentication.

Plain ASGI, so that nothing is buffered twice. A path that is not named in `OPEN_PATHS` needs a key: a new route is
closed until someone opens it.
"""

import re
import time
from typing import Any, Final

import structlog
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from starter.api.authentication import Authenticator, BadKey, may
from starter.api.errors import OUTAGE_RETRY_SECONDS, OUTAGES, Refused, error_response, outage_of, unauthorized

BODY_LIMIT: Final = 1024 * 1024
BODY_CODE: Final = "http_client_error"
PREFIX: Final = "/v1"
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/oauth2-redirect"})
OPEN_PREFIXES: Final = ("/v1/documents/", "/docs/static/")
PROVIDER_WEBHOOK: Final = re.compile(r"/v1/webhooks/(?!endpoints/|deliveries/)[^/]+/[^/]+/[^/]+")
"""Signed links and the webhooks of payment providers carry their own proof."""

REQUESTS = Counter("durabill_http_requests", "HTTP requests answered.", ["method", "route", "status"])
SECONDS = Histogram("durabill_http_request_seconds", "Time from a request to its answer, in seconds.", ["route"])

log = structlog.get_logger(__name__)


class Gate:
    """The outermost layer."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, body_limit: int = BODY_LIMIT) -> None:
        self._app, self._authenticator, self._body_limit = app, authenticator, body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        started, status = time.perf_counter(), 500

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._serve(scope, headers, receive, stamped)
            finally:
                _count(scope, status, time.perf_counter() - started)

    async def _serve(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        refusal = await self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        caller = scope["state"].get("caller")
        bound = {"tenant_id": caller.scope.tenant_id, "environment_id": caller.scope.environment_id} if caller else {}
        limited = _Limited(receive, self._body_limit)
        with structlog.contextvars.bound_contextvars(**bound):
            await self._app(scope, limited, send)

    async def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request that must not reach a route."""
        path = scope["path"]
        if "\x00" in path or b"%00" in scope.get("query_string", b""):
            return error_response(400, "validation_error", "the URL must not hold a NUL character")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._body_limit:
            return _too_large(self._body_limit)
        if _is_open(scope["method"], path):
            return None
        try:
            caller = await self._authenticator.caller(headers)
        except BadKey as problem:
            return unauthorized(str(problem))
        except OUTAGES as error:
            outage = outage_of(error)
            if outage is None:
                raise
            return error_response(503, "service_unavailable", outage, retry_after=OUTAGE_RETRY_SECONDS)
        if not may(caller.roles, scope["method"], path.removeprefix(PREFIX)):
            roles = ", ".join(caller.roles)
            message = f"an API key with the roles {roles} may not {scope['method']} {path}"
            return error_response(403, "permission_denied", message)
        scope["state"]["caller"] = caller
        return None


class _Limited:
    """Counts what arrives: a body without a Content-Length is cut off as well."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit, self._left = receive, limit, limit

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise Refused(413, BODY_CODE, _too_large_text(self._limit))
        return message


def _too_large(limit: int) -> Response:
    return error_response(413, BODY_CODE, _too_large_text(limit))


def _too_large_text(limit: int) -> str:
    return f"the body must not be larger than {limit} bytes"


def _is_open(method: str, path: str) -> bool:
    if path in OPEN_PATHS or path.startswith(OPEN_PREFIXES) or method == "OPTIONS":
        return True
    return method == "POST" and PROVIDER_WEBHOOK.fullmatch(path) is not None


def _request_id(headers: Headers) -> str:
    """The caller's id where it can go into a header and a log line, else a new one."""
    given = headers.get("x-request-id", "")
    return given if 0 < len(given) <= 128 and given.isascii() and given.isprintable() else str(ULID())


def _count(scope: Scope, status: int, seconds: float) -> None:
    """Counts by the route's pattern, never by the path: ids would make a series each."""
    route = getattr(scope.get("route"), "path", "other")
    REQUESTS.labels(scope["method"], route, str(status)).inc()
    SECONDS.labels(route).observe(seconds)
