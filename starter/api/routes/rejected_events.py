"""Accepted events that count nowhere, and why."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from models.clickhouse.rejected_events import read_rejected
from models.conversions import meter_from_row
from models.queries.catalog import all_meters
from starter.api.context import CallerNow, Now, clients_of
from starter.api.transactions import CommandRoute
from starter.clients import required
from starter.schemas.rejected_events import RejectedEventsListAnswer, RejectedEventsParams
from starter.schemas.wire import json_answer

router = APIRouter(tags=["usage"], route_class=CommandRoute)


@router.get("/events/rejected", response_model=RejectedEventsListAnswer, summary="Events that count nowhere")
async def get(
    params: Annotated[RejectedEventsParams, Query()], caller: CallerNow, request: Request, now: Now
) -> Response:
    """They are stored all the same: a meter that is made later counts them."""
    start, end = params.span(now)
    clients = clients_of(request)
    async with clients.database.transaction(caller.scope) as session:
        meters = [meter_from_row(row) for row in await all_meters(session, caller.scope)]
    found = await read_rejected(required(clients.clickhouse, "clickhouse"), caller.scope, meters, start, end)
    return json_answer(RejectedEventsListAnswer.of(found, start, end))
