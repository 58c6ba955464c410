"""What does not add up, or stands still, and what to do about it: written by reconciliation and audit."""

from datetime import datetime

from sqlalchemy import Index, text
from sqlmodel import Field

from models.tables.base import LongText, Scoped, UtcTime


class FindingRow(Scoped, table=True):
    """One finding about one thing (`reference`): open until a later pass does not meet it any more.

    `repaired` says that a repair has been set going. Instants are real time, those of the passes.
    """

    __tablename__ = "findings"
    __table_args__ = (
        Index(
            "findings_open", "name", "reference", "tenant_id", "environment_id", unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index("findings_seen", "first_seen_at"),
    )  # fmt: skip

    id: str = Field(primary_key=True)
    name: str
    reference: str
    sentence: str = Field(sa_type=LongText)
    repaired: bool = False
    times_seen: int = 1
    first_seen_at: datetime = Field(sa_type=UtcTime)
    last_seen_at: datetime = Field(sa_type=UtcTime)
    closed_at: datetime | None = Field(default=None, sa_type=UtcTime)
