"""Wallets: credits in lots, and every movement of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from models.migrations.postgres import laws

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

RATE = sa.Numeric(38, 15)
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "wallets",
        *_entity_columns(),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("wallet_type", sa.String(), nullable=False),
        sa.Column("wallet_status", sa.String(), nullable=False),
        sa.Column("conversion_rate", RATE, nullable=False),
        sa.Column("topup_conversion_rate", RATE, nullable=False),
        sa.Column("allowed_price_types", JSONB(), nullable=False),
        sa.Column("transaction_count", sa.Integer(), nullable=False),
        sa.Column("wallet_metadata", JSONB(), nullable=False),
        sa.Column("test_clock_id", sa.String(), nullable=True),
        sa.CheckConstraint("conversion_rate > 0 AND topup_conversion_rate > 0", name="rates_positive"),
    )
    scope = ["tenant_id", "environment_id"]
    active = sa.text("wallet_status = 'active'")
    op.create_index(
        "wallets_active",
        "wallets",
        [*scope, "customer_id", "currency", "wallet_type"],
        unique=True,
        postgresql_where=active,
    )
    op.create_table(
        "wallet_lots",
        *_entity_columns(),
        sa.Column("wallet_id", sa.String(), nullable=False),
        sa.Column("credits", RATE, nullable=False),
        sa.Column("remaining", RATE, nullable=False),
        sa.Column("granted_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=True),
        sa.Column("priority", sa.Integer(), nullable=True),
        sa.Column("purchased", sa.Boolean(), nullable=False),
        sa.CheckConstraint("credits > 0 AND remaining >= 0 AND remaining <= credits", name="remaining_within"),
    )
    op.create_index("wallet_lots_wallet", "wallet_lots", ["wallet_id"], postgresql_where=sa.text("remaining > 0"))
    _create_transactions()
    for table in ("wallets", "wallet_lots", "wallet_transactions"):
        laws.protect(op, table)
    laws.check_amounts(op, laws.WALLET_AMOUNTS)
    laws.execute_all(op, laws.WALLETS)


def _create_transactions() -> None:
    op.create_table(
        "wallet_transactions",
        *_entity_columns(),
        sa.Column("wallet_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("lot_id", sa.String(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("credits", RATE, nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("credit_balance_before", RATE, nullable=False),
        sa.Column("credit_balance_after", RATE, nullable=False),
        sa.Column("transaction_reason", sa.String(), nullable=False),
        sa.Column("reference_type", sa.String(), nullable=False),
        sa.Column("reference_id", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("occurred_at", INSTANT, nullable=False),
        sa.Column("transaction_metadata", JSONB(), nullable=False),
        sa.CheckConstraint("credits <> 0", name="credits_moved"),
    )
    op.create_index("wallet_transactions_wallet", "wallet_transactions", ["wallet_id", "sequence"], unique=True)
    op.create_index("wallet_transactions_lot", "wallet_transactions", ["lot_id"])
    op.create_index(
        "wallet_transactions_idempotency_key",
        "wallet_transactions",
        ["tenant_id", "environment_id", "wallet_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def _entity_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("updated_by", sa.String(), nullable=False),
    ]
