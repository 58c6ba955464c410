"""The double-entry ledger: append-only, balanced per transaction by a deferred constraint."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlmodel import Field

from models.tables.base import Amount, Scoped, UtcTime

ZERO = Decimal(0)


class LedgerTransactionRow(Scoped, table=True):
    """One posting. (kind, reference) is unique, so the same business fact is posted once."""

    __tablename__ = "ledger_transactions"
    __table_args__ = (
        Index("ledger_transactions_once", "tenant_id", "environment_id", "kind", "reference", unique=True),
    )

    id: str = Field(primary_key=True)
    kind: str
    reference: str
    invoice_id: str | None = None
    customer_id: str | None = None
    currency: str
    occurred_at: datetime = Field(sa_type=UtcTime)
    created_at: datetime = Field(sa_type=UtcTime)


class LedgerEntryRow(Scoped, table=True):
    """One side of a transaction: a debit or a credit of an account, in major units of its currency."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        CheckConstraint("debit >= 0 AND credit >= 0 AND (debit = 0) <> (credit = 0)", name="one_side"),
        Index("ledger_entries_account", "tenant_id", "environment_id", "account", "currency"),
    )

    transaction_id: str = Field(
        primary_key=True, sa_column_args=[ForeignKey("ledger_transactions.id", deferrable=True, initially="DEFERRED")]
    )
    position: int = Field(primary_key=True)
    account: str
    debit: Decimal = Field(default=ZERO, sa_type=Amount)
    credit: Decimal = Field(default=ZERO, sa_type=Amount)
    currency: str


class DeferredRevenueRow(Scoped, table=True):
    """Revenue billed in advance and not earned yet: released when the line's period ends.

    `postings` counts the postings that released it or took a release back; it makes each one's reference unique.
    """

    __tablename__ = "deferred_revenue"
    __table_args__ = (
        CheckConstraint("released + reversed <= amount", name="not_over_released"),
        Index("deferred_revenue_due", "release_at", postgresql_where="released + reversed < amount"),
        Index("deferred_revenue_invoice", "invoice_id"),
    )

    invoice_line_id: str = Field(primary_key=True)
    invoice_id: str
    customer_id: str
    subscription_id: str | None = None
    test_clock_id: str | None = None
    currency: str
    amount: Decimal = Field(sa_type=Amount)
    released: Decimal = Field(default=ZERO, sa_type=Amount)
    reversed: Decimal = Field(default=ZERO, sa_type=Amount)
    release_at: datetime = Field(sa_type=UtcTime)
    postings: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
