"""What several routes do alike."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog
from fastapi import Request
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response
from temporalio.service import RPCError

from models.queries.customers import find_customer_by_external_id
from models.scope import Scope
from starter.api.context import after_commit, clients_of
from starter.clients import required
from starter.commands import Commands
from starter.schemas.wire import ListParams, Pagination, json_answer
from workflows.gate import TemporalGate

START_SECONDS: Final = 2.0
log = structlog.get_logger(__name__)


def commands_of(request: Request) -> Commands:
    """The commands to running workflows."""
    clients = clients_of(request)
    return Commands(required(clients.temporal, "temporal"), clients.database)


def start_after_commit(request: Request, start: Callable[[TemporalGate], Awaitable[None]]) -> None:
    """Starts a workflow once the transaction is in, so that a command right after the answer meets it.

    Only for speed: the outbox relay starts it as well, whatever happens here.
    """
    temporal = clients_of(request).temporal
    if temporal is None:
        return
    gate = TemporalGate(temporal, wake_spread_seconds=clients_of(request).settings.wake_spread_seconds)

    async def started() -> None:
        try:
            await asyncio.wait_for(start(gate), START_SECONDS)
        except (RPCError, TimeoutError) as error:
            log.info("workflow.left_to_relay", problem=str(error))

    after_commit(request, started)


def bodies_answer(items: Sequence[dict[str, Any]], total: int, params: ListParams) -> Response:
    """The list envelope around bodies that are JSON already."""
    pagination = Pagination(total=total, limit=params.limit, offset=params.offset)
    return json_answer({"items": list(items), "pagination": pagination.wire()})


async def named_customers(
    session: AsyncSession, scope: Scope, customer_id: str | None, external_id: str | None
) -> list[str] | None:
    """Ids of the customers that a filter names; an unknown external id matches nothing. None: no filter."""
    if external_id is None:
        return None if customer_id is None else [customer_id]
    customer = await find_customer_by_external_id(session, scope, external_id)
    found = [] if customer is None else [customer.id]
    return found if customer_id is None or customer_id in found else []
