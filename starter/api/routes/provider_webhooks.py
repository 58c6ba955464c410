"""Inbound webhooks of payment providers: verified over the raw body, stored once; the outbox then tells the invoice."""

import structlog
from fastapi import APIRouter, Request
from starlette.responses import Response

from activities.ports import BadWebhook
from activities.provider_events import store_provider_event
from billing.errors import NotFound
from models.scope import Scope
from starter.api.context import Now, clients_of
from starter.api.errors import Refused
from starter.schemas.wire import Message, json_answer

log = structlog.get_logger(__name__)
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
        log.warning("provider_webhook.refused", provider=provider, tenant_id=tenant_id, reason=str(error))
        raise Refused(400, "validation_error", str(error)) from error
    scope = Scope(tenant_id, environment_id)
    async with clients.database.transaction(scope) as session:
        about = await store_provider_event(session, scope, event, body.decode(), now)
    log.info("provider_webhook.stored", provider=provider, event_id=event.event_id, type=event.type, invoice_id=about)
    return json_answer(Message(message="Event accepted"))
