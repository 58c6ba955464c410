"""What became of accepted events, minute by minute."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from activities.event_reconciliation import reconcile
from starter.api.context import CallerNow, Now, clients_of
from starter.api.transactions import CommandRoute
from starter.clients import required
from starter.schemas.event_reconciliation import ReconciliationAnswer, ReconciliationParams
from starter.schemas.wire import json_answer

router = APIRouter(tags=["usage"], route_class=CommandRoute)


@router.get("/events/reconciliation", response_model=ReconciliationAnswer, summary="Reconcile accepted events")
async def get(
    params: Annotated[ReconciliationParams, Query()], caller: CallerNow, request: Request, now: Now
) -> Response:
    """accepted + replayed = stored + duplicate + dead_lettered, or a finding says where not; and what is billed."""
    start, end = params.span(now)
    clients = clients_of(request)
    clickhouse, progress = required(clients.clickhouse, "clickhouse"), required(clients.progress, "events")
    found = await reconcile(clients.database, clickhouse, progress, caller.scope, start, end, now)
    return json_answer(ReconciliationAnswer.of(found, start, end))
