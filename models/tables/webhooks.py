"""What other systems are told: endpoints, events, deliveries, and the outbox that carries them on."""

from datetime import datetime

from sqlalchemy import Index, text
from sqlmodel import Field

from models.tables.base import Entity, Json, LongText, Scoped, UtcTime


class WebhookEndpointRow(Entity, table=True):
    """Where events are posted to; during a rotation both secrets sign until the old one expires.

    `ordered`: one after the other, in the order in which they happened; the next waits until this one has arrived.
    """

    __tablename__ = "webhook_endpoints"

    url: str
    description: str = ""
    enabled_events: list[str] = Field(default_factory=list, sa_type=Json)
    endpoint_status: str = "enabled"
    disabled_reason: str | None = None
    ordered: bool = False
    secret: str
    previous_secret: str | None = None
    previous_secret_expires_at: datetime | None = Field(default=None, sa_type=UtcTime)


class WebhookEventRow(Entity, table=True):
    """Something that happened, with its payload as it was then; written in the transaction that caused it."""

    __tablename__ = "webhook_events"
    __table_args__ = (Index("webhook_events_created", "tenant_id", "environment_id", "created_at"),)

    event_type: str
    entity_id: str
    payload: str = Field(sa_type=LongText)
    occurred_at: datetime = Field(sa_type=UtcTime)


class WebhookDeliveryRow(Entity, table=True):
    """One event on its way to one endpoint."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("webhook_deliveries_once", "event_id", "endpoint_id", unique=True),
        Index("webhook_deliveries_endpoint", "tenant_id", "environment_id", "endpoint_id", "created_at"),
        Index(
            "webhook_deliveries_pending",
            "endpoint_id",
            "created_at",
            postgresql_where=text("delivery_status = 'pending'"),
        ),
    )

    event_id: str
    event_type: str
    endpoint_id: str
    delivery_status: str = "pending"
    attempts: int = 0
    last_status_code: int | None = None
    last_error: str | None = None
    last_attempt_at: datetime | None = Field(default=None, sa_type=UtcTime)
    delivered_at: datetime | None = Field(default=None, sa_type=UtcTime)


class OutboxRow(Scoped, table=True):
    """Something that must still happen outside Postgres because of a committed transaction.

    `kind` says what to do (see `activities.outbox`), `reference` names the row that it is about.
    """

    __tablename__ = "outbox"
    __table_args__ = (Index("outbox_waiting", "created_at", postgresql_where=text("relayed_at IS NULL")),)

    id: str = Field(primary_key=True)
    kind: str
    reference: str
    created_at: datetime = Field(sa_type=UtcTime)
    relayed_at: datetime | None = Field(default=None, sa_type=UtcTime)
    retry_at: datetime | None = Field(default=None, sa_type=UtcTime)
    attempts: int = 0
    last_error: str | None = None
