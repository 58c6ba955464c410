"""Invoices, their lines, applied taxes, frozen usage and the number sequence."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field

from models.tables.base import Amount, Entity, Json, LongText, Rate, Scoped, UtcTime

ZERO = Decimal(0)


class InvoiceRow(Entity, table=True):
    """A demand for payment. Once FINALIZED its sums and lines never change (a trigger refuses).

    `next_action_at` is the next instant, in business time, at which the invoice acts by itself: the end of its grace
    while it is a draft, the next payment attempt afterwards; null when nothing is due. `inputs` is the JSON form of
    `billing.invoices.InvoiceInputs`: everything the invoice follows from, so that it can be verified at any time.
    """

    __tablename__ = "invoices"
    __table_args__ = (
        CheckConstraint(
            "total = subtotal - total_discount + exclusive_tax - total_prepaid_credits_applied OR total = 0",
            name="total_adds_up",
        ),
        CheckConstraint("amount_paid >= 0 AND total >= 0 AND subtotal >= 0", name="amounts_not_negative"),
        CheckConstraint(
            "adjustment_amount >= 0 AND (adjustment_amount = 0 OR invoice_status = 'VOIDED'"
            " OR amount_paid + adjustment_amount <= amount_due)",
            name="adjusted_within_due",
        ),
        CheckConstraint("(invoice_status = 'FINALIZED') <= (invoice_number IS NOT NULL)", name="finalized_has_number"),
        Index(
            "invoices_one_live_per_period", "subscription_id", "period_start", "period_end", "billing_reason",
            unique=True, postgresql_where=text("invoice_status <> 'VOIDED' AND subscription_id IS NOT NULL"),
        ),
        Index(
            "invoices_number", "tenant_id", "environment_id", "invoice_number", unique=True,
            postgresql_where=text("invoice_number IS NOT NULL"),
        ),
        Index("invoices_customer", "tenant_id", "environment_id", "customer_id"),
        Index("invoices_subscription", "subscription_id", "drafted_at"),
        Index("invoices_created", "tenant_id", "environment_id", "created_at"),
        Index("invoices_next_action", "next_action_at", postgresql_where=text("next_action_at IS NOT NULL")),
        Index(
            "invoices_without_document", "updated_at",
            postgresql_where=text("document_key IS NULL AND invoice_status = 'FINALIZED'"),
        ),
    )  # fmt: skip

    customer_id: str
    subscription_id: str | None = None
    invoice_type: str = "SUBSCRIPTION"
    invoice_status: str = "DRAFT"
    payment_status: str = "PENDING"
    uncollectible: bool = False
    billing_reason: str
    billing_period: str | None = None
    billing_sequence: int | None = None
    currency: str
    timezone: str = "UTC"
    period_start: datetime = Field(sa_type=UtcTime)
    period_end: datetime = Field(sa_type=UtcTime)
    drafted_at: datetime = Field(sa_type=UtcTime)
    finalize_at: datetime = Field(sa_type=UtcTime)
    finalized_at: datetime | None = Field(default=None, sa_type=UtcTime)
    issue_date: datetime | None = Field(default=None, sa_type=UtcTime)
    due_date: datetime | None = Field(default=None, sa_type=UtcTime)
    paid_at: datetime | None = Field(default=None, sa_type=UtcTime)
    voided_at: datetime | None = Field(default=None, sa_type=UtcTime)
    next_action_at: datetime | None = Field(default=None, sa_type=UtcTime)
    invoice_number: str | None = None
    description: str = ""
    subtotal: Decimal = Field(default=ZERO, sa_type=Amount)
    total_discount: Decimal = Field(default=ZERO, sa_type=Amount)
    total_tax: Decimal = Field(default=ZERO, sa_type=Amount)
    exclusive_tax: Decimal = Field(default=ZERO, sa_type=Amount)
    total_prepaid_credits_applied: Decimal = Field(default=ZERO, sa_type=Amount)
    total: Decimal = Field(default=ZERO, sa_type=Amount)
    amount_due: Decimal = Field(default=ZERO, sa_type=Amount)
    amount_paid: Decimal = Field(default=ZERO, sa_type=Amount)
    adjustment_amount: Decimal = Field(default=ZERO, sa_type=Amount)
    refunded_amount: Decimal = Field(default=ZERO, sa_type=Amount)
    carried_credit: Decimal = Field(default=ZERO, sa_type=Amount)
    inputs: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    seller: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    document_key: str | None = None
    document_sha256: str | None = None
    receipt_key: str | None = None
    needs_attention: str | None = None
    test_clock_id: str | None = None
    seen_commands: list[str] = Field(default_factory=list, sa_type=Json)
    invoice_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)
    version: int = 1


class InvoiceLineRow(Entity, table=True):
    """One charge (or credit) on an invoice, with the derivation that explains and verifies it.

    `derivation` is the JSON form of `billing.invoices.InvoiceLine`. A draft's usage lines count 0 until the grace ends.
    """

    __tablename__ = "invoice_lines"
    __table_args__ = (
        Index("invoice_lines_invoice", "invoice_id", "position", unique=True),
        Index("invoice_lines_subscription", "subscription_id", "period_end"),
    )

    invoice_id: str
    customer_id: str
    subscription_id: str | None = None
    subscription_line_item_id: str | None = None
    position: int
    kind: str
    entity_id: str | None = None
    entity_type: str | None = None
    plan_display_name: str = ""
    price_id: str | None = None
    price_type: str | None = None
    invoice_cadence: str | None = None
    meter_id: str | None = None
    meter_display_name: str = ""
    display_name: str = ""
    quantity: Decimal = Field(sa_type=Rate)
    amount: Decimal = Field(sa_type=Amount)
    currency: str
    period_start: datetime = Field(sa_type=UtcTime)
    period_end: datetime = Field(sa_type=UtcTime)
    line_item_discount: Decimal = Field(default=ZERO, sa_type=Amount)
    invoice_level_discount: Decimal = Field(default=ZERO, sa_type=Amount)
    prepaid_credits_applied: Decimal = Field(default=ZERO, sa_type=Amount)
    credited_amount: Decimal = Field(default=ZERO, sa_type=Amount)
    derivation: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    line_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)


class InvoiceTaxRow(Entity, table=True):
    """What one tax rate came to on one invoice: the base it was taken of and the amount, rounded once."""

    __tablename__ = "invoice_taxes"
    __table_args__ = (Index("invoice_taxes_invoice", "invoice_id", "position", unique=True),)

    invoice_id: str
    position: int
    tax_rate_id: str
    code: str
    name: str
    inclusive: bool = False
    percentage_value: Decimal | None = Field(default=None, sa_type=Rate)
    currency: str
    taxable_amount: Decimal = Field(sa_type=Amount)
    tax_amount: Decimal = Field(sa_type=Amount)


class UsageSnapshotRow(Entity, table=True):
    """The usage that an invoice line was computed from, frozen when the invoice was finalized.

    One with `supersedes` is usage of an earlier period as it is counted since this invoice corrected it: the chain of
    them leads back to the snapshot that the period was first billed by (one of a voided invoice has no successor). It
    has no line where nothing was to be charged. `filters` are those that the meter had when it was read, which it is
    read by again (null: not known, the meter's own).
    """

    __tablename__ = "usage_snapshots"
    __table_args__ = (
        Index("usage_snapshots_invoice", "invoice_id"),
        Index("usage_snapshots_superseded", "supersedes", postgresql_where=text("supersedes IS NOT NULL")),
    )

    invoice_id: str
    invoice_line_id: str | None = None
    supersedes: str | None = None
    subscription_line_item_id: str
    meter_id: str
    period_start: datetime = Field(sa_type=UtcTime)
    period_end: datetime = Field(sa_type=UtcTime)
    cutoff_at: datetime = Field(sa_type=UtcTime)
    quantity: Decimal = Field(sa_type=Rate)
    event_count: int
    rejected_count: int
    checksum: str
    query: str = Field(sa_type=LongText)
    filters: list[dict[str, Any]] | None = Field(default=None, sa_type=Json)
    daily: list[list[str]] = Field(default_factory=list, sa_type=Json)


class InvoiceSequenceRow(Scoped, table=True):
    """The last number given in a month; the row lock makes numbers gap-free per tenant and environment."""

    __tablename__ = "invoice_sequences"

    tenant_id: str = Field(primary_key=True)
    environment_id: str = Field(primary_key=True)
    month: str = Field(primary_key=True)
    value: int
