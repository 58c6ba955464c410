"""When a story looks at its unbilled usage: at the full hours after something came in that can change it.

Owns the hours only; what is unbilled and when that is enough is billing.thresholds'.
"""

import heapq
from collections.abc import Iterable
from datetime import datetime

from billing.meters import AggregationType, Meter
from billing.simulation.events import EventLog
from billing.subscriptions import SubscriptionState
from billing.thresholds import checked_after, is_checked


class ThresholdChecks:
    """The hours that are still to come; none where the subscription has no threshold.

    A level (WEIGHTED_SUM) costs more with every hour, so that with such a meter each one is looked at.
    """

    def __init__(self, on: bool, log: EventLog, meters: Iterable[Meter]) -> None:
        self._on = on
        self._hours: list[datetime] = []
        self._always = any(each.aggregation is AggregationType.WEIGHTED_SUM for each in meters)
        for logged in log.all() if on else ():
            self.note(logged.original.accepted_at)

    def note(self, at: datetime) -> None:
        """Something has changed at `at`."""
        if self._on:
            heapq.heappush(self._hours, checked_after(at))

    def next(self, state: SubscriptionState | None) -> datetime | None:
        """When to look next, inside the running period."""
        if not self._on or state is None:
            return None
        while self._hours and self._hours[0] <= state.current_period.start:
            heapq.heappop(self._hours)
        return self._hours[0] if self._hours and is_checked(state, self._hours[0]) else None

    def done(self, at: datetime) -> None:
        """What was known at `at` has been looked at."""
        while self._hours and self._hours[0] <= at:
            heapq.heappop(self._hours)
        if self._always:
            self.note(at)
