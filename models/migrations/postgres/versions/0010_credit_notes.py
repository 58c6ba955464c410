"""Credit notes: what of an invoice is not asked for, or given back, and the laws that tie them to their invoices."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from models.migrations.postgres import laws

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATUS_FITS = (
    "CASE credit_note_status"
    " WHEN 'DRAFT' THEN credit_note_number IS NULL AND finalized_at IS NULL AND voided_at IS NULL"
    " WHEN 'FINALIZED' THEN credit_note_number IS NOT NULL AND finalized_at IS NOT NULL AND voided_at IS NULL"
    " WHEN 'VOIDED' THEN (credit_note_number IS NULL) = (finalized_at IS NULL) AND voided_at IS NOT NULL"
    " ELSE false END"
)
ADJUSTED = (
    "adjustment_amount >= 0 AND (adjustment_amount = 0 OR invoice_status = 'VOIDED'"
    " OR amount_paid + adjustment_amount <= amount_due)"
)


def upgrade() -> None:
    _create_notes()
    _create_lines()
    op.create_table(
        "credit_note_sequences",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("month", sa.String(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", "month"),
    )
    laws.check_amounts(op, laws.CREDITED)
    laws.execute_all(op, laws.CREDIT_NOTES)
    for table in ("credit_notes", "credit_note_lines", "credit_note_sequences"):
        laws.protect(op, table)
    op.create_check_constraint("adjusted_within_due", "invoices", ADJUSTED)


def _create_notes() -> None:
    op.create_table(
        "credit_notes",
        *_entity_columns(),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("invoice_id", sa.String(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("subscription_id", sa.String(), nullable=True),
        sa.Column("usage_correction_id", sa.String(), nullable=True),
        sa.Column("credit_note_type", sa.String(), nullable=False),
        sa.Column("credit_note_status", sa.String(), nullable=False),
        sa.Column("credit_note_number", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("memo", sa.Text(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("total_amount", sa.Numeric(), nullable=False),
        sa.Column("tax_amount", sa.Numeric(), nullable=False),
        sa.Column("finalized_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("document_key", sa.String(), nullable=True),
        sa.Column("document_sha256", sa.String(), nullable=True),
        sa.Column("note_metadata", JSONB(), nullable=False),
        sa.CheckConstraint(
            "total_amount > 0 AND tax_amount >= 0 AND tax_amount <= total_amount", name="amounts_in_range"
        ),
        sa.CheckConstraint("credit_note_type IN ('ADJUSTMENT', 'REFUND')", name="type_known"),
        sa.CheckConstraint(STATUS_FITS, name="status_fits"),
        sa.PrimaryKeyConstraint("id"),
    )
    scope = ["tenant_id", "environment_id"]
    for name, columns in (
        ("credit_notes_number", [*scope, "credit_note_number"]),
        ("credit_notes_idempotency_key", [*scope, "idempotency_key"]),
        ("credit_notes_correction", ["usage_correction_id", "credit_note_type"]),
    ):
        optional = next(column for column in columns if column not in (*scope, "credit_note_type"))
        given = sa.text(f"{optional} IS NOT NULL")
        op.create_index(name, "credit_notes", columns, unique=True, postgresql_where=given)
    op.create_index("credit_notes_invoice", "credit_notes", ["invoice_id"])
    op.create_index("credit_notes_created", "credit_notes", [*scope, "created_at"])


def _create_lines() -> None:
    op.create_table(
        "credit_note_lines",
        *_entity_columns(),
        sa.Column("credit_note_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("invoice_line_id", sa.String(), nullable=True),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("derivation", JSONB(), nullable=True),
        sa.Column("line_metadata", JSONB(), nullable=False),
        sa.CheckConstraint("amount <> 0", name="not_nothing"),
        sa.ForeignKeyConstraint(["credit_note_id"], ["credit_notes.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("credit_note_lines_note", "credit_note_lines", ["credit_note_id", "position"], unique=True)
    op.create_index("credit_note_lines_line", "credit_note_lines", ["invoice_line_id"])


def _entity_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("updated_by", sa.String(), nullable=False),
    ]
