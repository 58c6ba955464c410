"""Events that count nowhere, on the wire (ours: the reference has none)."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from billing.errors import Invalid
from models.clickhouse.rejected_events import RejectedEvents
from starter.schemas.wire import Answer, Instant, InstantOut, Request

DEFAULT_RANGE = timedelta(days=1)
LONGEST_RANGE = timedelta(days=366)


class RejectedEventsParams(Request):
    """Event times, [start, end); the day before now where they are left out."""

    start_time: Instant | None = None
    end_time: Instant | None = None

    def span(self, now: datetime) -> tuple[datetime, datetime]:
        """[start, end). Raises Invalid."""
        end = self.end_time or now
        start = self.start_time or end - DEFAULT_RANGE
        if start >= end:
            raise Invalid("end_time must lie after start_time", field="end_time")
        if end - start > LONGEST_RANGE:
            raise Invalid(f"at most {LONGEST_RANGE.days} days at once", field="start_time")
        return start, end


class RejectedEventsAnswer(Answer):
    """Events of one name and one reason: no_meter_for_event_name, no_matching_meter or value_rejected."""

    event_name: str
    reason: str
    count: int
    customers: int
    first_timestamp: InstantOut
    last_timestamp: InstantOut
    example_event_id: str


class RejectedEventsListAnswer(Answer):
    """The most frequent first."""

    start_time: InstantOut
    end_time: InstantOut
    items: list[RejectedEventsAnswer]

    @classmethod
    def of(cls, found: Sequence[RejectedEvents], start: datetime, end: datetime) -> "RejectedEventsListAnswer":
        """The report on the wire."""
        items = [
            RejectedEventsAnswer(
                event_name=each.event_name,
                reason=each.reason,
                count=each.count,
                customers=each.customers,
                first_timestamp=each.first_at,
                last_timestamp=each.last_at,
                example_event_id=each.example_event_id,
            )
            for each in found
        ]
        return cls(start_time=start, end_time=end, items=items)
