"""Features: create (with an inline meter), read, search, change, delete."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from activities.catalog import create_feature, delete_feature, update_feature
from models.queries.catalog import FeatureFilter, find_meters, get_feature, list_features
from models.scope import Scope
from models.tables import FeatureRow
from starter.api.context import Caller, CallerNow, Now, Session
from starter.api.transactions import TransactionRoute
from starter.schemas.catalog import (
    CreateFeatureRequest,
    FeatureAnswer,
    FeatureListParams,
    FeatureSearch,
    UpdateFeatureRequest,
)
from starter.schemas.wire import ListParams, Message, json_answer, list_answer

router = APIRouter(prefix="/features", tags=["features"], route_class=TransactionRoute)


@router.post("", status_code=201, response_model=FeatureAnswer, summary="Create a feature")
async def create(body: CreateFeatureRequest, caller: CallerNow, session: Session) -> Response:
    """A metered feature needs `meter_id` or `meter`. Without `lookup_key` it gets one from its name."""
    row = await create_feature(session, caller.scope, body.new_feature(), caller.key_id)
    return json_answer((await _answers(session, caller.scope, [row]))[0], 201)


@router.get("", summary="List features")
async def list_all(params: Annotated[FeatureListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first."""
    return await _list(params, params.wanted(), caller, session)


@router.post("/search", summary="Search features")
async def search(body: FeatureSearch, caller: CallerNow, session: Session) -> Response:
    """The list with filters and sorting in the body."""
    return await _list(body, body.wanted(), caller, session)


@router.get("/{feature_id}", response_model=FeatureAnswer, summary="Get a feature")
async def get(feature_id: str, caller: CallerNow, session: Session) -> Response:
    """The feature with this id, with its meter."""
    row = await get_feature(session, caller.scope, feature_id)
    return json_answer((await _answers(session, caller.scope, [row]))[0])


@router.put("/{feature_id}", response_model=FeatureAnswer, summary="Change a feature")
async def update(
    feature_id: str, body: UpdateFeatureRequest, caller: CallerNow, session: Session, now: Now
) -> Response:
    """Fields that are left out stay as they are."""
    row = await update_feature(session, caller.scope, feature_id, body.change(), now, caller.key_id)
    return json_answer((await _answers(session, caller.scope, [row]))[0])


@router.delete("/{feature_id}", response_model=Message, summary="Delete a feature")
async def delete(feature_id: str, caller: CallerNow, session: Session, now: Now) -> Response:
    """Its meter goes on measuring for the prices that use it."""
    await delete_feature(session, caller.scope, feature_id, now, caller.key_id)
    return json_answer(Message(message="Feature deleted successfully"))


async def _list(params: ListParams, wanted: FeatureFilter, caller: Caller, session: AsyncSession) -> Response:
    rows, total = await list_features(session, caller.scope, params.page(), wanted)
    return list_answer(await _answers(session, caller.scope, rows), total, params)


async def _answers(session: AsyncSession, scope: Scope, rows: Sequence[FeatureRow]) -> list[FeatureAnswer]:
    meters = await find_meters(session, scope, [row.meter_id for row in rows if row.meter_id])
    return [FeatureAnswer.of(row, meters.get(row.meter_id or "")) for row in rows]
