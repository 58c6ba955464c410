"""Webhook endpoints with secret rotation, deliveries and replay; and what payment providers send us."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from activities.adapters.webhook_address import check_url
from activities.ports import UrlRefused
from activities.webhook_endpoints import (
    create_webhook_endpoint,
    delete_webhook_endpoint,
    rotate_webhook_secret,
    update_webhook_endpoint,
)
from activities.webhook_replays import replay_delivery, replay_range
from billing.errors import Invalid
from models.queries.webhook_endpoints import (
    get_webhook_delivery,
    get_webhook_endpoint,
    list_webhook_deliveries,
    list_webhook_endpoints,
)
from starter.api.context import CallerNow, Now, Session, clients_of
from starter.api.transactions import TransactionRoute
from starter.schemas.webhooks import (
    CreateWebhookEndpointRequest,
    DeliveryListParams,
    ReplayAnswer,
    ReplayRequest,
    RotateSecretRequest,
    UpdateWebhookEndpointRequest,
    WebhookDeliveryAnswer,
    WebhookEndpointAnswer,
)
from starter.schemas.wire import ListParams, Message, json_answer, list_answer

router = APIRouter(prefix="/webhooks", tags=["webhooks"], route_class=TransactionRoute)


@router.post("/endpoints", status_code=201, response_model=WebhookEndpointAnswer, summary="Create a webhook endpoint")
async def create(body: CreateWebhookEndpointRequest, caller: CallerNow, session: Session, request: Request) -> Response:
    """Deliveries follow Standard Webhooks; the secret that signs them is shown in this answer only."""
    await _check_url(request, body.url)
    row = await create_webhook_endpoint(session, caller.scope, body.new_endpoint(), caller.key_id)
    return json_answer(WebhookEndpointAnswer.of(row, show_secret=True), 201)


@router.get("/endpoints", summary="List webhook endpoints")
async def list_all(params: Annotated[ListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first."""
    rows, total = await list_webhook_endpoints(session, caller.scope, params.page())
    return list_answer(map(WebhookEndpointAnswer.of, rows), total, params)


@router.get("/endpoints/{endpoint_id}", response_model=WebhookEndpointAnswer, summary="Get a webhook endpoint")
async def get(endpoint_id: str, caller: CallerNow, session: Session) -> Response:
    """The endpoint with this id, without its secret."""
    return json_answer(WebhookEndpointAnswer.of(await get_webhook_endpoint(session, caller.scope, endpoint_id)))


@router.put("/endpoints/{endpoint_id}", response_model=WebhookEndpointAnswer, summary="Change a webhook endpoint")
async def update(
    endpoint_id: str, body: UpdateWebhookEndpointRequest, caller: CallerNow, session: Session, request: Request,
    now: Now,
) -> Response:  # fmt: skip
    """Fields that are left out stay as they are."""
    if body.url is not None:
        await _check_url(request, body.url)
    row = await update_webhook_endpoint(session, caller.scope, endpoint_id, body.change(), now, caller.key_id)
    return json_answer(WebhookEndpointAnswer.of(row))


@router.delete("/endpoints/{endpoint_id}", response_model=Message, summary="Delete a webhook endpoint")
async def delete(endpoint_id: str, caller: CallerNow, session: Session, now: Now) -> Response:
    """Nothing more is sent to it."""
    await delete_webhook_endpoint(session, caller.scope, endpoint_id, now, caller.key_id)
    return json_answer(Message(message="Webhook endpoint deleted successfully"))


@router.post(
    "/endpoints/{endpoint_id}/rotate-secret",
    response_model=WebhookEndpointAnswer,
    summary="Give a webhook endpoint a new secret",
)
async def rotate_secret(
    endpoint_id: str, caller: CallerNow, session: Session, now: Now, body: RotateSecretRequest | None = None
) -> Response:
    """Both secrets sign until the overlap is over (24 hours unless said otherwise)."""
    overlap = timedelta(seconds=(body or RotateSecretRequest()).overlap_seconds)
    row = await rotate_webhook_secret(session, caller.scope, endpoint_id, overlap, now, caller.key_id)
    return json_answer(WebhookEndpointAnswer.of(row, show_secret=True))


@router.get("/endpoints/{endpoint_id}/deliveries", summary="List the deliveries to an endpoint")
async def list_of_endpoint(
    endpoint_id: str, params: Annotated[DeliveryListParams, Query()], caller: CallerNow, session: Session
) -> Response:
    """Newest first."""
    endpoint = await get_webhook_endpoint(session, caller.scope, endpoint_id)
    rows, total = await list_webhook_deliveries(
        session, caller.scope, params.page(), endpoint.id, params.event_type, params.delivery_status
    )
    return list_answer(map(WebhookDeliveryAnswer.of, rows), total, params)


@router.get("/deliveries", summary="List deliveries")
async def list_deliveries(
    params: Annotated[DeliveryListParams, Query()], caller: CallerNow, session: Session
) -> Response:
    """Newest first, of every endpoint or of one."""
    rows, total = await list_webhook_deliveries(
        session, caller.scope, params.page(), params.endpoint_id, params.event_type, params.delivery_status
    )
    return list_answer(map(WebhookDeliveryAnswer.of, rows), total, params)


@router.get("/deliveries/{delivery_id}", response_model=WebhookDeliveryAnswer, summary="Get a delivery")
async def get_delivery(delivery_id: str, caller: CallerNow, session: Session) -> Response:
    """The delivery with this id."""
    return json_answer(WebhookDeliveryAnswer.of(await get_webhook_delivery(session, caller.scope, delivery_id)))


@router.post("/deliveries/replay", response_model=ReplayAnswer, summary="Send all deliveries of a time again")
async def replay_many(body: ReplayRequest, caller: CallerNow, session: Session) -> Response:
    """Those of events that happened in the time, to endpoints that are enabled: all of them or none."""
    return json_answer(ReplayAnswer(replayed=await replay_range(session, caller.scope, body.wanted())))


@router.post("/deliveries/{delivery_id}/replay", response_model=WebhookDeliveryAnswer, summary="Send it again")
async def replay(delivery_id: str, caller: CallerNow, session: Session) -> Response:
    """The payload is the one of the time when it happened. One that is still being retried is left at that."""
    return json_answer(WebhookDeliveryAnswer.of(await replay_delivery(session, caller.scope, delivery_id)))


async def _check_url(request: Request, url: str) -> None:
    try:
        await check_url(url, clients_of(request).settings.webhooks_allow_private)
    except UrlRefused as error:
        raise Invalid(str(error), field="url") from error
