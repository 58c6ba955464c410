"""Customers, tax rates and which customer is taxed with what."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Index, text
from sqlmodel import Field

from models.tables.base import Entity, Json, Rate, UtcTime

NOT_DELETED = text("status <> 'deleted'")


class CustomerRow(Entity, table=True):
    """The party that is billed; `test_clock_id` is set at creation and never changes."""

    __tablename__ = "customers"
    __table_args__ = (
        Index(
            "customers_external_id", "tenant_id", "environment_id", "external_id", unique=True,
            postgresql_where=NOT_DELETED,
        ),
        Index("customers_test_clock", "test_clock_id", postgresql_where=text("test_clock_id IS NOT NULL")),
    )  # fmt: skip

    external_id: str
    name: str = ""
    email: str = ""
    contact: str | None = None
    address_line1: str = ""
    address_line2: str = ""
    address_city: str = ""
    address_state: str = ""
    address_postal_code: str = ""
    address_country: str = ""
    tax_id: str = ""
    timezone: str = "UTC"
    customer_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)
    gateway_payment_method_id: str | None = None
    payment_gateway: str | None = None
    test_clock_id: str | None = None


class TaxRateRow(Entity, table=True):
    """A named tax rate: a percentage of the base or a fixed amount, on top (exclusive) or inside (inclusive)."""

    __tablename__ = "tax_rates"
    __table_args__ = (
        Index("tax_rates_code", "tenant_id", "environment_id", "code", unique=True, postgresql_where=NOT_DELETED),
    )

    name: str
    code: str
    description: str = ""
    tax_rate_type: str = "percentage"
    percentage_value: Decimal | None = Field(default=None, sa_type=Rate)
    fixed_value: Decimal | None = Field(default=None, sa_type=Rate)
    inclusive: bool = False
    scope: str = "EXTERNAL"
    currency: str | None = None
    rate_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)


class TaxAssociationRow(Entity, table=True):
    """Which entity (customer, subscription, invoice) a tax rate applies to; the narrowest level that has one wins."""

    __tablename__ = "tax_associations"
    __table_args__ = (
        Index(
            "tax_associations_entity", "tenant_id", "environment_id", "entity_type", "entity_id", "tax_rate_id",
            unique=True, postgresql_where=NOT_DELETED,
        ),
    )  # fmt: skip

    tax_rate_id: str
    entity_type: str
    entity_id: str
    priority: int = 0
    auto_apply: bool = True
    currency: str | None = None
    association_metadata: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    start_date: datetime | None = Field(default=None, sa_type=UtcTime)
