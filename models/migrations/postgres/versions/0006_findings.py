"""Findings of reconciliation and audit, and what makes looking for them quick."""

import sqlalchemy as sa
from alembic import op

from models.migrations.postgres import laws

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "findings",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("repaired", sa.Boolean(), nullable=False),
        sa.Column("times_seen", sa.Integer(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "findings_open",
        "findings",
        ["name", "reference", "tenant_id", "environment_id"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index("subscriptions_created", "subscriptions", ["created_at"])
    op.create_index(
        "invoices_without_document",
        "invoices",
        ["updated_at"],
        postgresql_where=sa.text("document_key IS NULL AND invoice_status = 'FINALIZED'"),
    )
    op.create_index("findings_seen", "findings", ["first_seen_at"])
    laws.protect(op, "findings")
