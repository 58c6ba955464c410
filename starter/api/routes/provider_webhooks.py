"""Inbound webhooks of payment providers: verified over the raw body, stored once; the outbox then tells the invoice."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from activities.ports import BadWebhook
from activities.provider_events import store_provider_event
from billing.errors import NotFound
from models.scope import Scope
from starter.api.context import Now, clients_of
from starter.api.errors import Refused
from starter.schemas.wire import Message, json_answer

router = APIRouter(prefix="/webhooks", tags=["webhooks"])


@router.post("/{provider}/{tenant_id}/{environment_id}", response_model=Message, summary="For payment providers")
async def receive(provider: str, tenant_id: str, environment_id: str, request: Request, now: Now) -> Response:
    """Needs no API key: the provider's signature is the proof. A repeated event is acknowledged and changes nothing."""
    clients = clients_of(request)
    if provider not in clients.providers:
        raise NotFound(f"no payment provider {provider!r} is configured here", field="provider")
    body = await request.body()
    try:
        event = clients.providers[provider].parse_webhook(request.headers, body, now)
    except BadWebhook as error:
        raise Refused(400, "validation_error", str(error)) from error
    scope = Scope(tenant_id, environment_id)
    async with clients.database.transaction(scope) as session:
        await store_provider_event(session, scope, event, body.decode(), now)
    return json_answer(Message(message="Event accepted"))
