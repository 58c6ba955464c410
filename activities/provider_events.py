"""What payment providers tell us: stored once by the provider's own id, before anybody acts on it."""

from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy.dialects.postgresql import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.outbox import TELL_INVOICE, enqueue
from activities.ports import ChargeOutcome, Disputed, ProviderEvent, RefundTold
from models.ids import new_id
from models.queries.payments import find_attempt, find_attempt_by_charge
from models.scope import Scope
from models.tables import PaymentAttemptRow, ProviderEventRow

NEWS: TypeAdapter[ChargeOutcome | Disputed | RefundTold] = TypeAdapter(ChargeOutcome | Disputed | RefundTold)
"""What an event says, in its stored form."""


async def store_provider_event(
    session: AsyncSession, scope: Scope, event: ProviderEvent, body: str, now: datetime
) -> str | None:
    """Stores the event, once. Returns the id of the invoice that it is about, if any, which is told of it."""
    news = event.dispute or event.refund or event.outcome
    attempt = await _attempt_of(session, event)
    attempt_id = event.attempt_id if attempt is None else attempt.id
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
        "attempt_id": attempt_id,
        "body": body,
        "outcome": None if news is None else NEWS.dump_python(news, mode="json"),
        "received_at": now,
    }
    await session.exec(insert(ProviderEventRow).values(values).on_conflict_do_nothing())
    if attempt is None or news is None:
        return None
    await enqueue(session, scope, TELL_INVOICE, attempt.invoice_id)
    return attempt.invoice_id


async def _attempt_of(session: AsyncSession, event: ProviderEvent) -> PaymentAttemptRow | None:
    """The attempt that the event is about: providers name it, or only their own charge."""
    attempt = await find_attempt(session, event.attempt_id or "")
    about = event.dispute or event.refund
    if attempt is None and about is not None:
        attempt = await find_attempt_by_charge(session, event.provider, about.provider_payment_id)
    return attempt
