"""Corrections of closed periods, the chain of usage snapshots, the filters they were read by; corrections' own time."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from models.migrations.postgres import laws

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "usage_corrections",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("updated_by", sa.String(), nullable=False),
        sa.Column("subscription_id", sa.String(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("invoice_id", sa.String(), nullable=False),
        sa.Column("carrier_invoice_id", sa.String(), nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("correction", JSONB(), nullable=False),
        sa.CheckConstraint("sequence >= 1", name="sequence_counts_up"),
        sa.CheckConstraint("invoice_id <> carrier_invoice_id", name="corrects_another"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("usage_corrections_sequence", "usage_corrections", ["invoice_id", "sequence"], unique=True)
    op.create_index("usage_corrections_carrier", "usage_corrections", ["carrier_invoice_id", "invoice_id"], unique=True)
    op.create_index("usage_corrections_subscription", "usage_corrections", ["subscription_id"])
    laws.execute_all(op, laws.USAGE_CORRECTIONS_APPEND_ONLY)
    laws.protect(op, "usage_corrections")
    op.alter_column("usage_snapshots", "invoice_line_id", nullable=True)
    op.add_column("usage_snapshots", sa.Column("supersedes", sa.String(), nullable=True))
    op.add_column("usage_snapshots", sa.Column("filters", JSONB(), nullable=True))
    op.create_index(
        "usage_snapshots_superseded",
        "usage_snapshots",
        ["supersedes"],
        postgresql_where=sa.text("supersedes IS NOT NULL"),
    )
    op.add_column("subscriptions", sa.Column("looked_back_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("event_corrections", sa.Column("corrected_at", sa.DateTime(timezone=True), nullable=True))
    # The rows are append-only and hidden from the login by row-level security, so the column is rewritten, not updated.
    op.execute("ALTER TABLE event_corrections ALTER COLUMN corrected_at TYPE timestamptz USING created_at")
    op.alter_column("event_corrections", "corrected_at", nullable=False)
