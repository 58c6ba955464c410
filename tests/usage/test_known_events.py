"""Usage as it was known at an earlier instant: the engine's answer and that of the log of a story agree."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from activities.adapters.clickhouse import ClickHouseConnection
from activities.grouped_usage import GroupedUsage
from activities.ingestion.events import Event, Placed
from activities.ingestion.sink import Sink
from activities.usage_reader import UsageReader
from billing.meters import AggregationType, Filter, Meter, UsageQuantity
from billing.periods import Period
from billing.simulation.events import LoggedEvent, Revision
from billing.usage_aggregation import UsageEvent, measure
from models.clickhouse.event_rows import EventRow, find_event_rows, insert_revision
from models.clickhouse.times import instant, milliseconds
from models.scope import Scope
from tests.usage.test_usage_exact import without_checksum

START = datetime(2025, 5, 1, tzinfo=UTC)
MONTH = Period(START, datetime(2025, 6, 1, tzinfo=UTC))
EVER = Period(datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
KINDS = [kind for kind in AggregationType if kind is not AggregationType.SUM_WITH_MULTIPLIER]
METERS = [Meter(kind.value, "m", "call", kind, None if kind is AggregationType.COUNT else "n") for kind in KINDS]
METERS.append(Meter("some", "m", "call", AggregationType.SUM, "n", (Filter("model", ("a",)),)))
HOUR = timedelta(hours=1)


class Told:
    """Some events of a customer, each with its corrections; the same in the store and in the log of a story."""

    def __init__(self, store: ClickHouseConnection, scope: Scope, customer: str, seed: int) -> None:
        self.store, self.scope, self.customer = store, scope, customer
        self.random = random.Random(seed)
        self.log: list[LoggedEvent] = []

    async def tell(self, events: int, corrections: int) -> None:
        sent = sorted((self._event(number) for number in range(events)), key=lambda event: event.accepted_at)
        placed = [Placed(event, 0, number) for number, event in enumerate(sent)]
        await Sink(self.store).store(placed, milliseconds(START))
        self.log = [LoggedEvent(known, [Revision(known.accepted_at, known, "")]) for known in map(_known, sent)]
        times = sorted(self.random.randrange(2000) for _ in range(corrections))
        for number, hours in enumerate(times):
            await self._correct(START + hours * HOUR, number + 1)

    def _event(self, number: int) -> Event:
        at = milliseconds(START + self.random.randrange(-100, 900) * HOUR)
        accepted = at + self.random.choice((0, 0, 100, 1000)) * 3_600_000 + number
        owner = (self.scope.tenant_id, self.scope.environment_id, self.customer)
        return Event(*owner, "call", at, f"e-{number}", "", self._properties(), accepted)

    def _properties(self) -> str:
        return f'{{"n":"{self.random.randrange(-3, 30)}.5","model":"{self.random.choice("ab")}"}}'

    async def _correct(self, at: datetime, revision: int) -> None:
        logged = self.random.choice(self.log)
        known = logged.last
        if known is None or logged.revisions[-1].at > at:
            return
        (before,) = await find_event_rows(self.store, self.scope, known.event_id, self.customer)
        after: EventRow | None = None
        kind = self.random.choice(("void", "amend", "move", "rename"))
        if kind != "void":
            moved = (
                milliseconds(START + self.random.randrange(-100, 900) * HOUR) if kind == "move" else before.timestamp
            )
            name = "other" if kind == "rename" else "call"
            after = EventRow(**{**_fields(before), "timestamp": moved, "event_name": name,
                                "properties": self._properties(), "revision": 0})  # fmt: skip
        await insert_revision(self.store, before, after, revision, milliseconds(at))
        logged.revisions.append(Revision(at, None if after is None else _of_row(after), ""))

    def known_before(self, at: datetime | None, period: Period) -> dict[str, UsageQuantity]:
        known = [logged.last if at is None else logged.known_before(at) for logged in self.log]
        return {meter.id: measure(meter, [event for event in known if event], period) for meter in METERS}


@pytest.mark.parametrize("seed", range(2))
async def test_usage_as_it_was_known(usage_store: ClickHouseConnection, scope: Scope, seed: int) -> None:
    """Of two customers whose events have the same ids, asked one by one and together."""
    both = [Told(usage_store, scope, f"c-{number}", seed * 10 + number) for number in range(2)]
    for told in both:
        await told.tell(40, 45)
    reader, grouped = UsageReader(usage_store), GroupedUsage(usage_store)
    for at in (None, *(START + hours * HOUR for hours in (100, 900, 1300, 5000))):
        for period in (MONTH, EVER):
            alone = [await reader.read(scope, told.customer, METERS, period, at) for told in both]
            reads = (grouped.read(scope, told.customer, METERS, period, at) for told in both)
            assert await asyncio.gather(*reads) == alone
            expected = [told.known_before(at, period) for told in both]
            assert [without_checksum(found) for found in alone] == expected, at


async def test_what_was_known_has_the_proof_that_it_had(usage_store: ClickHouseConnection, scope: Scope) -> None:
    """Read anew as of before the correction, the checksum is that of the events as they were."""
    told = Told(usage_store, scope, "c-1", 1)
    await told.tell(20, 0)
    reader = UsageReader(usage_store)
    before = await reader.read(scope, "c-1", METERS, EVER)
    (row,) = await find_event_rows(usage_store, scope, "e-3", "c-1")
    for _ in range(2):  # a correction that is applied again
        await insert_revision(usage_store, row, None, 1, milliseconds(START + 3000 * HOUR))
    assert await reader.read(scope, "c-1", METERS, EVER) != before
    assert await reader.read(scope, "c-1", METERS, EVER, START + 3000 * HOUR) == before


def _fields(row: EventRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in EventRow.__dataclass_fields__}


def _known(event: Event) -> UsageEvent:
    return _usage_event(event.event_id, event.event_name, event.timestamp, event.properties, event.accepted_at)


def _of_row(row: EventRow) -> UsageEvent:
    return _usage_event(row.event_id, row.event_name, row.timestamp, row.properties, row.accepted_at)


def _usage_event(event_id: str, name: str, timestamp: int, properties: str, accepted_at: int) -> UsageEvent:
    body = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode(properties)
    return UsageEvent(event_id, name, instant(timestamp), body, instant(accepted_at))
