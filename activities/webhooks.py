"""Webhooks out: delivering one stored event to one endpoint, signed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.adapters.webhook_signature import sign
from activities.bookkeeping import touch
from activities.ports import DeliveryResult, UrlRefused, WebhookSender
from models.database import Database
from models.scope import Scope
from models.tables import WebhookDeliveryRow, WebhookEndpointRow, WebhookEventRow

LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True)
class DeliverWebhook:
    """Deliver what the delivery row names."""

    scope: Scope
    delivery_id: str


@dataclass(frozen=True, slots=True)
class GiveUpDelivery:
    """Three days of tries were not enough."""

    scope: Scope
    delivery_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Parcel:
    url: str
    secrets: tuple[str, ...]
    event_id: str
    body: bytes


class WebhookActivities:
    """One attempt an execution; Temporal repeats it. Times are real, never a test clock's."""

    def __init__(self, database: Database, sender: WebhookSender) -> None:
        self._database = database
        self._sender = sender

    @activity.defn(name="webhooks.deliver")
    async def deliver(self, command: DeliverWebhook) -> str:
        """`delivered`, or `failed` when the endpoint is disabled or answered 410; any other failure is tried again."""
        async with self._database.transaction(command.scope) as session:
            parcel = await _pack(session, command.delivery_id)
        if parcel is None:
            return "failed"
        now = datetime.now(UTC)
        headers = sign(parcel.secrets, parcel.event_id, now, parcel.body)
        try:
            result = await self._sender.send(parcel.url, headers, parcel.body)
        except UrlRefused as refused:
            result = DeliveryResult(None, str(refused), 0)
        async with self._database.transaction(command.scope) as session:
            done = await _record(session, command.delivery_id, result, now)
        if done is not None:
            return done
        raise ApplicationError(
            f"{parcel.url} answered {result.status or result.error}",
            type="webhook_failed",
            next_retry_delay=_asked_pause(result),
        )

    @activity.defn(name="webhooks.give_up")
    async def give_up(self, command: GiveUpDelivery) -> str:
        """Marks the delivery failed; it can be replayed."""
        async with self._database.transaction(command.scope) as session:
            row = await session.get_one(WebhookDeliveryRow, command.delivery_id)
            row.delivery_status = "failed"
            row.last_error = command.reason[:LONGEST_ERROR]
            touch(row)
        return "failed"


async def _pack(session: AsyncSession, delivery_id: str) -> _Parcel | None:
    """What to send where; None when the endpoint is gone or disabled, which ends the delivery."""
    query = (
        select(WebhookDeliveryRow, WebhookEndpointRow, WebhookEventRow)
        .join(WebhookEndpointRow, col(WebhookEndpointRow.id) == col(WebhookDeliveryRow.endpoint_id))
        .join(WebhookEventRow, col(WebhookEventRow.id) == col(WebhookDeliveryRow.event_id))
        .where(WebhookDeliveryRow.id == delivery_id)
    )
    row, endpoint, event = (await session.exec(query)).one()
    if endpoint.endpoint_status != "enabled" or endpoint.status == "deleted":
        row.delivery_status = "failed"
        row.last_error = "the endpoint is disabled"
        touch(row)
        return None
    return _Parcel(endpoint.url, _secrets(endpoint, datetime.now(UTC)), event.id, event.payload.encode())


def _secrets(endpoint: WebhookEndpointRow, now: datetime) -> tuple[str, ...]:
    """Both secrets sign while a rotation lasts."""
    expires = endpoint.previous_secret_expires_at
    if endpoint.previous_secret and expires is not None and now < expires:
        return (endpoint.secret, endpoint.previous_secret)
    return (endpoint.secret,)


async def _record(session: AsyncSession, delivery_id: str, result: DeliveryResult, now: datetime) -> str | None:
    """Writes the attempt down; answers how the delivery ended, or None when it is to be tried again."""
    row = await session.get_one(WebhookDeliveryRow, delivery_id)
    row.attempts += 1
    row.last_attempt_at = now
    row.last_status_code = result.status
    row.last_error = None if result.delivered else (result.error or result.response_text)[:LONGEST_ERROR]
    touch(row)
    if result.delivered:
        row.delivery_status, row.delivered_at = "delivered", now
        return "delivered"
    if result.status == 410:
        endpoint = await session.get_one(WebhookEndpointRow, row.endpoint_id)
        endpoint.endpoint_status, endpoint.disabled_reason = "disabled", "the receiver answered 410 Gone"
        touch(endpoint)
        row.delivery_status = "failed"
        return "failed"
    return None


def _asked_pause(result: DeliveryResult) -> timedelta | None:
    return None if result.retry_after_seconds is None else timedelta(seconds=result.retry_after_seconds)
