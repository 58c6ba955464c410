"""Prices: create one or many, read, search, replace, end."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from activities.prices import create_price, end_price, update_price
from models.queries.catalog import PriceFilter, find_meters, get_price, get_price_by_lookup_key, list_prices
from models.scope import Scope
from models.tables import PriceRow
from starter.api.context import Caller, CallerNow, Now, Session
from starter.api.transactions import TransactionRoute
from starter.schemas.catalog import MeterAnswer
from starter.schemas.prices import (
    CreatePriceRequest,
    CreatePricesRequest,
    DeletePriceRequest,
    PriceAnswer,
    PriceListParams,
    PriceSearch,
    UpdatePriceRequest,
)
from starter.schemas.wire import ListParams, Message, json_answer, list_answer

router = APIRouter(prefix="/prices", tags=["prices"], route_class=TransactionRoute)


@router.post("", status_code=201, response_model=PriceAnswer, summary="Create a price")
async def create(body: CreatePriceRequest, caller: CallerNow, session: Session) -> Response:
    """FLAT_FEE, PACKAGE or TIERED (VOLUME, SLAB) for a plan. The last tier has no `up_to`."""
    row = await create_price(session, caller.scope, body.new_price(), caller.key_id)
    return json_answer((await _answers(session, caller.scope, [row]))[0], 201)


@router.post("/bulk", status_code=201, summary="Create up to 100 prices")
async def create_many(body: CreatePricesRequest, caller: CallerNow, session: Session) -> Response:
    """All or none: the first that is refused is named by its index."""
    rows = []
    for index, item in enumerate(body.items):
        rows.append(await create_price(session, caller.scope, item.new_price(), caller.key_id, f"items[{index}]."))
    return json_answer({"items": await _answers(session, caller.scope, rows)}, 201)


@router.get("", summary="List prices")
async def list_all(params: Annotated[PriceListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first."""
    return await _list(params, params.wanted(), caller, session)


@router.post("/search", summary="Search prices")
async def search(body: PriceSearch, caller: CallerNow, session: Session) -> Response:
    """The list with filters and sorting in the body."""
    return await _list(body, body.wanted(), caller, session)


@router.get("/lookup/{lookup_key:path}", response_model=PriceAnswer, summary="Get a price by lookup key")
async def get_by_lookup_key(lookup_key: str, caller: CallerNow, session: Session) -> Response:
    """The price in force under this key, else the newest that has ended."""
    row = await get_price_by_lookup_key(session, caller.scope, lookup_key)
    return json_answer((await _answers(session, caller.scope, [row]))[0])


@router.get("/{price_id}", response_model=PriceAnswer, summary="Get a price")
async def get(price_id: str, caller: CallerNow, session: Session) -> Response:
    """The price with this id."""
    row = await get_price(session, caller.scope, price_id)
    return json_answer((await _answers(session, caller.scope, [row]))[0])


@router.put("/{price_id}", response_model=PriceAnswer, summary="Change a price")
async def update(price_id: str, body: UpdatePriceRequest, caller: CallerNow, session: Session, now: Now) -> Response:
    """Another amount makes a new price with a new id; running subscriptions keep the one they have."""
    row = await update_price(session, caller.scope, price_id, body.change(), now, caller.key_id)
    return json_answer((await _answers(session, caller.scope, [row]))[0])


@router.delete("/{price_id}", response_model=Message, summary="End a price")
async def delete(
    price_id: str, caller: CallerNow, session: Session, now: Now, body: DeletePriceRequest | None = None
) -> Response:
    """Nobody subscribes to it from `end_date` (else now) on; running subscriptions go on."""
    await end_price(session, caller.scope, price_id, body.end_date if body else None, now, caller.key_id)
    return json_answer(Message(message="Price deleted successfully"))


async def _list(params: ListParams, wanted: PriceFilter, caller: Caller, session: AsyncSession) -> Response:
    rows, total = await list_prices(session, caller.scope, params.page(), wanted)
    return list_answer(await _answers(session, caller.scope, rows), total, params)


async def _answers(session: AsyncSession, scope: Scope, rows: Sequence[PriceRow]) -> list[PriceAnswer]:
    meters = await find_meters(session, scope, [row.meter_id for row in rows if row.meter_id])
    shown = {meter_id: MeterAnswer.of(meter).wire() for meter_id, meter in meters.items()}
    return [PriceAnswer.of(row, shown.get(row.meter_id or "")) for row in rows]
