"""Test clocks: create, read, advance."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from activities.test_clocks import clock_state, create_test_clock, get_clock
from models.queries.paging import get_page
from models.tables import TestClockRow
from starter.api.context import CallerNow, Session, clients_of
from starter.api.routes.shared import commands_of, start_after_commit
from starter.api.transactions import CommandRoute, TransactionRoute
from starter.schemas.tenants import AdvanceTestClockRequest, CreateTestClockRequest, TestClockAnswer
from starter.schemas.wire import ListParams, json_answer, list_answer

router = APIRouter(prefix="/test_clocks", tags=["test clocks"], route_class=TransactionRoute)
commands = APIRouter(prefix="/test_clocks", tags=["test clocks"], route_class=CommandRoute)


@router.post("", status_code=201, response_model=TestClockAnswer, summary="Create a test clock")
async def create(body: CreateTestClockRequest, caller: CallerNow, session: Session, request: Request) -> Response:
    """Customers join it when they are created (`test_clock_id`); their time is then the clock's."""
    row = await create_test_clock(session, caller.scope, body.name, body.frozen_time)
    state = clock_state(row)
    start_after_commit(request, lambda gate: gate.start_test_clock(state))
    return json_answer(TestClockAnswer.of(row), 201)


@router.get("", summary="List test clocks")
async def list_all(params: Annotated[ListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first."""
    columns = {"name": TestClockRow.name, "frozen_time": TestClockRow.frozen_time}
    rows, total = await get_page(session, caller.scope, TestClockRow, params.page(), columns=columns)
    return list_answer(map(TestClockAnswer.of, rows), total, params)


@router.get("/{clock_id}", response_model=TestClockAnswer, summary="Get a test clock")
async def get(clock_id: str, session: Session) -> Response:
    """Where it stands, and whether it is on its way."""
    return json_answer(TestClockAnswer.of(await get_clock(session, clock_id)))


@commands.post("/{clock_id}/advance", response_model=TestClockAnswer, summary="Advance a test clock")
async def advance(clock_id: str, body: AdvanceTestClockRequest, caller: CallerNow, request: Request) -> Response:
    """Answers when it has begun (`advancing`); read the clock until it is `ready`. It stops at every instant due."""
    await commands_of(request).advance_clock(caller.scope, clock_id, body.frozen_time)
    async with clients_of(request).database.transaction(caller.scope) as session:
        return json_answer(TestClockAnswer.of(await get_clock(session, clock_id)))
