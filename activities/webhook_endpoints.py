"""Webhook endpoints: creating, changing, rotating the secret, deleting. Delivery is `activities/webhooks`'s.

Each function works inside the caller's transaction and commits nothing. URLs are checked by the caller
(`activities.adapters.webhook_address.check_url`) before the transaction: a name server may be slow.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.adapters.webhook_signature import new_secret
from activities.bookkeeping import new_columns
from activities.event_types import check_event_types
from billing.errors import Conflict
from models.ids import new_id
from models.queries.webhook_endpoints import get_webhook_endpoint
from models.scope import Scope
from models.tables import WebhookEndpointRow

ROTATION = timedelta(hours=24)
"""How long both secrets sign after a rotation, unless the caller says otherwise."""


@dataclass(frozen=True, slots=True)
class NewWebhookEndpoint:
    """Where events go; no `enabled_events` means all. `ordered`: each after the one before it has arrived."""

    url: str
    description: str = ""
    enabled_events: tuple[str, ...] = ()
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class WebhookEndpointChange:
    """New values; None leaves a field."""

    url: str | None = None
    description: str | None = None
    enabled_events: tuple[str, ...] | None = None
    enabled: bool | None = None
    ordered: bool | None = None


async def create_webhook_endpoint(
    session: AsyncSession, scope: Scope, new: NewWebhookEndpoint, actor: str = ""
) -> WebhookEndpointRow:
    """Inserts an endpoint with a fresh secret. It gets the events that happen from now on.

    Raises Invalid for a type of event that is never sent.
    """
    check_event_types(new.enabled_events)
    row = WebhookEndpointRow(
        id=new_id("endpoint"),
        **new_columns(scope),
        created_by=actor,
        updated_by=actor,
        url=new.url,
        description=new.description,
        enabled_events=list(new.enabled_events),
        ordered=new.ordered,
        secret=new_secret(),
    )
    session.add(row)
    await session.flush()
    return row


async def update_webhook_endpoint(
    session: AsyncSession, scope: Scope, endpoint_id: str, change: WebhookEndpointChange, now: datetime, actor: str = ""
) -> WebhookEndpointRow:
    """Changes the given fields; enabling clears the reason for which it was disabled.

    Raises NotFound, and Invalid for a type of event that is never sent.
    """
    check_event_types(change.enabled_events or ())
    row = await get_webhook_endpoint(session, scope, endpoint_id, lock=True)
    row.url = row.url if change.url is None else change.url
    row.description = row.description if change.description is None else change.description
    if change.enabled_events is not None:
        row.enabled_events = list(change.enabled_events)
    row.ordered = row.ordered if change.ordered is None else change.ordered
    if change.enabled is not None:
        row.endpoint_status = "enabled" if change.enabled else "disabled"
        row.disabled_reason = None if change.enabled else "disabled by request"
    row.updated_at, row.updated_by = now, actor
    await session.flush()
    return row


async def rotate_webhook_secret(
    session: AsyncSession, scope: Scope, endpoint_id: str, overlap: timedelta, now: datetime, actor: str = ""
) -> WebhookEndpointRow:
    """Gives the endpoint a new secret; the old one signs too until `now` + `overlap` (real time).

    Raises NotFound, and Conflict while an earlier rotation lasts: a third secret would end the first too early.
    """
    row = await get_webhook_endpoint(session, scope, endpoint_id, lock=True)
    until = row.previous_secret_expires_at
    if row.previous_secret is not None and until is not None and now < until:
        raise Conflict(
            f"the secret is being rotated until {until.isoformat()}; rotate it again afterwards",
            state="rotating",
            possible=("wait until the rotation is over",),
        )
    row.previous_secret, row.previous_secret_expires_at = row.secret, now + overlap
    row.secret = new_secret()
    row.updated_at, row.updated_by = now, actor
    await session.flush()
    return row


async def delete_webhook_endpoint(
    session: AsyncSession, scope: Scope, endpoint_id: str, now: datetime, actor: str = ""
) -> None:
    """Ends an endpoint: deliveries under way fail, nothing new is sent. Raises NotFound."""
    row = await get_webhook_endpoint(session, scope, endpoint_id, lock=True)
    row.status, row.endpoint_status, row.disabled_reason = "deleted", "disabled", "deleted"
    row.updated_at, row.updated_by = now, actor
    await session.flush()
