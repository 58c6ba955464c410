"""Lists of stored events, by time or by name, page by page in both directions.

Owns the SQL of the list and its cursor. Duplicates never appear: reading is with FINAL, like every read of usage.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from billing.errors import Invalid
from models.clickhouse.client import ClickHouse
from models.clickhouse.properties import text_sql
from models.clickhouse.times import instant, milliseconds

PAGE_EVENTS: Final = 50
_properties = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_place = msgspec.json.Decoder(tuple[int, str, str, str])
_SETTINGS: Final = "SETTINGS do_not_merge_across_partitions_select_final = 1"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event as its sender sees it again. Times in UTC."""

    event_id: str
    external_customer_id: str
    event_name: str
    timestamp: datetime
    source: str
    properties: dict[str, Any]
    """As they were sent; numbers with a point are Decimal, so that the answer shows their digits."""
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page, how many events match in all, and whether more follow in the direction that was asked for.

    `first_key` and `last_key` are where to go on before and after it; None of an empty page.
    """

    events: tuple[StoredEvent, ...]
    total: int
    more: bool
    first_key: str | None
    last_key: str | None

    @property
    def next_key(self) -> str | None:
        """The key to continue after, None on the last page."""
        return self.last_key if self.more else None


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Events of [start, end), newest first unless `ascending`, or by name and then time; each condition narrows them.

    `after` is a page's `last_key`, `before` its `first_key` (what stands in front of it), or `offset` skips that many.
    A property must equal, as text, one of its values.
    """

    tenant_id: str
    environment_id: str
    start: datetime
    end: datetime
    external_customer_id: str | None = None
    event_name: str | None = None
    event_id: str | None = None
    source: str | None = None
    properties: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    after: str | None = None
    before: str | None = None
    offset: int = 0
    page_size: int = PAGE_EVENTS
    by_name: bool = False
    ascending: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.page_size <= PAGE_EVENTS:
            raise Invalid(f"page_size must be 1 to {PAGE_EVENTS}; got {self.page_size}", field="page_size")
        if self.after is not None and self.before is not None:
            raise Invalid("iter_first_key and iter_last_key exclude each other", field="iter_first_key")
        if self.offset < 0:
            raise Invalid(f"offset must not be negative; got {self.offset}", field="offset")
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise Invalid("start_time and end_time must carry a time zone", field="start_time")
        if self.start > self.end:
            raise Invalid(f"start_time {self.start} must not be after end_time {self.end}", field="start_time")

    def to_sql(self) -> tuple[str, dict[str, Any]]:
        """The statement of a page, with one event more than the page to know whether another follows.

        With `before`, in the other direction: the events next to the key come first.
        """
        bound: dict[str, Any] = {}
        conditions = self._conditions(bound)
        rising = self.ascending == (self.before is None)
        if self.after is not None:
            conditions.append(self._beyond(self.after, "iter_last_key", rising, bound))
        if self.before is not None:
            conditions.append(self._beyond(self.before, "iter_first_key", rising, bound))
        columns = "toUnixTimestamp64Milli(timestamp), toUnixTimestamp64Milli(accepted_at)"
        direction = "ASC" if rising else "DESC"
        order = ", ".join(f"{column} {direction}" for column in self._order())
        return (
            f"SELECT event_id, external_customer_id, event_name, source, properties, {columns}\n"
            f"FROM events FINAL\nWHERE {_joined(conditions)}\n"
            f"ORDER BY {order}\nLIMIT {self.page_size + 1} OFFSET {self.offset}\n"
            f"{_SETTINGS}",
            bound,
        )

    def _order(self) -> tuple[str, ...]:
        """Ids are unique for a customer only."""
        by_time = ("events.timestamp", "external_customer_id", "event_id")
        return ("event_name", *by_time) if self.by_name else by_time

    def _beyond(self, key: str, field: str, rising: bool, bound: dict[str, Any]) -> str:
        time, *rest = _cursor(key, field)
        bound |= {"key_time": time, **dict(zip(("key_name", "key_customer", "key_id"), rest, strict=True))}
        values = ["fromUnixTimestamp64Milli({key_time:Int64}, 'UTC')", "{key_customer:String}", "{key_id:String}"]
        if self.by_name:
            values.insert(0, "{key_name:String}")
        return f"({', '.join(self._order())}) {'>' if rising else '<'} ({', '.join(values)})"

    def count_sql(self) -> tuple[str, dict[str, Any]]:
        """The statement that counts all events of the query, whatever the page."""
        bound: dict[str, Any] = {}
        return f"SELECT count()\nFROM events FINAL\nWHERE {_joined(self._conditions(bound))}\n{_SETTINGS}", bound

    def _conditions(self, bound: dict[str, Any]) -> list[str]:
        wanted = {
            "tenant_id": self.tenant_id,
            "environment_id": self.environment_id,
            "external_customer_id": self.external_customer_id,
            "event_name": self.event_name,
            "event_id": self.event_id,
            "source": self.source,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        bound |= given | {"start": milliseconds(self.start), "end": milliseconds(self.end)}
        conditions = [f"{name} = {{{name}:String}}" for name in given]
        conditions.append("timestamp >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')")
        conditions.append("timestamp < fromUnixTimestamp64Milli({end:Int64}, 'UTC')")
        for place, (key, values) in enumerate(self.properties.items()):
            names = [f"value_{place}_{position}" for position in range(len(values))]
            bound |= dict(zip(names, values, strict=True))
            listed = ", ".join(f"{{{name}:String}}" for name in names)
            conditions.append(f"ifNull({text_sql(key, f'key_{place}', bound)} IN ({listed}), 0)")
        return conditions


async def query_events(clickhouse: ClickHouse, query: EventQuery) -> EventPage:
    """One page of events. Raises ClickHouseError; Invalid for a key that no page gave."""
    rows = await clickhouse.query(*query.to_sql())
    counted = await clickhouse.query(*query.count_sql())
    events = [_stored(row) for row in rows[: query.page_size]]
    if query.before is not None:
        events.reverse()
    first, last = (_key(events[0]), _key(events[-1])) if events else (None, None)
    return EventPage(tuple(events), int(counted[0][0]), len(rows) > query.page_size, first, last)


def _joined(conditions: list[str]) -> str:
    return "\n  AND ".join(conditions)


def _stored(row: Any) -> StoredEvent:
    event_id, customer, name, source, properties, timestamp, accepted_at = row
    return StoredEvent(
        event_id,
        customer,
        name,
        instant(int(timestamp)),
        source,
        _properties.decode(properties),
        instant(int(accepted_at)),
    )


def _key(event: StoredEvent) -> str:
    where = (milliseconds(event.timestamp), event.event_name, event.external_customer_id, event.event_id)
    return urlsafe_b64encode(msgspec.json.encode(where)).decode()


def _cursor(key: str, field: str) -> tuple[int, str, str, str]:
    try:
        return _place.decode(urlsafe_b64decode(key))
    except (ValueError, msgspec.MsgspecError):
        raise Invalid(f"{field} must be a key that an earlier page gave; got {key[:80]!r}", field=field) from None
