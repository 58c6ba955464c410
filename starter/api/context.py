"""What a request carries beside itself: the clients of the process, who asks, and its transaction."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlmodel.ext.asyncio.session import AsyncSession

from models.scope import Scope
from starter.clients import Clients


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the API key, and the one environment that it is pinned to."""

    scope: Scope
    key_id: str
    roles: tuple[str, ...]


def utc_now() -> datetime:
    """The real time. The time of a customer on a test clock is another one."""
    return datetime.now(UTC)


def caller_of(request: Request) -> Caller:
    """The caller, as the gate has found it."""
    return cast(Caller, request.state.caller)


def session_of(request: Request) -> AsyncSession:
    """The transaction of this request, in the caller's scope; committed before the answer goes out."""
    return cast(AsyncSession, request.state.session)


def clients_of(request: Request) -> Clients:
    """The clients of the process."""
    return cast(Clients, request.app.state.clients)


def providers_of(request: Request) -> Collection[str]:
    """Names of the payment providers that are configured."""
    return clients_of(request).providers.keys()


def after_commit(request: Request, step: Callable[[], Awaitable[None]]) -> None:
    """Runs `step` once the transaction is committed and before the answer goes out."""
    request.state.after_commit.append(step)


CallerNow = Annotated[Caller, Depends(caller_of)]
Session = Annotated[AsyncSession, Depends(session_of)]
Now = Annotated[datetime, Depends(utc_now)]
