"""Wallets of customers: the wallet, its lots of credits, and the append-only ledger of everything that moved them."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field

from models.tables.base import Amount, Entity, Json, Rate, UtcTime


class WalletRow(Entity, table=True):
    """A customer's credits in one currency; at most one active wallet per currency and type.

    `alert_settings` are the balances that its owner wants to hear of, `alert_state` what he was told last. Under a test
    clock `alert_check_at` is the full hour at which the balance is looked at next; in real time that is every hour.
    """

    __tablename__ = "wallets"
    __table_args__ = (
        CheckConstraint("conversion_rate > 0 AND topup_conversion_rate > 0", name="rates_positive"),
        Index(
            "wallets_active", "tenant_id", "environment_id", "customer_id", "currency", "wallet_type", unique=True,
            postgresql_where="wallet_status = 'active'",
        ),
        Index("wallets_with_alerts", "id", postgresql_where="alert_settings IS NOT NULL"),
    )  # fmt: skip

    customer_id: str
    name: str
    description: str = ""
    currency: str
    wallet_type: str = "PRE_PAID"
    wallet_status: str = "active"
    conversion_rate: Decimal = Field(default=Decimal(1), sa_type=Rate)
    topup_conversion_rate: Decimal = Field(default=Decimal(1), sa_type=Rate)
    allowed_price_types: list[str] = Field(default_factory=list, sa_type=Json)
    alert_settings: dict[str, Any] | None = Field(default=None, sa_type=Json)
    alert_state: str = "ok"
    alert_check_at: datetime | None = Field(default=None, sa_type=UtcTime)
    transaction_count: int = 0
    wallet_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)
    test_clock_id: str | None = None


class WalletLotRow(Entity, table=True):
    """Credits that came together: `remaining` of them are left, always the sum of the lot's transactions."""

    __tablename__ = "wallet_lots"
    __table_args__ = (
        CheckConstraint("credits > 0 AND remaining >= 0 AND remaining <= credits", name="remaining_within"),
        Index("wallet_lots_wallet", "wallet_id", postgresql_where="remaining > 0"),
    )

    wallet_id: str
    credits: Decimal = Field(sa_type=Rate)
    remaining: Decimal = Field(sa_type=Rate)
    granted_at: datetime = Field(sa_type=UtcTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcTime)
    priority: int | None = None
    purchased: bool = False


class WalletTransactionRow(Entity, table=True):
    """One change of one lot. `credits` is positive when they came; balances are the sums of these."""

    __tablename__ = "wallet_transactions"
    __table_args__ = (
        CheckConstraint("credits <> 0", name="credits_moved"),
        Index("wallet_transactions_wallet", "wallet_id", "sequence", unique=True),
        Index("wallet_transactions_lot", "lot_id"),
        Index(
            "wallet_transactions_idempotency_key", "tenant_id", "environment_id", "wallet_id", "idempotency_key",
            unique=True, postgresql_where="idempotency_key IS NOT NULL",
        ),
    )  # fmt: skip

    wallet_id: str
    sequence: int
    lot_id: str
    customer_id: str
    type: str
    currency: str
    credits: Decimal = Field(sa_type=Rate)
    amount: Decimal = Field(sa_type=Amount)
    credit_balance_before: Decimal = Field(sa_type=Rate)
    credit_balance_after: Decimal = Field(sa_type=Rate)
    transaction_reason: str
    reference_type: str = "REQUEST"
    reference_id: str = ""
    description: str = ""
    idempotency_key: str | None = None
    occurred_at: datetime = Field(sa_type=UtcTime)
    transaction_metadata: dict[str, str] = Field(default_factory=dict, sa_type=Json)
