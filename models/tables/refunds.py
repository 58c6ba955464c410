"""Money that goes back: refunds that we give, disputes that a customer's bank raises."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field

from models.tables.base import Amount, Entity, Json, UtcTime


class RefundRow(Entity, table=True):
    """All or a part of one charge on its way back to the customer.

    `attempt_id` names the charge at the provider, null for money that was received outside one. `attempt` counts the
    tries: each has an idempotency key of its own at the provider.
    """

    __tablename__ = "refunds"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_positive"),
        Index("refunds_payment", "payment_id"),
        Index(
            "refunds_idempotency_key", "tenant_id", "environment_id", "idempotency_key", unique=True,
            postgresql_where="idempotency_key IS NOT NULL",
        ),
        Index("refunds_created", "tenant_id", "environment_id", "created_at"),
    )  # fmt: skip

    idempotency_key: str | None = None
    payment_id: str
    invoice_id: str
    customer_id: str
    attempt_id: str | None = None
    payment_gateway: str | None = None
    gateway_payment_id: str | None = None
    gateway_refund_id: str | None = None
    refund_destination: str
    refund_reason: str
    refund_status: str
    amount: Decimal = Field(sa_type=Amount)
    currency: str
    attempt: int = 1
    failure_reason: str | None = None
    initiated_at: datetime = Field(sa_type=UtcTime)
    succeeded_at: datetime | None = Field(default=None, sa_type=UtcTime)
    failed_at: datetime | None = Field(default=None, sa_type=UtcTime)
    cancelled_at: datetime | None = Field(default=None, sa_type=UtcTime)
    refund_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)


class DisputeRow(Entity, table=True):
    """A charge that the customer has taken to the bank. `told_at` is the time of the newest report that it reflects."""

    __tablename__ = "disputes"
    __table_args__ = (
        Index("disputes_once", "tenant_id", "environment_id", "payment_gateway", "gateway_dispute_id", unique=True),
        Index("disputes_created", "tenant_id", "environment_id", "created_at"),
    )

    payment_id: str
    invoice_id: str
    customer_id: str
    attempt_id: str
    payment_gateway: str
    gateway_payment_id: str
    gateway_dispute_id: str
    amount: Decimal = Field(sa_type=Amount)
    currency: str
    reason: str
    dispute_status: str
    respond_by: datetime | None = Field(default=None, sa_type=UtcTime)
    opened_at: datetime = Field(sa_type=UtcTime)
    closed_at: datetime | None = Field(default=None, sa_type=UtcTime)
    told_at: datetime = Field(sa_type=UtcTime)
