"""Loses an answer on purpose: closes the connection of a request already carried out, without a byte of answer."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

ABORT = "sandbox.abort"
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class DroppableProtocol(H11Protocol):
    """uvicorn's HTTP protocol, which also hands the application the means to abort its connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        inner = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[ABORT] = self.transport.abort
            await inner(scope, receive, send)

        self.app = app


async def drop_connection(request: Request) -> Response:
    """Abort the connection and wait until it is gone; the response returned goes nowhere."""
    request.scope["extensions"][ABORT]()
    while (await request.receive())["type"] != "http.disconnect":
        continue
    return Response()
