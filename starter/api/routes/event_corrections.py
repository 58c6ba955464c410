"""Voiding and amending events that were accepted, and the history of it."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from activities.event_corrections import Amendment, Correction, EventCorrections
from activities.test_clocks import business_now
from billing.errors import Invalid
from models.clickhouse.times import milliseconds
from models.queries.customers import find_customer_by_external_id
from models.queries.event_corrections import list_corrections
from starter.api.context import Caller, CallerNow, clients_of, utc_now
from starter.api.transactions import CommandRoute
from starter.clients import required
from starter.ingest.wire import BadEvent, TimeLimits, parse_properties
from starter.schemas.event_corrections import (
    AmendEventRequest,
    CorrectionListParams,
    EventCorrectionAnswer,
    VoidEventRequest,
)
from starter.schemas.wire import json_answer, list_answer

router = APIRouter(prefix="/events", tags=["usage"], route_class=CommandRoute)


@router.post("/{event_id}/void", response_model=EventCorrectionAnswer, summary="Void an event")
async def void(event_id: str, body: VoidEventRequest, caller: CallerNow, request: Request) -> Response:
    """It does not count any more; sending its id again does not bring it back. Repeating the call changes nothing."""
    row = await _corrections(request).void(_correction(event_id, body, caller))
    return json_answer(EventCorrectionAnswer.of(row))


@router.post("/{event_id}/amend", response_model=EventCorrectionAnswer, summary="Amend an event")
async def amend(event_id: str, body: AmendEventRequest, caller: CallerNow, request: Request) -> Response:
    """It counts as if it had been sent so. Invoices that are final keep what they were made of."""
    corrections = _corrections(request)
    try:
        amendment = Amendment(body.event_name, None, body.source, parse_properties(await request.body()))
        if body.timestamp is not None:
            event = await corrections.find(caller.scope, event_id, body.external_customer_id)
            await _check_time(body, event.external_customer_id, caller, request)
            amendment = Amendment(
                amendment.event_name, milliseconds(body.timestamp), amendment.source, amendment.properties
            )
    except BadEvent as error:
        raise Invalid(error.bad.message, field=error.bad.field) from error
    if amendment == Amendment():
        fields = "event_name, timestamp, source or properties"
        raise Invalid(f"an amendment must name what changes: {fields}", field="properties")
    row = await corrections.amend(_correction(event_id, body, caller), amendment)
    return json_answer(EventCorrectionAnswer.of(row))


@router.get("/corrections", summary="List voids and amendments of events")
async def list_all(params: Annotated[CorrectionListParams, Query()], caller: CallerNow, request: Request) -> Response:
    """Newest first: who, when, why, and the event before and after."""
    async with clients_of(request).database.transaction(caller.scope) as session:
        rows, total = await list_corrections(
            session, caller.scope, params.page(), params.event_id, params.external_customer_id
        )
    return list_answer([EventCorrectionAnswer.of(row) for row in rows], total, params)


async def _check_time(body: AmendEventRequest, external_id: str, caller: Caller, request: Request) -> None:
    """Raises BadEvent for a time that ingestion would not take."""
    async with clients_of(request).database.transaction(caller.scope) as session:
        now = await _now_of(session, caller, external_id)
    limits = TimeLimits(now, clients_of(request).settings.event_retention_months)
    if body.timestamp is not None:
        limits.check(milliseconds(body.timestamp))


async def _now_of(session: AsyncSession, caller: Caller, external_id: str) -> datetime:
    customer = await find_customer_by_external_id(session, caller.scope, external_id)
    return utc_now() if customer is None else await business_now(session, customer.test_clock_id)


def _correction(event_id: str, body: VoidEventRequest, caller: Caller) -> Correction:
    return Correction(caller.scope, event_id, body.external_customer_id, body.reason, caller.key_id)


def _corrections(request: Request) -> EventCorrections:
    clients = clients_of(request)
    return EventCorrections(clients.database, required(clients.clickhouse, "clickhouse"))
