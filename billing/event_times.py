"""Which event times are accepted: not older than the retention, not far ahead of the customer's clock.

Owns the window, measured when the event is received. Rules: usage.md section 1.
"""

import calendar
from datetime import datetime, timedelta
from typing import Final

from billing.errors import Invalid

RETENTION_MONTHS: Final = 37
AHEAD: Final = timedelta(hours=24)


def check_event_time(timestamp: datetime, received_at: datetime) -> None:
    """Raises Invalid for an event from before the retention or more than 24 hours after it is received."""
    oldest = months_before(received_at, RETENTION_MONTHS)
    if timestamp < oldest:
        raise Invalid(
            f"timestamp must not be older than {RETENTION_MONTHS} months, that is before {oldest.isoformat()}",
            field="timestamp",
            code="timestamp_too_old",
        )
    if timestamp > received_at + AHEAD:
        raise Invalid(
            f"timestamp must not be more than 24 hours ahead, that is after {(received_at + AHEAD).isoformat()}",
            field="timestamp",
            code="timestamp_ahead",
        )


def months_before(instant: datetime, months: int) -> datetime:
    """`instant` that many UTC calendar months earlier; the last day of a shorter month stands for a day it lacks."""
    index = instant.year * 12 + instant.month - 1 - months
    year, month = index // 12, index % 12 + 1
    return instant.replace(year=year, month=month, day=min(instant.day, calendar.monthrange(year, month)[1]))
