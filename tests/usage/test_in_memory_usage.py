"""Meters over events in memory agree with the real engine, digit by digit."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from activities.adapters.clickhouse import ClickHouseConnection
from activities.ingestion.events import Event
from activities.usage_reader import UsageReader
from billing.periods import Period
from billing.usage_aggregation import UsageEvent, first_accepted, measure
from billing.windows import WindowSize, window_at
from models.clickhouse.times import instant
from models.clickhouse.windows import Window
from models.scope import Scope
from tests.usage.test_usage_exact import CUSTOMER, METERS, START, YEAR, random_events, stored, sum_of, without_checksum


def in_memory(event: Event) -> UsageEvent:
    """The event as the simulator holds it: its numbers are Decimals where they are not whole."""
    decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
    return UsageEvent(
        event.event_id,
        event.event_name,
        instant(event.timestamp),
        decoder.decode(event.properties),
        instant(event.accepted_at),
    )


@pytest.mark.parametrize("seed", range(20, 24))
async def test_every_offered_aggregation_agrees(usage_store: ClickHouseConnection, scope: Scope, seed: int) -> None:
    sent = random_events(scope, 1500, seed)
    await stored(usage_store, sent)
    events = first_accepted(in_memory(event) for event in sent)
    reader = UsageReader(usage_store)
    for period in (YEAR, Period(START, datetime(2025, 1, 20, 23, tzinfo=UTC))):
        found = without_checksum(await reader.read(scope, CUSTOMER, METERS, period))
        assert found == {meter.id: measure(meter, events, period) for meter in METERS}


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
@pytest.mark.parametrize("size", [size for size in WindowSize if size is not WindowSize.MONTH])
async def test_windows_are_the_same(
    usage_store: ClickHouseConnection, scope: Scope, zone: str, size: WindowSize
) -> None:
    # around both changes of New York's clocks in 2025
    around = [datetime(2025, month, day, tzinfo=UTC) for month, day in ((3, 8), (3, 9), (11, 1), (11, 2))]
    sent = []
    for number, event in enumerate(random_events(scope, 600, 5)):
        at = around[number % 4].timestamp() * 1000 + number * 137_013 % 86_400_000
        sent.append(msgspec.structs.replace(event, timestamp=int(at), event_name="call"))
    await stored(usage_store, sent)
    meter = sum_of("value")
    found = await UsageReader(usage_store).windows(scope, CUSTOMER, meter, YEAR, Window(size, zone))
    events = [in_memory(event) for event in sent]
    starts = sorted({window_at(size, zone, START, event.timestamp).start for event in events})
    assert [start for start, _ in found] == starts
