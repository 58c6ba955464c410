"""Plans: create, read, search, change, delete."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from activities.catalog import create_plan, delete_plan, update_plan
from models.queries.catalog import get_plan, list_plans, prices_of_plans
from starter.api.context import Caller, CallerNow, Now, Session
from starter.api.transactions import TransactionRoute
from starter.schemas.catalog import CreatePlanRequest, PlanAnswer, PlanListParams, PlanSearch, UpdatePlanRequest
from starter.schemas.wire import ListParams, Message, json_answer, list_answer

router = APIRouter(prefix="/plans", tags=["plans"], route_class=TransactionRoute)


@router.post("", status_code=201, response_model=PlanAnswer, summary="Create a plan")
async def create(body: CreatePlanRequest, caller: CallerNow, session: Session) -> Response:
    """Its prices follow by `POST /v1/prices`."""
    row = await create_plan(session, caller.scope, body.new_plan(), caller.key_id)
    return json_answer(PlanAnswer.of(row), 201)


@router.get("", summary="List plans")
async def list_all(params: Annotated[PlanListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first; `expand=prices` adds the prices."""
    return await _list(params, None, params.lookup_key, caller, session)


@router.post("/search", summary="Search plans")
async def search(body: PlanSearch, caller: CallerNow, session: Session) -> Response:
    """The list with filters and sorting in the body."""
    return await _list(body, body.plan_ids, body.lookup_key, caller, session)


@router.get("/{plan_id}", response_model=PlanAnswer, summary="Get a plan")
async def get(plan_id: str, caller: CallerNow, session: Session, now: Now) -> Response:
    """The plan with the prices that can be subscribed to, in the order in which invoices list them."""
    row = await get_plan(session, caller.scope, plan_id)
    prices = await prices_of_plans(session, caller.scope, [plan_id], now)
    return json_answer(PlanAnswer.of(row, prices[plan_id]))


@router.put("/{plan_id}", response_model=PlanAnswer, summary="Change a plan")
async def update(plan_id: str, body: UpdatePlanRequest, caller: CallerNow, session: Session, now: Now) -> Response:
    """Fields that are left out stay as they are."""
    row = await update_plan(session, caller.scope, plan_id, body.change(), now, caller.key_id)
    return json_answer(PlanAnswer.of(row))


@router.delete("/{plan_id}", response_model=Message, summary="Delete a plan")
async def delete(plan_id: str, caller: CallerNow, session: Session, now: Now) -> Response:
    """Nobody can subscribe to it any more; running subscriptions go on."""
    await delete_plan(session, caller.scope, plan_id, now, caller.key_id)
    return json_answer(Message(message="Plan deleted successfully"))


async def _list(
    params: ListParams, plan_ids: Sequence[str] | None, lookup_key: str | None, caller: Caller, session: AsyncSession
) -> Response:
    rows, total = await list_plans(session, caller.scope, params.page(), plan_ids, lookup_key)
    prices = None
    if params.expands("prices"):
        prices = await prices_of_plans(session, caller.scope, [row.id for row in rows])
    answers = [PlanAnswer.of(row, prices[row.id] if prices is not None else None) for row in rows]
    return list_answer(answers, total, params)
