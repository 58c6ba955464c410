"""Reading webhook endpoints and the deliveries to them."""

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.errors import NotFound
from models.queries.paging import Page, find_one, get_page, own
from models.scope import Scope
from models.tables import OutboxRow, WebhookDeliveryRow, WebhookEndpointRow, WebhookEventRow


async def get_webhook_endpoint(
    session: AsyncSession, scope: Scope, endpoint_id: str, lock: bool = False
) -> WebhookEndpointRow:
    """The endpoint with this id. Raises NotFound."""
    row = await find_one(session, scope, WebhookEndpointRow, col(WebhookEndpointRow.id) == endpoint_id, lock=lock)
    if row is None:
        raise NotFound(f"no webhook endpoint has the id {endpoint_id!r}", field="id")
    return row


async def list_webhook_endpoints(
    session: AsyncSession, scope: Scope, page: Page
) -> tuple[list[WebhookEndpointRow], int]:
    """One page of endpoints and how many there are."""
    return await get_page(session, scope, WebhookEndpointRow, page, columns={"url": WebhookEndpointRow.url})


async def list_webhook_deliveries(
    session: AsyncSession, scope: Scope, page: Page, endpoint_id: str | None = None, event_type: str | None = None,
    delivery_status: str | None = None,
) -> tuple[list[WebhookDeliveryRow], int]:  # fmt: skip
    """One page of deliveries and how many match in all."""
    where: list[ColumnElement[bool]] = []
    if endpoint_id is not None:
        where.append(col(WebhookDeliveryRow.endpoint_id) == endpoint_id)
    if event_type is not None:
        where.append(col(WebhookDeliveryRow.event_type) == event_type)
    if delivery_status is not None:
        where.append(col(WebhookDeliveryRow.delivery_status) == delivery_status)
    return await get_page(session, scope, WebhookDeliveryRow, page, where)


async def get_webhook_delivery(session: AsyncSession, scope: Scope, delivery_id: str) -> WebhookDeliveryRow:
    """The delivery with this id. Raises NotFound."""
    row = await find_one(session, scope, WebhookDeliveryRow, col(WebhookDeliveryRow.id) == delivery_id)
    if row is None:
        raise NotFound(f"no webhook delivery has the id {delivery_id!r}", field="id")
    return row


async def get_webhook_event(session: AsyncSession, scope: Scope, event_id: str) -> WebhookEventRow:
    """The event with this id. Raises NotFound."""
    statement = select(WebhookEventRow).where(*own(WebhookEventRow, scope), col(WebhookEventRow.id) == event_id)
    row = (await session.execute(statement)).scalar_one_or_none()
    if row is None:
        raise NotFound(f"no webhook event has the id {event_id!r}", field="id")
    return row


async def find_next_delivery(
    session: AsyncSession, endpoint_id: str
) -> tuple[WebhookDeliveryRow, WebhookEventRow] | None:
    """The pending delivery to the endpoint whose event happened first, and that event."""
    way, event = WebhookDeliveryRow, WebhookEventRow
    statement = (
        select(way, event)
        .join(event, col(event.id) == col(way.event_id))
        .where(col(way.endpoint_id) == endpoint_id, col(way.delivery_status) == "pending")
        .order_by(col(event.created_at), col(event.id))
        .limit(1)
    )
    found = (await session.execute(statement)).one_or_none()
    return None if found is None else (found[0], found[1])


async def is_preceded(session: AsyncSession, event: WebhookEventRow) -> bool:
    """Whether an earlier event of the same tenant and environment still waits for the relay."""
    earlier, waiting = WebhookEventRow, OutboxRow
    statement = (
        select(col(waiting.id))
        .join(earlier, col(earlier.id) == col(waiting.reference))
        .where(
            col(waiting.kind) == "webhook",
            col(waiting.relayed_at).is_(None),
            col(earlier.created_at) < event.created_at,
        )
        .limit(1)
    )
    return (await session.execute(statement)).first() is not None
