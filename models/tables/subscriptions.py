"""Subscriptions and their line items."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field

from models.tables.base import Entity, Json, Rate, UtcTime


class SubscriptionRow(Entity, table=True):
    """A customer's running agreement to a plan.

    `next_action_at` is the instant of its next boundary in business time, or, once it has ended, of the end of its
    look-back on late usage (null: nothing will happen by itself); test clocks, billing runs and reconciliation find due
    work by it. `looked_back_at` is the end of the last period that such a look-back was about. `opened` is false until
    the first period has begun.
    `seen_commands` remembers which commands took effect, so that a command that is sent twice acts once. Under a test
    clock `threshold_check_at` is the full hour at which unbilled usage is looked at next where there is an
    `auto_invoice_threshold` (null: nothing has happened since); in real time it is looked at every hour.
    """

    __tablename__ = "subscriptions"
    __table_args__ = (
        CheckConstraint("current_period_start <= current_period_end", name="period_in_order"),
        CheckConstraint("billing_period_count >= 1", name="period_count_positive"),
        Index("subscriptions_customer", "tenant_id", "environment_id", "customer_id"),
        Index("subscriptions_created", "created_at"),
        Index("subscriptions_next_action", "next_action_at", postgresql_where=text("next_action_at IS NOT NULL")),
        Index("subscriptions_test_clock", "test_clock_id", postgresql_where=text("test_clock_id IS NOT NULL")),
        Index("subscriptions_threshold", "id", postgresql_where=text("auto_invoice_threshold IS NOT NULL")),
    )

    customer_id: str
    plan_id: str
    lookup_key: str = ""
    subscription_status: str
    currency: str
    timezone: str
    billing_anchor: datetime = Field(sa_type=UtcTime)
    billing_cycle: str
    billing_cadence: str = "RECURRING"
    billing_period: str
    billing_period_count: int
    start_date: datetime = Field(sa_type=UtcTime)
    end_date: datetime | None = Field(default=None, sa_type=UtcTime)
    current_period_start: datetime = Field(sa_type=UtcTime)
    current_period_end: datetime = Field(sa_type=UtcTime)
    cancelled_at: datetime | None = Field(default=None, sa_type=UtcTime)
    cancel_at: datetime | None = Field(default=None, sa_type=UtcTime)
    cancel_at_period_end: bool = False
    cancel_proration: str | None = None
    trial_start: datetime | None = Field(default=None, sa_type=UtcTime)
    trial_end: datetime | None = Field(default=None, sa_type=UtcTime)
    collection_method: str = "charge_automatically"
    payment_behavior: str = "default_active"
    payment_terms: str | None = None
    gateway_payment_method_id: str | None = None
    payment_gateway: str | None = None
    proration_behavior: str = "none"
    subscription_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)
    version: int = 1
    opened: bool = False
    next_action_at: datetime | None = Field(default=None, sa_type=UtcTime)
    looked_back_at: datetime | None = Field(default=None, sa_type=UtcTime)
    auto_invoice_threshold: Decimal | None = Field(default=None, sa_type=Rate)
    threshold_check_at: datetime | None = Field(default=None, sa_type=UtcTime)
    needs_attention: str | None = None
    test_clock_id: str | None = None
    seen_commands: list[str] = Field(default_factory=list, sa_type=Json)


class SubscriptionLineItemRow(Entity, table=True):
    """One price that a subscription pays, with its quantity and the span in which it counts."""

    __tablename__ = "subscription_line_items"
    __table_args__ = (Index("subscription_line_items_subscription", "subscription_id", "position"),)

    subscription_id: str
    customer_id: str
    position: int
    entity_id: str
    entity_type: str = "plan"
    plan_display_name: str = ""
    price_id: str
    price_type: str
    meter_id: str | None = None
    meter_display_name: str = ""
    display_name: str = ""
    quantity: Decimal = Field(sa_type=Rate)
    currency: str
    billing_period: str
    billing_period_count: int = 1
    invoice_cadence: str
    start_date: datetime = Field(sa_type=UtcTime)
    end_date: datetime | None = Field(default=None, sa_type=UtcTime)
    line_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)
