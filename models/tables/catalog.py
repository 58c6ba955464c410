"""What is sold: meters, features, plans and prices."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Index
from sqlmodel import Field

from models.tables.base import Amount, Entity, Json, Rate, UtcTime
from models.tables.customers import NOT_DELETED


class MeterRow(Entity, table=True):
    """The rule that turns a customer's events into a quantity; all but `filters` is fixed at creation."""

    __tablename__ = "meters"

    name: str
    event_name: str
    aggregation: dict[str, Any] = Field(sa_type=Json)
    filters: list[dict[str, Any]] = Field(default_factory=list, sa_type=Json)
    reset_usage: str = "BILLING_PERIOD"


class FeatureRow(Entity, table=True):
    """Something a customer may use; a metered one points at its meter."""

    __tablename__ = "features"
    __table_args__ = (
        Index(
            "features_lookup_key", "tenant_id", "environment_id", "lookup_key", unique=True,
            postgresql_where=NOT_DELETED,
        ),
    )  # fmt: skip

    name: str
    lookup_key: str
    type: str
    description: str = ""
    meter_id: str | None = None
    unit_singular: str = ""
    unit_plural: str = ""
    reporting_unit: dict[str, Any] | None = Field(default=None, sa_type=Json)
    feature_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)


class PlanRow(Entity, table=True):
    """A set of prices that is sold under one name."""

    __tablename__ = "plans"
    __table_args__ = (
        Index(
            "plans_lookup_key", "tenant_id", "environment_id", "lookup_key", unique=True,
            postgresql_where="lookup_key <> '' AND status <> 'deleted'",
        ),
    )  # fmt: skip

    name: str
    lookup_key: str = ""
    description: str = ""
    display_order: int | None = None
    plan_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)


class PriceRow(Entity, table=True):
    """How one thing is charged. A row never changes in what it charges: a new price is a new row."""

    __tablename__ = "prices"
    __table_args__ = (
        Index("prices_entity", "tenant_id", "environment_id", "entity_type", "entity_id"),
        Index(
            "prices_lookup_key", "tenant_id", "environment_id", "lookup_key", unique=True,
            postgresql_where="lookup_key <> '' AND end_date IS NULL AND status <> 'deleted'",
        ),
    )  # fmt: skip

    entity_type: str
    entity_id: str
    position: int
    type: str
    currency: str
    amount: Decimal = Field(sa_type=Rate)
    billing_model: str
    tier_mode: str | None = None
    tiers: list[dict[str, Any]] | None = Field(default=None, sa_type=Json)
    transform_quantity: dict[str, Any] | None = Field(default=None, sa_type=Json)
    billing_period: str
    billing_period_count: int = 1
    billing_cadence: str = "RECURRING"
    invoice_cadence: str
    price_unit_type: str = "FIAT"
    meter_id: str | None = None
    min_quantity: Decimal | None = Field(default=None, sa_type=Rate)
    maximum_amount: Decimal | None = Field(default=None, sa_type=Amount)
    lookup_key: str = ""
    display_name: str = ""
    description: str = ""
    parent_price_id: str | None = None
    start_date: datetime | None = Field(default=None, sa_type=UtcTime)
    end_date: datetime | None = Field(default=None, sa_type=UtcTime)
    price_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)
