"""Which deliveries are to be sent again, and writing that down in one statement, however many they are."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, Text, func, insert, literal, select, update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from models.scope import Scope
from models.tables import OutboxRow, WebhookDeliveryRow, WebhookEndpointRow, WebhookEventRow


@dataclass(frozen=True, slots=True)
class DeliveryRange:
    """Deliveries of events that happened in [start, end), in real time; None leaves a field open."""

    start: datetime | None = None
    end: datetime | None = None
    endpoint_id: str | None = None
    event_type: str | None = None
    delivery_status: str | None = None
    delivery_id: str | None = None


async def send_again(session: AsyncSession, scope: Scope, wanted: DeliveryRange, kind: str, now: datetime) -> int:
    """Adds an outbox row of that kind for each delivery of the range to an enabled endpoint; returns how many.

    Where order counts, the endpoint's queue takes what is pending, so these become pending.
    """
    in_order = _ids(scope, wanted).where(col(WebhookEndpointRow.ordered))
    row = WebhookDeliveryRow
    mark = update(row).where(col(row.id).in_(in_order)).values(delivery_status="pending", updated_at=now)
    chosen = _ids(scope, wanted).subquery()
    rows = select(
        func.concat("outbox_", func.upper(func.replace(func.gen_random_uuid().cast(Text), "-", ""))),
        literal(scope.tenant_id),
        literal(scope.environment_id),
        literal(kind),
        chosen.c.id,
        literal(now),
        literal(0),
    )
    names = ["id", "tenant_id", "environment_id", "kind", "reference", "created_at", "attempts"]
    made = await session.execute(insert(OutboxRow).from_select(names, rows))
    await session.execute(mark)
    return int(made.rowcount)  # type: ignore[attr-defined]  # of an INSERT, which SQLAlchemy types as any result


def _ids(scope: Scope, wanted: DeliveryRange) -> Select[str]:
    way, event, endpoint = WebhookDeliveryRow, WebhookEventRow, WebhookEndpointRow
    query = (
        select(col(way.id))
        .join(event, col(event.id) == col(way.event_id))
        .join(endpoint, col(endpoint.id) == col(way.endpoint_id))
        .where(
            col(way.tenant_id) == scope.tenant_id,
            col(way.environment_id) == scope.environment_id,
            col(endpoint.endpoint_status) == "enabled",
            col(endpoint.status) == "published",
        )
    )
    if wanted.start is not None:
        query = query.where(col(event.created_at) >= wanted.start)
    if wanted.end is not None:
        query = query.where(col(event.created_at) < wanted.end)
    exact = {
        col(way.endpoint_id): wanted.endpoint_id,
        col(way.event_type): wanted.event_type,
        col(way.delivery_status): wanted.delivery_status,
        col(way.id): wanted.delivery_id,
    }
    return query.where(*(column == value for column, value in exact.items() if value is not None))
