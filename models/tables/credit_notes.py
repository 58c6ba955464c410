"""Credit notes, their lines and the sequence of their numbers."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlmodel import Field

from models.tables.base import Amount, Entity, Json, LongText, Scoped, UtcTime

ZERO = Decimal(0)
NUMBERED = (
    "CASE credit_note_status"
    " WHEN 'DRAFT' THEN credit_note_number IS NULL AND finalized_at IS NULL AND voided_at IS NULL"
    " WHEN 'FINALIZED' THEN credit_note_number IS NOT NULL AND finalized_at IS NOT NULL AND voided_at IS NULL"
    " WHEN 'VOIDED' THEN (credit_note_number IS NULL) = (finalized_at IS NULL) AND voided_at IS NOT NULL"
    " ELSE false END"
)


class CreditNoteRow(Entity, table=True):
    """A part of a finalized invoice that is not asked for (ADJUSTMENT) or given back (REFUND).

    A DRAFT changes nothing; once FINALIZED it never changes but to VOIDED (a trigger refuses), and the invoice's
    `adjustment_amount` is the sum of its FINALIZED adjustments (another one does). `tax_amount` is the tax in
    `total_amount`, known when it is finalized. `usage_correction_id` names the correction of usage that made it.
    """

    __tablename__ = "credit_notes"
    __table_args__ = (
        CheckConstraint("total_amount > 0 AND tax_amount >= 0 AND tax_amount <= total_amount", name="amounts_in_range"),
        CheckConstraint("credit_note_type IN ('ADJUSTMENT', 'REFUND')", name="type_known"),
        CheckConstraint(NUMBERED, name="status_fits"),
        Index(
            "credit_notes_number", "tenant_id", "environment_id", "credit_note_number", unique=True,
            postgresql_where=text("credit_note_number IS NOT NULL"),
        ),
        Index(
            "credit_notes_idempotency_key", "tenant_id", "environment_id", "idempotency_key", unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index(
            "credit_notes_correction", "usage_correction_id", "credit_note_type", unique=True,
            postgresql_where=text("usage_correction_id IS NOT NULL"),
        ),
        Index("credit_notes_invoice", "invoice_id"),
        Index("credit_notes_created", "tenant_id", "environment_id", "created_at"),
    )  # fmt: skip

    idempotency_key: str | None = None
    invoice_id: str
    customer_id: str
    subscription_id: str | None = None
    usage_correction_id: str | None = None
    credit_note_type: str
    credit_note_status: str = "DRAFT"
    credit_note_number: str | None = None
    reason: str
    memo: str = Field(default="", sa_type=LongText)
    currency: str
    total_amount: Decimal = Field(sa_type=Amount)
    tax_amount: Decimal = Field(default=ZERO, sa_type=Amount)
    finalized_at: datetime | None = Field(default=None, sa_type=UtcTime)
    voided_at: datetime | None = Field(default=None, sa_type=UtcTime)
    document_key: str | None = None
    document_sha256: str | None = None
    note_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)


class CreditNoteLineRow(Entity, table=True):
    """What of which invoice line is credited, its tax included; without a line, of the invoice as a whole.

    A line for usage that was corrected has the correction's `derivation` (a `billing.invoice_lines.InvoiceLine`), and
    is negative where a charge rose. Never changed.
    """

    __tablename__ = "credit_note_lines"
    __table_args__ = (
        CheckConstraint("amount <> 0", name="not_nothing"),
        Index("credit_note_lines_note", "credit_note_id", "position", unique=True),
        Index("credit_note_lines_line", "invoice_line_id"),
    )

    credit_note_id: str = Field(sa_column_args=[ForeignKey("credit_notes.id")])
    position: int
    invoice_line_id: str | None = None
    display_name: str
    amount: Decimal = Field(sa_type=Amount)
    currency: str
    derivation: dict[str, Any] | None = Field(default=None, sa_type=Json)
    line_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)


class CreditNoteSequenceRow(Scoped, table=True):
    """The last number given in a month; the row lock makes numbers gap-free per tenant and environment."""

    __tablename__ = "credit_note_sequences"

    tenant_id: str = Field(primary_key=True)
    environment_id: str = Field(primary_key=True)
    month: str = Field(primary_key=True)
    value: int
