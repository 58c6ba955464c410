"""Voids and amendments of events: who, when, why, and the event before and after."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from models.migrations.postgres import laws

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "event_corrections",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("updated_by", sa.String(), nullable=False),
        sa.Column("external_customer_id", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("before", JSONB(), nullable=False),
        sa.Column("after", JSONB(), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("action IN ('void', 'amend') AND (action = 'amend') = (after <> '{}')", name="known_action"),
        sa.CheckConstraint("revision >= 1", name="revision_counts_up"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "event_corrections_revision",
        "event_corrections",
        ["tenant_id", "environment_id", "event_id", "external_customer_id", "revision"],
        unique=True,
    )
    op.create_index(
        "event_corrections_pending",
        "event_corrections",
        ["tenant_id", "event_id"],
        postgresql_where=sa.text("applied_at IS NULL"),
    )
    laws.execute_all(op, laws.CORRECTIONS_APPEND_ONLY)
    laws.protect(op, "event_corrections")
