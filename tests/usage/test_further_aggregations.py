"""AVG, MIN, SUM_WITH_MULTIPLIER, WEIGHTED_SUM, and meters that never reset: the engine's sums and the rules in memory
agree to the last digit.
"""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from activities.adapters.clickhouse import ClickHouseConnection
from activities.usage_reader import UsageReader
from billing.errors import Invalid
from billing.meters import AggregationType, Filter, Meter, ResetUsage
from billing.periods import Period
from billing.usage_aggregation import first_accepted, measure
from billing.windows import WindowSize
from models.clickhouse.windows import Window
from models.scope import Scope
from tests.usage.test_in_memory_usage import in_memory
from tests.usage.test_usage_exact import CUSTOMER, START, YEAR, event, random_events, stored, without_checksum

FILTERS = (Filter("model", ("a", "1")),)
EVER = [kind for kind in AggregationType if kind not in (AggregationType.COUNT, AggregationType.SUM_WITH_MULTIPLIER)]
METERS = [
    Meter("average", "m", "call", AggregationType.AVG, "value"),
    Meter("average_of_some", "m", "call", AggregationType.AVG, "value", FILTERS),
    Meter("least", "m", "call", AggregationType.MIN, "value"),
    Meter("least_of_some", "m", "call", AggregationType.MIN, "value", FILTERS),
    Meter("times", "m", "call", AggregationType.SUM_WITH_MULTIPLIER, "value", multiplier=Decimal("0.000000000000003")),
    Meter("level", "m", "call", AggregationType.WEIGHTED_SUM, "value"),
    Meter("level_of_some", "m", "call", AggregationType.WEIGHTED_SUM, "value", FILTERS),
    Meter("sum", "m", "call", AggregationType.SUM, "value"),
    *(Meter(f"ever_{kind}", "m", "call", kind, "value", FILTERS, ResetUsage.NEVER) for kind in EVER),
    Meter("ever_count", "m", "call", AggregationType.COUNT, reset_usage=ResetUsage.NEVER),
    *(Meter(f"no_{kind}", "m", "never", kind, "value") for kind in (AggregationType.AVG, AggregationType.WEIGHTED_SUM)),
]


@pytest.mark.parametrize("seed", range(40, 50))
async def test_the_engine_and_the_rules_agree(usage_store: ClickHouseConnection, scope: Scope, seed: int) -> None:
    sent = random_events(scope, 1000, seed)
    await stored(usage_store, sent)
    events = first_accepted(in_memory(one) for one in sent)
    odd = Period(START, datetime(2025, 1, 20, 23, 59, 59, 123_000, tzinfo=UTC))
    later = Period(datetime(2025, 1, 10, 12, tzinfo=UTC), odd.end)
    for period in (YEAR, odd, later):
        found = without_checksum(await UsageReader(usage_store).read(scope, CUSTOMER, METERS, period))
        assert found == {meter.id: measure(meter, events, period) for meter in METERS}


async def test_a_level_counts_for_as_long_as_it_lasts(usage_store: ClickHouseConnection, scope: Scope) -> None:
    april = Period(datetime(2025, 4, 1, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC))
    seats = Meter("seats", "m", "call", AggregationType.WEIGHTED_SUM, "value")
    changes = [(1, "10"), (11, "-4"), (21, "5")]
    sent = [
        event(scope, number, {"value": value}, datetime(2025, 4, day, tzinfo=UTC))
        for number, (day, value) in enumerate(changes)
    ]
    await stored(usage_store, sent)
    found = (await UsageReader(usage_store).read(scope, CUSTOMER, [seats], april))["seats"]
    assert found.quantity == Decimal(9)  # a third of the month 10, a third 6, a third 11
    with pytest.raises(Invalid, match="no windows"):
        await UsageReader(usage_store).windows(scope, CUSTOMER, seats, april, Window(WindowSize.DAY))
