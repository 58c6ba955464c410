"""Saying, in the transaction that causes it, what must happen afterwards: tell other systems, start a workflow."""

import json
from datetime import UTC, datetime
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from models.ids import new_id
from models.scope import Scope
from models.tables import OutboxRow, WebhookEventRow

WEBHOOK = "webhook"
START_SUBSCRIPTION = "start_subscription"
START_INVOICE = "start_invoice"
START_TEST_CLOCK = "start_test_clock"
TELL_SUBSCRIPTION = "tell_subscription"
TELL_INVOICE = "tell_invoice"
TELL_REFUND = "tell_refund"
TELL_DISPUTE = "tell_dispute"
REPLAY_DELIVERY = "replay_delivery"
PUBLISH = "publish"
"""A webhook event on its way to Kafka; the relay adds it when a broker is set."""
CHANNEL = "durabill_outbox"
"""Where the table announces new rows (models/migrations/postgres/laws.py)."""


async def emit(
    session: AsyncSession, scope: Scope, event_type: str, entity_id: str, body: dict[str, Any], occurred_at: datetime
) -> str:
    """Records a webhook event with its payload as it is now; `occurred_at` is business time. Returns the event's id."""
    event_id = new_id("event")
    payload = {"event_type": event_type, **body, "id": event_id, "occurred_at": wire_instant(occurred_at)}
    now = datetime.now(UTC)
    session.add(
        WebhookEventRow(
            id=event_id,
            tenant_id=scope.tenant_id,
            environment_id=scope.environment_id,
            event_type=event_type,
            entity_id=entity_id,
            payload=json.dumps(payload, separators=(",", ":"), ensure_ascii=False),
            occurred_at=occurred_at,
            created_at=now,
            updated_at=now,
        )
    )
    await enqueue(session, scope, WEBHOOK, event_id)
    return event_id


async def enqueue(session: AsyncSession, scope: Scope, kind: str, reference: str) -> str:
    """Adds one thing for the relays, which hear of it when the transaction commits. Returns the row's id."""
    row = OutboxRow(
        id=new_id("outbox"),
        tenant_id=scope.tenant_id,
        environment_id=scope.environment_id,
        kind=kind,
        reference=reference,
        created_at=datetime.now(UTC),
    )
    session.add(row)
    return row.id


def wire_instant(value: datetime) -> str:
    """RFC 3339 in UTC, with as many digits of the second as there are: `2025-01-31T00:00:00Z`."""
    text = value.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"
