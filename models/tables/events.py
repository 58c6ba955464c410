"""What was done to usage events after they had been accepted. The events themselves live in ClickHouse."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field

from models.tables.base import Entity, Json, UtcTime


class EventCorrectionRow(Entity, table=True):
    """One void or amendment of an event, by whom (`created_by`), when and why; never changed afterwards.

    `before` and `after` are whole rows of ClickHouse (`models.clickhouse.event_rows.EventRow`), so that a correction
    can be applied from here alone; `after` is empty for a void. `corrected_at` is business time (a customer's test
    clock, where there is one). `applied_at` is null until ClickHouse has the revision.
    """

    __tablename__ = "event_corrections"
    __table_args__ = (
        CheckConstraint("action IN ('void', 'amend') AND (action = 'amend') = (after <> '{}')", name="known_action"),
        CheckConstraint("revision >= 1", name="revision_counts_up"),
        Index(
            "event_corrections_revision", "tenant_id", "environment_id", "event_id", "external_customer_id", "revision",
            unique=True,
        ),
        Index("event_corrections_pending", "tenant_id", "event_id", postgresql_where=text("applied_at IS NULL")),
    )  # fmt: skip

    external_customer_id: str
    event_id: str
    action: str
    revision: int
    reason: str
    before: dict[str, Any] = Field(sa_type=Json)
    after: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    corrected_at: datetime = Field(sa_type=UtcTime)
    applied_at: datetime | None = Field(default=None, sa_type=UtcTime)
