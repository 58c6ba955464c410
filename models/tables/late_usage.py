"""Corrections of closed periods: usage that became known after the period's invoice was finalized."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field

from models.tables.base import Entity, Json, UtcTime


class UsageCorrectionRow(Entity, table=True):
    """The usage of invoice `invoice_id` was counted anew; never changed afterwards.

    `correction` is the JSON form of `billing.invoice_lines.PeriodCorrection`. Invoice `carrier_invoice_id` has its
    lines (null: credit notes made it, or there was no line and no invoice). `sequence` counts the corrections of one
    invoice from 1. Both unique indexes stand against counting one twice: two that were computed from the same state
    cannot both be stored, and no invoice corrects another twice. `settled_at` is business time.
    """

    __tablename__ = "usage_corrections"
    __table_args__ = (
        CheckConstraint("sequence >= 1", name="sequence_counts_up"),
        CheckConstraint("invoice_id <> carrier_invoice_id", name="corrects_another"),
        Index("usage_corrections_sequence", "invoice_id", "sequence", unique=True),
        Index("usage_corrections_carrier", "carrier_invoice_id", "invoice_id", unique=True),
        Index("usage_corrections_subscription", "subscription_id"),
    )

    subscription_id: str
    customer_id: str
    invoice_id: str
    carrier_invoice_id: str | None = None
    sequence: int
    settled_at: datetime = Field(sa_type=UtcTime)
    correction: dict[str, Any] = Field(sa_type=Json)
