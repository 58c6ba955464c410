"""Webhook endpoints and deliveries on the wire (ours: the reference leaves them to a vendor)."""

from typing import Annotated, Literal

from pydantic import Field

from activities.webhook_endpoints import NewWebhookEndpoint, WebhookEndpointChange
from billing.errors import Invalid
from models.queries.webhook_replays import DeliveryRange
from models.tables import WebhookDeliveryRow, WebhookEndpointRow
from starter.schemas.wire import (
    Answer,
    Changes,
    EntityAnswer,
    Instant,
    InstantOut,
    ListParams,
    Request,
    ShortText,
    entity_columns,
)

Url = Annotated[str, Field(min_length=1, max_length=2048)]
EventType = Annotated[str, Field(max_length=100, pattern=r"^[a-z_]+(\.[a-z_]+)+$")]
EventTypes = Annotated[list[EventType], Field(max_length=200)]


class CreateWebhookEndpointRequest(Request):
    """A new endpoint: `https`, on the public internet. No `enabled_events`: all of them.

    `ordered`: events arrive in the order in which they happened, each after the one before it has been taken; one that
    is refused holds up those behind it, for three days at most.
    """

    url: Url
    description: ShortText = ""
    enabled_events: EventTypes = Field(default=[], examples=[["invoice.update.finalized", "payment.success"]])
    ordered: bool = False

    def new_endpoint(self) -> NewWebhookEndpoint:
        """The endpoint for the command."""
        return NewWebhookEndpoint(self.url, self.description, tuple(self.enabled_events), self.ordered)


class UpdateWebhookEndpointRequest(Changes):
    """Fields to change; `enabled` switches deliveries on and off."""

    url: Url | None = None
    description: ShortText | None = None
    enabled_events: EventTypes | None = None
    enabled: bool | None = None
    ordered: bool | None = None

    def change(self) -> WebhookEndpointChange:
        """The change for the command."""
        events = None if self.enabled_events is None else tuple(self.enabled_events)
        return WebhookEndpointChange(self.url, self.description, events, self.enabled, self.ordered)


class RotateSecretRequest(Request):
    """How long, in seconds, the old secret signs beside the new one."""

    overlap_seconds: Annotated[int, Field(ge=0, le=7 * 86400)] = 86400


class WebhookEndpointAnswer(EntityAnswer):
    """An endpoint. `secret` is shown when it is created or rotated, and never again."""

    url: str
    description: str
    enabled_events: list[str]
    ordered: bool
    endpoint_status: str
    disabled_reason: str | None
    previous_secret_expires_at: InstantOut | None
    secret: str | None

    @classmethod
    def of(cls, row: WebhookEndpointRow, show_secret: bool = False) -> "WebhookEndpointAnswer":
        """The row on the wire."""
        own = {name: getattr(row, name) for name in cls.model_fields}
        return cls(**{**own, **entity_columns(row), "secret": row.secret if show_secret else None})


class ReplayRequest(Request):
    """Which deliveries to send again: those of events that happened in [`start_time`, `end_time`), in real time.

    The other fields narrow it down: `delivery_status` `failed` takes those that were given up.
    """

    start_time: Instant
    end_time: Instant
    endpoint_id: ShortText | None = None
    event_type: ShortText | None = None
    delivery_status: Literal["pending", "delivered", "failed"] | None = None

    def wanted(self) -> DeliveryRange:
        """The range for the command. Raises Invalid when it ends before it starts."""
        if self.end_time <= self.start_time:
            raise Invalid("end_time must be after start_time", field="end_time")
        return DeliveryRange(self.start_time, self.end_time, self.endpoint_id, self.event_type, self.delivery_status)


class ReplayAnswer(Answer):
    """How many deliveries are being sent again."""

    replayed: int


class WebhookDeliveryAnswer(EntityAnswer):
    """One event on its way to one endpoint."""

    event_id: str
    event_type: str
    endpoint_id: str
    delivery_status: str
    attempts: int
    last_status_code: int | None
    last_error: str | None
    last_attempt_at: InstantOut | None
    delivered_at: InstantOut | None

    @classmethod
    def of(cls, row: WebhookDeliveryRow) -> "WebhookDeliveryAnswer":
        """The row on the wire."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class DeliveryListParams(ListParams):
    """Filters of the deliveries' list."""

    endpoint_id: ShortText | None = None
    event_type: ShortText | None = None
    delivery_status: ShortText | None = None
