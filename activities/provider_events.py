"""What payment providers tell us: stored once by the provider's own id, before anybody acts on it."""

from dataclasses import asdict
from datetime import datetime

from sqlalchemy.dialects.postgresql import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.outbox import TELL_INVOICE, enqueue
from activities.ports import ProviderEvent
from models.ids import new_id
from models.queries.payments import find_attempt
from models.scope import Scope
from models.tables import ProviderEventRow


async def store_provider_event(
    session: AsyncSession, scope: Scope, event: ProviderEvent, body: str, now: datetime
) -> str | None:
    """Stores the event, once. Returns the id of the invoice that it is about, if any, which is told of it."""
    values = {
        "id": new_id("pe"),
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "status": "published",
        "created_at": now,
        "updated_at": now,
        "created_by": event.provider,
        "updated_by": event.provider,
        "provider": event.provider,
        "provider_event_id": event.event_id,
        "event_type": event.type,
        "attempt_id": event.attempt_id,
        "body": body,
        "outcome": None if event.outcome is None else asdict(event.outcome),
        "received_at": now,
    }
    await session.exec(insert(ProviderEventRow).values(values).on_conflict_do_nothing())
    attempt = await find_attempt(session, event.attempt_id or "")
    if attempt is None or event.outcome is None:
        return None
    await enqueue(session, scope, TELL_INVOICE, attempt.invoice_id)
    return attempt.invoice_id
