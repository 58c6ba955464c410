"""Invoices at a threshold of unbilled usage, and alerts on balances of wallets: what was agreed, and the next look."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("subscriptions", sa.Column("auto_invoice_threshold", sa.Numeric(38, 15), nullable=True))
    op.add_column("subscriptions", sa.Column("threshold_check_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "subscriptions_threshold",
        "subscriptions",
        ["id"],
        postgresql_where=sa.text("auto_invoice_threshold IS NOT NULL"),
    )
    op.add_column("wallets", sa.Column("alert_settings", JSONB(), nullable=True))
    op.add_column("wallets", sa.Column("alert_state", sa.String(), nullable=False, server_default="ok"))
    op.alter_column("wallets", "alert_state", server_default=None)
    op.add_column("wallets", sa.Column("alert_check_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("wallets_with_alerts", "wallets", ["id"], postgresql_where=sa.text("alert_settings IS NOT NULL"))
