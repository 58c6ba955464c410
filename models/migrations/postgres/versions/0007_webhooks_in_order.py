"""Webhook endpoints that get their events in order; what is on its way, and what was paid lately, is found quickly."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "webhook_endpoints", sa.Column("ordered", sa.Boolean(), nullable=False, server_default=sa.text("false"))
    )
    op.alter_column("webhook_endpoints", "ordered", server_default=None)
    op.create_index(
        "webhook_deliveries_pending",
        "webhook_deliveries",
        ["endpoint_id", "created_at"],
        postgresql_where=sa.text("delivery_status = 'pending'"),
    )
    op.create_index(
        "payment_attempts_paid",
        "payment_attempts",
        ["payment_gateway", "updated_at"],
        postgresql_where=sa.text("payment_status = 'SUCCEEDED'"),
    )
