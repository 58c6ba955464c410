"""Meters: create, read, change the filters, take out of use."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from activities.catalog import create_meter, end_meter, update_meter_filters
from models.queries.catalog import get_meter, list_meters
from starter.api.context import CallerNow, Now, Session
from starter.api.transactions import TransactionRoute
from starter.schemas.catalog import CreateMeterRequest, MeterAnswer, MeterListParams, UpdateMeterRequest
from starter.schemas.wire import Message, json_answer, list_answer

router = APIRouter(prefix="/meters", tags=["meters"], route_class=TransactionRoute)


@router.post("", status_code=201, response_model=MeterAnswer, summary="Create a meter")
async def create(body: CreateMeterRequest, caller: CallerNow, session: Session) -> Response:
    """A meter turns events of one name into a quantity."""
    row = await create_meter(session, caller.scope, body.new_meter(), caller.key_id)
    return json_answer(MeterAnswer.of(row), 201)


@router.get("", summary="List meters")
async def list_all(params: Annotated[MeterListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first."""
    rows, total = await list_meters(session, caller.scope, params.page(), event_name=params.event_name)
    return list_answer(map(MeterAnswer.of, rows), total, params)


@router.get("/{meter_id}", response_model=MeterAnswer, summary="Get a meter")
async def get(meter_id: str, caller: CallerNow, session: Session) -> Response:
    """The meter with this id."""
    return json_answer(MeterAnswer.of(await get_meter(session, caller.scope, meter_id)))


@router.put("/{meter_id}", response_model=MeterAnswer, summary="Replace a meter's filters")
async def update(meter_id: str, body: UpdateMeterRequest, caller: CallerNow, session: Session, now: Now) -> Response:
    """The filters are all that can change; usage that is not invoiced yet is counted with the new ones."""
    row = await update_meter_filters(session, caller.scope, meter_id, body.new_filters(), now, caller.key_id)
    return json_answer(MeterAnswer.of(row))


@router.post("/{meter_id}/disable", response_model=Message, summary="Take a meter out of use")
async def disable(meter_id: str, caller: CallerNow, session: Session, now: Now) -> Response:
    """No new price may use it; prices that do go on."""
    await end_meter(session, caller.scope, meter_id, "archived", now, caller.key_id)
    return json_answer(Message(message="Meter disabled successfully"))


@router.delete("/{meter_id}", response_model=Message, summary="Delete a meter")
async def delete(meter_id: str, caller: CallerNow, session: Session, now: Now) -> Response:
    """It disappears from lists; prices that use it go on."""
    await end_meter(session, caller.scope, meter_id, "deleted", now, caller.key_id)
    return json_answer(Message(message="Meter deleted successfully"))
