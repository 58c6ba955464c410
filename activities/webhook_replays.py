"""Sending webhooks again: one delivery, or all of a time, each with the payload of the time when it happened.

Written down in one transaction and carried out by the outbox relay: a range is sent whole or not at all, whatever dies
meanwhile.
"""

from datetime import UTC, datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.outbox import REPLAY_DELIVERY
from billing.errors import Conflict
from models.queries.webhook_endpoints import get_webhook_delivery, get_webhook_endpoint
from models.queries.webhook_replays import DeliveryRange, send_again
from models.scope import Scope
from models.tables import WebhookDeliveryRow


async def replay_delivery(session: AsyncSession, scope: Scope, delivery_id: str) -> WebhookDeliveryRow:
    """Has one delivery sent again; one that is still being tried is left at that. Raises NotFound, Conflict."""
    row = await get_webhook_delivery(session, scope, delivery_id)
    await _require_enabled(session, scope, row.endpoint_id)
    await replay_range(session, scope, DeliveryRange(delivery_id=row.id))
    return row


async def replay_range(session: AsyncSession, scope: Scope, wanted: DeliveryRange) -> int:
    """Has a range sent again, to endpoints that are enabled; returns how many. Raises NotFound, Conflict."""
    if wanted.endpoint_id is not None:
        await _require_enabled(session, scope, wanted.endpoint_id)
    return await send_again(session, scope, wanted, REPLAY_DELIVERY, datetime.now(UTC))


async def _require_enabled(session: AsyncSession, scope: Scope, endpoint_id: str) -> None:
    endpoint = await get_webhook_endpoint(session, scope, endpoint_id)
    if endpoint.endpoint_status != "enabled":
        raise Conflict(
            f"the endpoint is disabled ({endpoint.disabled_reason}); enable it first",
            state="disabled",
            possible=("enable the endpoint",),
        )
