"""POST /v1/events and /v1/events/bulk. Owns status codes and bodies; `wire` owns what an event is.

202 is answered only after the acceptor has made every event durable; a request is accepted whole or not at all.
"""

import itertools
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from ulid import ULID

from activities.ingestion import metrics
from activities.ingestion.events import Event
from activities.ingestion.ports import EventAcceptor, IngestUnavailable
from models.clickhouse.retention import RETENTION_MONTHS
from models.scope import Scope
from starter.ingest.bodies import (
    BODY_BYTES,
    BodyTooLarge,
    BodyUnreadable,
    ClientGone,
    Held,
    Intake,
    Message,
    Receive,
    TooMuchHeld,
    read_body,
)
from starter.ingest.ports import Authenticate, ClocksOf, Refusal
from starter.ingest.whole import read_whole, stamped_whole
from starter.ingest.wire import BadEvent, BadField, Checked, TimeLimits, parse_bulk, parse_event, timestamp_text

Send = Callable[[Message], Awaitable[None]]
AsgiScope = MutableMapping[str, Any]
AsgiApp = Callable[[AsgiScope, Receive, Send], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]
Response = tuple[int, RawHeaders, bytes]
"""Status, headers and body."""

SINGLE: Final = "/v1/events"
BULK: Final = "/v1/events/bulk"
_NAMES: Final = ("x-api-key", "authorization", "content-length", "content-encoding", "x-request-id")
HEADERS: Final = {name.encode(): name for name in _NAMES}
"""All that matter here. Servers give their names in lower case (ASGI)."""

_BULK_ANSWER: Final = b'{"message":"Events accepted for processing"}'

log = structlog.get_logger(__name__)
_encoder = msgspec.json.Encoder()
_PROCESS: Final = secrets.token_hex(8)
_requests = itertools.count()
"""Ids of requests that bring none: a random number for each would be a tenth of a single event's cost."""


class Ingest:
    """The ASGI application in front of `rest`: it answers the two ingest routes and hands everything else on."""

    def __init__(
        self,
        rest: AsgiApp,
        acceptor: EventAcceptor,
        authenticate: Authenticate,
        clocks_of: ClocksOf,
        retention_months: int = RETENTION_MONTHS,
        intake: Intake | None = None,
    ) -> None:
        self._rest = rest
        self._acceptor = acceptor
        self._authenticate = authenticate
        self._clocks_of = clocks_of
        self._retention_months = retention_months
        self._intake = intake or Intake()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answers one request (ASGI 3)."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in (SINGLE, BULK):
            await self._rest(scope, receive, send)
            return
        try:
            status, headers, body = await self._respond(scope["path"], scope["headers"], receive)
        except ClientGone:
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def single(self, headers: RawHeaders, body: bytes) -> Response:
        """Answers POST /v1/events with all of its body: the same without ASGI, which costs more than the rest of it."""

        async def receive() -> Message:
            return {"body": body, "type": "http.request"}

        return await self._respond(SINGLE, headers, receive)

    async def _respond(self, path: str, raw: RawHeaders, receive: Receive) -> Response:
        """Raises ClientGone."""
        headers = {HEADERS[name]: value.decode("latin-1") for name, value in raw if name in HEADERS}
        try:
            with self._intake.request() as held:
                answer = await self._answer(path, headers, receive, held)
        except ClientGone:
            raise
        except Exception:
            log.exception("ingest.failed", path=path)
            answer = Refusal(500, "internal_error", "An unexpected error occurred")
        return _response(answer, headers.get("x-request-id") or f"{_PROCESS}{next(_requests):016x}")

    async def _answer(self, path: str, headers: Mapping[str, str], receive: Receive, held: Held) -> bytes | Refusal:
        caller = await self._authenticate(headers)
        if isinstance(caller, Refusal):
            return caller
        try:
            encoding = headers.get("content-encoding", "")
            body = await read_body(receive, headers.get("content-length", ""), encoding, held)
            if path == SINGLE:
                return await self._single(caller, body)
            return await self._bulk(caller, body)
        except BodyTooLarge:
            return Refusal(
                413, "payload_too_large", f"the body may have at most {BODY_BYTES} bytes, also when unpacked"
            )
        except TooMuchHeld:
            return Refusal(503, "service_unavailable", "too many requests wait to be answered", None, 1)
        except BodyUnreadable as error:
            return Refusal(400, "validation_error", "Invalid request format", {"reason": str(error)})
        except IngestUnavailable as error:
            return _unavailable(error, {})  # no event has been stamped yet, so none has gone anywhere
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Refusal(400, "validation_error", "Invalid request format", {"reason": f"malformed JSON: {error}"})

    async def _single(self, caller: Scope, body: bytes) -> bytes | Refusal:
        try:
            checked = parse_event(body)
            customer = checked.external_customer_id
            clocks = await self._clocks_of(caller.tenant_id, caller.environment_id, (customer,))
            event = stamped(caller, checked, TimeLimits(clocks[customer], self._retention_months))
        except BadEvent as error:
            return _bad_request(error)
        try:
            await self._acceptor.accept([event])
        except IngestUnavailable as error:
            return _unavailable(error, {"event_id": event.event_id, "timestamp": timestamp_text(event.timestamp)})
        metrics.ACCEPTED.inc()
        return _encoder.encode({"message": "Event accepted for processing", "event_id": event.event_id})

    async def _bulk(self, caller: Scope, body: bytes) -> bytes | Refusal:
        events = await self._whole(caller, body) or await self._one_by_one(caller, body)
        if isinstance(events, Refusal):
            return events
        try:
            await self._acceptor.accept(events)
        except IngestUnavailable as error:
            stamps = [{"event_id": one.event_id, "timestamp": timestamp_text(one.timestamp)} for one in events]
            return _unavailable(error, {"events": stamps})
        metrics.ACCEPTED.inc(len(events))
        return _BULK_ANSWER

    async def _whole(self, caller: Scope, body: bytes) -> Sequence[Event] | None:
        """The stamped events of a request in which nothing is wrong or unusual, else None."""
        sent = read_whole(body)
        if sent is None:
            return None
        customers = {event.external_customer_id for event in sent}
        clocks = await self._clocks_of(caller.tenant_id, caller.environment_id, customers)
        now, *others = set(clocks.values())
        return None if others else stamped_whole(caller, sent, TimeLimits(now, self._retention_months))

    async def _one_by_one(self, caller: Scope, body: bytes) -> Sequence[Event] | Refusal:
        """The stamped events, or what is wrong with each bad one."""
        try:
            good, bad, count = parse_bulk(body)
        except BadEvent as error:
            return _bad_request(error)
        events, too_far = await self._stamped(caller, good)
        errors = sorted([*bad, *too_far], key=lambda one: one[0])
        if not errors:
            return events
        places = ", ".join(str(index) for index, _ in errors[:10]) + (" ..." if len(errors) > 10 else "")
        message = f"{len(errors)} of {count} events are not valid (index {places}); nothing was accepted"
        named = [{"index": index, "field": bad.field, "message": bad.message} for index, bad in errors]
        return Refusal(400, "validation_error", message, {"errors": named})

    async def _stamped(
        self, caller: Scope, good: Sequence[tuple[int, Checked]]
    ) -> tuple[list[Event], list[tuple[int, BadField]]]:
        """The stamped events, and by index those whose times their customers' clocks do not allow."""
        customers = {checked.external_customer_id for _, checked in good}
        clocks = await self._clocks_of(caller.tenant_id, caller.environment_id, customers)
        limits = {instant: TimeLimits(instant, self._retention_months) for instant in set(clocks.values())}
        events: list[Event] = []
        bad: list[tuple[int, BadField]] = []
        for index, checked in good:
            try:
                events.append(stamped(caller, checked, limits[clocks[checked.external_customer_id]]))
            except BadEvent as error:
                bad.append((index, error.bad))
        return events, bad


def stamped(caller: Scope, checked: Checked, limits: TimeLimits) -> Event:
    """The event with everything that makes its row. Raises BadEvent for its time."""
    timestamp = checked.timestamp
    if timestamp is None:
        timestamp = limits.now_ms
    else:
        limits.check(timestamp)
    return Event(
        caller.tenant_id,
        caller.environment_id,
        checked.external_customer_id,
        checked.event_name,
        timestamp,
        checked.event_id or f"event_{ULID()}",
        checked.source,
        checked.properties,
        limits.now_ms,
    )


def _bad_request(error: BadEvent) -> Refusal:
    details = {"field": error.bad.field, "reason": error.bad.message}
    return Refusal(400, "validation_error", error.bad.message, details)


def _unavailable(error: IngestUnavailable, stamps: Mapping[str, Any]) -> Refusal:
    # The stamps let the client repeat the request so that it counts once even if the first one was stored after all.
    return Refusal(503, "service_unavailable", str(error), stamps, error.retry_after)


def _response(answer: bytes | Refusal, request_id: str) -> Response:
    headers = [(b"content-type", b"application/json"), (b"x-request-id", request_id.encode("latin-1"))]
    if isinstance(answer, Refusal):
        status, body = answer.status, answer.body or envelope(answer)
        metrics.REFUSED.labels(status).inc()
        if answer.retry_after is not None:
            headers.append((b"retry-after", str(answer.retry_after).encode()))
    else:
        status, body = 202, answer
    headers.append((b"content-length", b"%d" % len(body)))
    return status, headers, body


def envelope(refusal: Refusal) -> bytes:
    """The one error body that satisfies both generations of clients."""
    details = dict(refusal.details or {})
    return _encoder.encode(
        {
            "code": refusal.code,
            "message": refusal.message,
            "http_status_code": refusal.status,
            "details": details,
            "success": False,
            "error": {"message": refusal.message, "details": details},
        }
    )
