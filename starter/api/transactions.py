"""How a route meets the database, and what an `Idempotency-Key` guarantees.

`TransactionRoute`: the whole request is one transaction in the caller's scope, committed before the answer goes out.
With an `Idempotency-Key` the answer is stored in that same transaction, so it exists exactly when the effect does: a
crash leaves neither. `CommandRoute`: the effect happens elsewhere (a command to a workflow); the answer is stored
afterwards, and the command's own id, derived from the key, makes a repeated command act once.

Answers of 2xx and 3xx are stored. Anything else has changed nothing and is worked out again.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from activities.idempotency import StoredAnswer, find_answer, store_answer, try_lock
from billing.errors import Conflict
from starter.api.bodies import ExactRequest
from starter.api.context import Caller, utc_now
from starter.api.errors import Refused

KEY_HEADER = "idempotency-key"
KEY_LENGTH_MAX = 255
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class TransactionRoute(APIRoute):
    """A route whose request is one transaction."""

    def get_route_handler(self) -> Handler:
        """The framework's handler inside the transaction."""
        handle = super().get_route_handler()

        async def in_transaction(request: Request) -> Response:
            exact = ExactRequest(request.scope, request.receive)
            await exact.body()  # here, where a body over the limit is refused as such
            async with _transaction(exact) as session:
                exact.state.session, exact.state.after_commit = session, []
                response = await _answer(exact, session, handle)
            for step in exact.state.after_commit:
                await step()
            return response

        return in_transaction


class CommandRoute(APIRoute):
    """A route that opens transactions itself, or sends a command to a workflow."""

    def get_route_handler(self) -> Handler:
        """The framework's handler; inside a transaction that only guards the key where there is one."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            exact = ExactRequest(request.scope, request.receive)
            await exact.body()
            if _key_of(exact) is None:
                return await handle(exact)
            async with _transaction(exact) as session:
                return await _answer(exact, session, handle)

        return guarded


def command_id_of(request: Request) -> str:
    """Name of the caller's intent: the same for a repeated request with an `Idempotency-Key`, else new each time."""
    caller: Caller = request.state.caller
    key = _key_of(request)
    if key is None:
        return f"request:{request.state.request_id}"
    parts = (caller.scope.tenant_id, caller.scope.environment_id, request.method, request.url.path, key)
    return "key:" + _digest("\n".join(parts).encode())[:32]


def repeated_as(request: Request) -> str | None:
    """Under which name the same intent would come again; None when it has no `Idempotency-Key`."""
    return None if _key_of(request) is None else command_id_of(request)


@asynccontextmanager
async def _transaction(request: Request) -> AsyncIterator[AsyncSession]:
    caller: Caller = request.state.caller
    async with request.app.state.clients.database.transaction(caller.scope) as session:
        yield session


async def _answer(request: Request, session: AsyncSession, handle: Handler) -> Response:
    key = _key_of(request)
    if key is None:
        return await handle(request)
    caller: Caller = request.state.caller
    if not await try_lock(session, caller.scope, key):
        raise Refused(409, "conflict", "the first request with this Idempotency-Key is still at work", retry_after=1)
    first_line = f"{request.method} {request.url.path}?{request.url.query}\n"
    fingerprint = _digest(first_line.encode() + await request.body())
    stored = await find_answer(session, caller.scope, key)
    if stored is not None:
        return _replayed(stored, fingerprint)
    response = await handle(request)
    if response.status_code < 400:
        text = bytes(response.body).decode("utf-8", errors="replace")
        answer = StoredAnswer(key, fingerprint, response.status_code, text)
        await store_answer(session, caller.scope, answer, utc_now())
    return response


def _replayed(stored: StoredAnswer, fingerprint: str) -> Response:
    if stored.fingerprint != fingerprint:
        raise Conflict(
            "this Idempotency-Key was used with another request; send a new key with a new request",
            state="used",
            possible=("send the first request again", "use a new key"),
            field="Idempotency-Key",
        )
    headers = {"Idempotent-Replayed": "true"}
    return Response(stored.body.encode(), stored.status, headers=headers, media_type="application/json")


def _key_of(request: Request) -> str | None:
    """The key of a mutating request. Raises Refused for one that cannot be stored."""
    key = request.headers.get(KEY_HEADER)
    if key is None or request.method in SAFE_METHODS:
        return None
    if not 0 < len(key) <= KEY_LENGTH_MAX or not key.isprintable():
        message = f"Idempotency-Key must be 1 to {KEY_LENGTH_MAX} printable characters"
        raise Refused(400, "validation_error", message)
    return key


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
