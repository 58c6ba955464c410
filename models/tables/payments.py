"""Payments, attempts at the provider, and what providers told us."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field

from models.tables.base import Amount, Entity, Json, LongText, UtcTime


class PaymentRow(Entity, table=True):
    """A movement of money towards an invoice; a provider payment has one attempt per try."""

    __tablename__ = "payments"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_positive"),
        Index("payments_destination", "tenant_id", "environment_id", "destination_id"),
        Index(
            "payments_idempotency_key", "tenant_id", "environment_id", "idempotency_key", unique=True,
            postgresql_where="idempotency_key IS NOT NULL",
        ),
    )  # fmt: skip

    idempotency_key: str | None = None
    destination_type: str = "INVOICE"
    destination_id: str
    customer_id: str
    payment_method_type: str
    payment_method_id: str | None = None
    payment_gateway: str | None = None
    gateway_payment_id: str | None = None
    payment_url: str | None = None
    amount: Decimal = Field(sa_type=Amount)
    currency: str
    payment_status: str
    succeeded_at: datetime | None = Field(default=None, sa_type=UtcTime)
    failed_at: datetime | None = Field(default=None, sa_type=UtcTime)
    refunded_at: datetime | None = Field(default=None, sa_type=UtcTime)
    error_message: str | None = None
    payment_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)


class PaymentAttemptRow(Entity, table=True):
    """One try at the provider; its id is the provider's idempotency key, so a lost answer never charges twice."""

    __tablename__ = "payment_attempts"
    __table_args__ = (
        Index("payment_attempts_payment", "payment_id", "attempt_number", unique=True),
        Index("payment_attempts_invoice", "invoice_id"),
        Index(
            "payment_attempts_paid", "payment_gateway", "updated_at",
            postgresql_where="payment_status = 'SUCCEEDED'",
        ),
        Index(
            "payment_attempts_gateway", "tenant_id", "environment_id", "payment_gateway", "gateway_attempt_id",
            postgresql_where="gateway_attempt_id IS NOT NULL",
        ),
    )  # fmt: skip

    payment_id: str
    invoice_id: str
    attempt_number: int
    payment_gateway: str
    payment_method_id: str
    amount: Decimal = Field(sa_type=Amount)
    currency: str
    payment_status: str
    outcome: str | None = None
    decline_kind: str | None = None
    gateway_attempt_id: str | None = None
    action_url: str | None = None
    error_message: str | None = None
    attempted_at: datetime = Field(sa_type=UtcTime)
    settled_at: datetime | None = Field(default=None, sa_type=UtcTime)


class ProviderEventRow(Entity, table=True):
    """An inbound webhook of a provider, stored once by the provider's own event id."""

    __tablename__ = "provider_events"
    __table_args__ = (
        Index("provider_events_once", "tenant_id", "environment_id", "provider", "provider_event_id", unique=True),
    )

    provider: str
    provider_event_id: str
    event_type: str
    attempt_id: str | None = None
    body: str = Field(sa_type=LongText)
    outcome: dict[str, Any] | None = Field(default=None, sa_type=Json)
    received_at: datetime = Field(sa_type=UtcTime)
    applied_at: datetime | None = Field(default=None, sa_type=UtcTime)
