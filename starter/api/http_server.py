"""The HTTP protocol of the API: uvicorn's, with a short way for the requests that come in thousands a second.

uvicorn writes the head of an answer and then its body. Each write is a system call that wakes the client up: for small
requests that is much of the cost, here and there. Of what is left, most is a scope, a cycle, an event and a timer for
each request; a small request to a route that is given to `protocol_with` has none of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

Headers = list[tuple[bytes, bytes]]
Route = Callable[[Headers, bytes], Awaitable[tuple[int, Headers, bytes]]]
"""From a request's headers, their names in lower case, and its body to status, headers and body of the answer."""

SHORT_BYTES: Final = 64 * 1024
"""What uvicorn would hold of a body before it stops reading."""

_LENGTH_DIGITS: Final = len(str(SHORT_BYTES))


class JoinedWrites:
    """A transport that sends together what is written within one turn of the event loop, in its order."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Sends `data` with what else is written before the event loop turns."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Sends what has been written, then closes."""
        self._send()
        self._transport.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Sends what has been written, then hands the connection over."""
        self._send()
        self._transport.set_protocol(protocol)

    def write_now(self, data: bytes) -> None:
        """Sends what has been written, and `data` with it."""
        if self._parts:
            self._parts.append(data)
            self._send()
        elif not self._transport.is_closing():
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))


class _Nobody:
    """Stands where uvicorn wakes up who reads a body."""

    def set(self) -> None: ...


class _Short:
    """A request on the short way; in its place uvicorn has a `RequestResponseCycle`."""

    __slots__ = ("body", "disconnected", "headers", "keep_alive", "response_complete", "route")
    message_event: ClassVar = _Nobody()

    def __init__(self, route: Route, headers: Headers) -> None:
        self.route = route
        self.headers = headers
        self.body = b""
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = False


class WholeAnswers(HttpToolsProtocol):
    """One connection."""

    routes: Mapping[bytes, Route] = {}
    """Those of POST requests that have a short way, by path."""

    _busy = False
    _answered_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        self._joined = JoinedWrites(transport, self.loop)
        super().connection_made(self._joined)  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()

    def on_message_begin(self) -> None:
        """See httptools. The scope is made when the request turns out to need one."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """See httptools."""
        route = self.routes.get(self.url)
        if route is not None and self._is_short():
            self.cycle = cast(Any, _Short(route, self.headers))
            return
        url, expects, headers = self.url, self.expect_100_continue, self.headers
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # the list that the scope has
        super().on_headers_complete()

    def _is_short(self) -> bool:
        """Whether the request is plain and small, and comes after the answer to the one before."""
        if self.expect_100_continue or self.flow.write_paused or self.limit_concurrency is not None:
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        length = dict(self.headers).get(b"content-length", b"")
        parser = self.parser
        return (
            length.isdigit()
            and len(length) <= _LENGTH_DIGITS
            and int(length) <= SHORT_BYTES
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
        )

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        short: object = self.cycle
        if type(short) is _Short:
            short.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        short: object = self.cycle
        if type(short) is _Short:
            short.keep_alive = short.keep_alive and self.parser.should_keep_alive()
            task = self.loop.create_task(self._answer(short))
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)
        else:
            super().on_message_complete()

    async def _answer(self, short: _Short) -> None:
        try:
            status, headers, body = await short.route(short.headers, short.body)
        except Exception:
            self.logger.exception("Exception on the short way of a request")
            status, headers, body = HTTPStatus.INTERNAL_SERVER_ERROR, [(b"content-length", b"0")], b""
        short.response_complete = True
        if short.disconnected:
            return
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        if not short.keep_alive:
            lines.append(b"connection: close\r\n")
        self._joined.write_now(b"".join((STATUS_LINE[status], *lines, b"\r\n", body)))
        if not short.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """As uvicorn does, but a connection that is idle is looked at now and then, not timed anew by each answer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._busy = False
        self._answered_at = self.loop.time()
        self.flow.resume_reading()
        if self.pipeline:
            self._busy = True
            self._start_asgi_task(*self.pipeline.pop())
        elif self.timeout_keep_alive_task is None:
            self._look_again_in(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        self._busy = True  # something has arrived

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection on which nothing has arrived for long after its last answer."""
        self.timeout_keep_alive_task = None
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if self._busy:
            return  # the answer looks again
        if left > 0:
            self._look_again_in(left)
        else:
            super().timeout_keep_alive_handler()

    def _look_again_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)


def protocol_with(short: Mapping[bytes, Route]) -> type[WholeAnswers]:
    """The protocol with a short way for small POST requests to some paths. Others, and large ones, take the usual."""

    class WithShortWays(WholeAnswers):
        routes = short

    return WithShortWays
