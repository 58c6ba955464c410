"""What several routes do alike."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from models.queries.customers import find_customer_by_external_id
from models.scope import Scope
from starter.api.context import clients_of
from starter.clients import required
from starter.commands import Commands
from starter.schemas.wire import ListParams, Pagination, json_answer


def commands_of(request: Request) -> Commands:
    """The commands to running workflows."""
    clients = clients_of(request)
    return Commands(required(clients.temporal, "temporal"), clients.database)


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
