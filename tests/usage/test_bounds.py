"""What a tenant may ask for at most is read by one worker; what is more is refused, and fails nobody else."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from activities.adapters.clickhouse import ClickHouseConnection
from activities.grouped_usage import GroupedUsage
from activities.usage_reader import UsageReader
from billing.errors import Invalid
from billing.expressions.evaluation import expression_value
from billing.expressions.parsing import LENGTH_MAX, OPERATIONS_MAX
from billing.meters import FILTER_VALUES_MOST, AggregationType, Filter, Meter
from billing.periods import Period
from billing.windows import WindowSize
from models.clickhouse.client import ClickHouseTooMuch
from models.clickhouse.expression_sql import check_computable
from models.clickhouse.expression_usage import UNDECIDED_MOST
from models.clickhouse.meter_query import ROWS_MOST
from models.scope import Scope
from tests.usage.test_usage_exact import event, stored

START = datetime(2025, 10, 1, tzinfo=UTC)
MONTH = Period(START, datetime(2025, 11, 1, tzinfo=UTC))
MINUTES = Meter("minutes", "minutes", "call", AggregationType.MAX, "n", bucket_size=WindowSize.MINUTE)
GROUPS = replace(MINUTES, id="groups", group_by="request")
MINUTES_OF_A_MONTH = 31 * 24 * 60
CALLS = 31 * 24 * 3600 // 24


async def busy(store: ClickHouseConnection, scope: Scope, customer: str, n: str = "toString(number % 7)") -> None:
    """A call every 24 seconds of the month; each is its own request."""
    await store.command(
        "INSERT INTO events (tenant_id, environment_id, external_customer_id, event_name, timestamp, event_id, source,"
        " properties, kafka_partition, kafka_offset, accepted_at, stored_at)\n"
        f"SELECT '{scope.tenant_id}', '{scope.environment_id}', '{customer}', 'call',"
        " toDateTime64('2025-10-01 00:00:00', 3, 'UTC') + number * 24, toString(number), '',"
        f" concat('{{\"n\":', {n}, ',\"request\":\"', toString(number), '\"}}'), 0, 0, now64(3), now64(3)"
        f" FROM numbers({CALLS})"
    )


async def test_buckets_of_many_are_read_in_parts(usage_store: ClickHouseConnection, scope: Scope) -> None:
    """Each minute of a month is a bucket: two customers are what a statement may answer, and five ask at once."""
    customers = [f"busy-{number}" for number in range(5)]
    for customer in customers:
        await busy(usage_store, scope, customer)
    grouped = GroupedUsage(usage_store)
    found = await asyncio.gather(
        *(grouped.buckets(scope, each, [MINUTES], MONTH, "UTC", START) for each in [*customers, "silent"])
    )
    alone = await UsageReader(usage_store).buckets(scope, customers[0], [MINUTES], MONTH, "UTC", START)
    assert len(alone["minutes"].parts) == MINUTES_OF_A_MONTH < ROWS_MOST < 5 * MINUTES_OF_A_MONTH
    assert found[0] == alone
    assert [len(each["minutes"].parts) for each in found] == [MINUTES_OF_A_MONTH] * 5 + [0]


async def test_groups_without_end_fail_who_has_them(usage_store: ClickHouseConnection, scope: Scope) -> None:
    """Every request of a customer is a group of its own; the reason names the meter and what would be right."""
    await busy(usage_store, scope, "careless")
    other = datetime(2025, 10, 1, tzinfo=UTC) + timedelta(minutes=7)
    await usage_store.command(
        "INSERT INTO events (tenant_id, environment_id, external_customer_id, event_name, timestamp, event_id, source,"
        " properties, kafka_partition, kafka_offset, accepted_at, stored_at) VALUES"
        f" ('{scope.tenant_id}', '{scope.environment_id}', 'careful', 'call', '{other:%Y-%m-%d %H:%M:%S}', '1', '',"
        ' \'{"n":3,"request":"1"}\', 0, 0, now64(3), now64(3))'
    )
    grouped = GroupedUsage(usage_store)
    careless, careful = await asyncio.gather(
        *(grouped.buckets(scope, each, [GROUPS], MONTH, "UTC", START) for each in ("careless", "careful")),
        return_exceptions=True,
    )
    assert isinstance(careless, ClickHouseTooMuch)
    assert "groups: more than 100000 buckets and groups" in str(careless)
    assert not isinstance(careful, BaseException)
    assert [part.quantity for part in careful["groups"].parts] == [3]


def filtered(number: int) -> Meter:
    """With as many filters and values as the API takes."""
    values = (*(f"value-{at}" for at in range(FILTER_VALUES_MOST // 100 - 1)), "0")
    filters = tuple(Filter(f"p{at}", values) for at in range(100))
    return Meter(f"filtered_{number}", "filtered", "call", AggregationType.SUM, "n", filters)


def of(text: str) -> Meter:
    """A sum of an expression."""
    assert len(text) <= LENGTH_MAX
    return Meter(f"sum of {text}", "expressed", "call", AggregationType.SUM, expression=text)


def nested(depth: int) -> str:
    """Conditions within conditions."""
    text = "n"
    for number in range(depth):
        text = f"(n > {number} ? {text} : {number})"
    return text


WIDE = [
    "+".join(["n"] * (OPERATIONS_MAX - 1)),
    "(" * 400 + "n" + ")" * 400 + "/3",
    "max(" + ",".join(f"n*{number}" for number in range(1, 40)) + ")",
    "+".join(["ceil(n/7)"] * 20),
    nested(20),
]
TOO_WIDE = ["-".join(["n"] * (OPERATIONS_MAX - 1)), nested(OPERATIONS_MAX // 2 - 1), "*".join(["n"] * 60)]


async def test_the_widest_meters_are_read(usage_store: ClickHouseConnection, scope: Scope) -> None:
    """Their statements are short enough for the engine, and say what the rules say."""
    await busy(usage_store, scope, "busy")
    meters = [*(filtered(number) for number in range(3)), *map(of, WIDE)]
    found = await UsageReader(usage_store).read(scope, "busy", meters, MONTH)
    for meter in meters:
        assert found[meter.id].event_count == (0 if meter.filters else CALLS), meter.id
        if meter.expression is not None:
            check_computable(meter.expression)
            values = [expression_value(meter.expression, {"n": number}) or Decimal(0) for number in range(7)]
            assert found[meter.id].quantity == sum(values[number % 7] for number in range(CALLS)), meter.id


async def test_a_filter_may_name_any_text(usage_store: ClickHouseConnection, scope: Scope) -> None:
    """Each value is found as it was sent, and no other."""
    texts = [
        "it's", "back\\slash", "\\'", "tab\t", "new\nline", "", "NULL", "[1, 2]", "{x:String}", "é", "a,b", '"',
        "%20&+",
    ]  # fmt: skip
    events = [event(scope, number, {"p": text, "n": 1}, START, event_name="call") for number, text in enumerate(texts)]
    customer = events[0].external_customer_id
    await stored(usage_store, events)
    meters = [
        Meter(f"m{number}", "m", "call", AggregationType.COUNT, None, (Filter("p", values),))
        for number, values in enumerate([*((text,) for text in texts), tuple(texts)])
    ]
    found = await UsageReader(usage_store).read(scope, customer, meters, MONTH)
    assert [found[meter.id].event_count for meter in meters] == [1] * len(texts) + [len(texts)]


@pytest.mark.parametrize("text", TOO_WIDE, ids=["differences", "conditions", "product"])
def test_what_a_statement_cannot_compute_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="must be simpler") as refused:
        check_computable(text)
    assert refused.value.field == "aggregation.expression"


async def test_events_left_to_the_rules_have_a_bound(usage_store: ClickHouseConnection, scope: Scope) -> None:
    """Numbers written as few are: who has very many such events is told, and the neighbour is read."""
    await busy(usage_store, scope, "odd", "'\"1e3\"'")
    await busy(usage_store, scope, "plain")
    grouped = GroupedUsage(usage_store)
    odd, plain = await asyncio.gather(
        *(grouped.read(scope, each, [of("n*2")], MONTH) for each in ("odd", "plain")), return_exceptions=True
    )
    assert isinstance(odd, ClickHouseTooMuch)
    assert f"more than {UNDECIDED_MOST} events" in str(odd)
    assert not isinstance(plain, BaseException)
    assert plain["sum of n*2"].event_count == CALLS
