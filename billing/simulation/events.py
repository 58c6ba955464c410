"""The events of a story: accepted once each in order of arrival, amended and voided, and what was known when.

Owns identity and revisions. Which events a meter wants and how they fold is billing.usage_aggregation's.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.errors import Conflict, Invalid, NotFound
from billing.event_times import check_event_time
from billing.meters import AggregationType, Meter
from billing.money import decimal_text
from billing.scenario import document as doc
from billing.usage_aggregation import UsageEvent

DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that does not count, or not with its value, and why."""

    event_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Revision:
    """What is known of an event from `at` on; no event once it is voided. `path` is what the document says it by."""

    at: datetime
    event: UsageEvent | None
    path: str


@dataclass(slots=True)
class LoggedEvent:
    """An accepted event with what became of it. `count` events alike are the shorthand of a COUNT meter."""

    original: UsageEvent
    revisions: list[Revision]
    count: int = 1

    @property
    def last(self) -> UsageEvent | None:
        """As it is known in the end; None when it was voided."""
        return self.revisions[-1].event

    def void(self, at: datetime, path: str) -> None:
        """It does not count any more; one that is void already stays as it was voided."""
        if self.last is not None:
            self.revisions.append(Revision(at, None, path))

    def amend(self, properties: Mapping[str, Any], at: datetime, path: str) -> None:
        """It counts with other properties. Raises Conflict for a void one."""
        if self.last is None:
            name = self.original.event_id
            raise Conflict(
                f"event {name!r} is void and cannot be amended; send a new event", state="void", field="event_id"
            )
        self.revisions.append(Revision(at, replace(self.original, properties=properties), path))

    def known_before(self, cutoff: datetime) -> UsageEvent | None:
        """As it was known before `cutoff`; None when it had not come or was voided."""
        known = None
        for revision in self.revisions:
            if revision.at < cutoff:
                known = revision.event
        return known


class EventLog:
    """Everything that was sent until the story's end, in order of arrival."""

    def __init__(self, scenario: doc.Scenario, meters: Mapping[str, Meter]) -> None:
        self.rejected: list[Rejected] = []
        self._by_id: dict[str, LoggedEvent] = {}
        self._by_name: dict[str, list[LoggedEvent]] = {}
        for logged in sent_events(scenario, meters):
            self._accept(logged)

    def named(self, event_name: str) -> list[LoggedEvent]:
        """All accepted events of a name, in order of arrival."""
        return self._by_name.get(event_name, [])

    def received(self, event_name: str, after: datetime, before: datetime) -> list[LoggedEvent]:
        """Those of a name that were accepted in [after, before)."""
        own = self.named(event_name)
        first, last = (bisect_left(own, at, key=_accepted_at) for at in (after, before))
        return own[first:last]

    def all(self) -> Iterator[LoggedEvent]:
        """All accepted events, in order of arrival."""
        return iter(self._by_id.values())

    def find(self, event_id: str, at: datetime) -> LoggedEvent:
        """The event as it stands at `at`, also one that is void. Raises NotFound."""
        found = self._by_id.get(event_id)
        if found is None or found.original.accepted_at > at:
            raise NotFound(f"no event has the event_id {event_id!r} at that time", field="event_id")
        return found

    def _accept(self, logged: LoggedEvent) -> None:
        event = logged.original
        try:
            check_event_time(event.timestamp, event.accepted_at)
        except Invalid as error:
            self.rejected.append(Rejected(event.event_id, error.code))
            return
        if event.event_id in self._by_id:
            self.rejected.append(Rejected(event.event_id, DUPLICATE))
            return
        self._by_id[event.event_id] = logged
        self._by_name.setdefault(event.event_name, []).append(logged)


def sent_events(scenario: doc.Scenario, meters: Mapping[str, Meter]) -> list[LoggedEvent]:
    """What the document sends until the story's end, in order of arrival, whether it is accepted or not."""
    sent = [*_from_usage(scenario, meters), *_from_events(scenario)]
    known = [logged for logged in sent if logged.original.accepted_at <= scenario.until]
    return sorted(known, key=lambda each: each.original.accepted_at)


def _accepted_at(logged: LoggedEvent) -> datetime:
    return logged.original.accepted_at


def _from_events(scenario: doc.Scenario) -> Iterator[LoggedEvent]:
    for index, part in enumerate(scenario.events):
        path = f"events[{index}]"
        name = part.event_name.strip()
        if not name:
            raise Invalid(f"{path}.event_name must not be empty", field=f"{path}.event_name")
        event = UsageEvent(part.event_id or path, name, part.timestamp, part.properties, part.received_at)
        yield LoggedEvent(event, [Revision(event.accepted_at, event, path)])


def _from_usage(scenario: doc.Scenario, meters: Mapping[str, Meter]) -> Iterator[LoggedEvent]:
    for index, part in enumerate(scenario.usage):
        path, meter = f"usage[{index}]", meters[part.meter]
        properties: dict[str, Any] = {each.key: each.values[0] for each in meter.filters}
        count = 1
        if meter.aggregation is AggregationType.COUNT:
            count = _whole(part.quantity, f"{path}.quantity")
        elif meter.aggregation is AggregationType.COUNT_UNIQUE or meter.group_by or meter.field is None:
            named = "groups" if meter.group_by else "has an expression" if meter.expression else None
            why = f"a meter that {named}" if named else f"a {meter.aggregation} meter"
            raise Invalid(f"{path}.meter must not be {why}: write events instead", field=f"{path}.meter")
        else:
            properties[meter.field] = decimal_text(part.quantity)
        event = UsageEvent(path, meter.event_name, part.at, properties, part.received_at)
        yield LoggedEvent(event, [Revision(event.accepted_at, event, path)], count)


def _whole(quantity: Decimal, path: str) -> int:
    if quantity < 0 or quantity != quantity.to_integral_value():
        raise Invalid(f"{path} must be a whole number of events, 0 or more; got {quantity}", field=path)
    return int(quantity)
