"""Voids and amendments of events on the wire (ours: the reference has none)."""

from typing import Annotated, Any

import msgspec
from pydantic import StringConstraints

from models.clickhouse.times import instant
from models.tables import EventCorrectionRow
from starter.schemas.wire import Answer, Instant, InstantOut, ListParams, Name, Request, ShortText

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
EventName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]


class VoidEventRequest(Request):
    """Why an event shall not count. `external_customer_id` is needed where several customers have the id."""

    reason: Reason
    external_customer_id: Name | None = None


class AmendEventRequest(VoidEventRequest):
    """What an event should have said. Fields that are left out stay; `properties` replaces all of them."""

    event_name: EventName | None = None
    timestamp: Instant | None = None
    source: ShortText | None = None
    properties: dict[str, Any] | None = None


class CorrectionListParams(ListParams):
    """Which corrections."""

    event_id: ShortText | None = None
    external_customer_id: ShortText | None = None


class EventContent(Answer):
    """What an event says."""

    event_name: str
    timestamp: InstantOut
    source: str
    properties: Any

    @classmethod
    def of(cls, row: dict[str, Any]) -> "EventContent":
        """A stored row on the wire; its properties with every digit they were sent with."""
        return cls(
            event_name=row["event_name"],
            timestamp=instant(row["timestamp"]),
            source=row["source"],
            properties=msgspec.Raw(row["properties"].encode()),
        )


class EventCorrectionAnswer(Answer):
    """One correction: the event before it, and after it unless it was voided."""

    id: str
    event_id: str
    external_customer_id: str
    action: str
    revision: int
    reason: str
    created_by: str
    created_at: InstantOut
    before: EventContent
    after: EventContent | None = None

    @classmethod
    def of(cls, row: EventCorrectionRow) -> "EventCorrectionAnswer":
        """The row on the wire."""
        plain = {name: getattr(row, name) for name in cls.model_fields if name not in ("before", "after")}
        after = EventContent.of(row.after) if row.after else None
        return cls(**plain, before=EventContent.of(row.before), after=after)
