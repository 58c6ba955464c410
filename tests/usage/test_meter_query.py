"""The SQL of a meter query, as text."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from billing.errors import Invalid
from billing.event_values import NUMBER
from billing.meters import AggregationType, Filter, Meter, ResetUsage
from billing.windows import WindowSize
from models.clickhouse.listed import listed_sql
from models.clickhouse.meter_query import MeterQuery
from models.clickhouse.times import milliseconds
from models.clickhouse.windows import Window

START = datetime(2025, 1, 1, tzinfo=UTC)
END = datetime(2025, 2, 1, tzinfo=UTC)
TALK = Meter("meter_talk", "talk", "voice_call", AggregationType.SUM, "seconds")
PREMIUM = Meter(
    "meter_premium", "premium", "voice_call", AggregationType.COUNT, None, (Filter("model", ("large", "ultra")),)
)

GOLDEN = (
    """SELECT
  toString(sumIf(ifNull(v_0, toDecimal256(0, 13)), m_0)) AS quantity_0,
  countIf(m_0) AS events_0,
  countIf(m_0 AND v_0 IS NULL) AS rejected_0,
  toString(sumIf(event, m_0)) AS checksum_0,
  toString(countIf(m_1)) AS quantity_1,
  countIf(m_1) AS events_1,
  toUInt64(0) AS rejected_1,
  toString(sumIf(event, m_1)) AS checksum_1
FROM (
  SELECT
    timestamp,
    accepted_at,
    kafka_offset,
    event_id,
    reinterpretAsUInt128(sipHash128(concat(event_id, '\\0', toString(revision)))) AS event,
    JSONExtract(properties, 'Tuple(`seconds` Nullable(String), `model` Nullable(String))') AS scalars,
    if(ifNull(substring(scalars.1, 1, 1) IN ('{', '['), 0) OR ifNull(substring(scalars.2, 1, 1) IN ('{', '['), 0),"""
    """ properties, '') AS suspect,
    if(ifNull(substring(scalars.1, 1, 1) IN ('{', '['), 0) AND JSONType(suspect, 'seconds') != 'String', NULL,"""
    """ scalars.1) AS t_0,
    round(if(match(t_0, '^""" + NUMBER.replace("\\", "\\\\") + """$'), toDecimal256OrNull(t_0, 13), NULL), 12) AS n_0,
    if(n_0 >= 0 AND n_0 < toDecimal256('100000000000000000000000000', 0), n_0, NULL) AS v_0,
    if(ifNull(substring(scalars.2, 1, 1) IN ('{', '['), 0) AND JSONType(suspect, 'model') != 'String', NULL,"""
    """ scalars.2) AS t_1,
    event_name = {event_0:String} AS m_0,
    event_name = {event_1:String} AND ifNull(t_1 IN {values_1_0:Array(String)}, 0) AS m_1
  FROM events FINAL
  WHERE tenant_id = {tenant_id:String}
    AND environment_id = {environment_id:String}
    AND external_customer_id = {external_customer_id:String}
    AND event_name IN ({name_0:String})
    AND timestamp >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({end:Int64}, 'UTC')
)
SETTINGS do_not_merge_across_partitions_select_final = 1, short_circuit_function_evaluation = 'disable'"""
)


def query(*meters: Meter, window: Window | None = None, customer: str | None = "c-1") -> MeterQuery:
    return MeterQuery("tenant_1", "env_1", customer, meters, START, END, window)


def test_two_meters_of_one_customer_are_one_read() -> None:
    sql, parameters = query(TALK, PREMIUM).to_sql()
    assert sql == GOLDEN
    assert parameters == {
        "tenant_id": "tenant_1",
        "environment_id": "env_1",
        "external_customer_id": "c-1",
        "start": 1735689600000,
        "end": 1738368000000,
        "name_0": "voice_call",
        "event_0": "voice_call",
        "event_1": "voice_call",
        "values_1_0": ["large", "ultra"],
    }


@pytest.mark.parametrize(
    ("aggregation", "fold"),
    [
        (AggregationType.SUM, "sumIf(ifNull(v_0, toDecimal256(0, 13)), m_0)"),
        (AggregationType.MAX, "maxIf(ifNull(v_0, toDecimal256(0, 13)), m_0)"),
        (
            AggregationType.LATEST,
            "argMaxIf(ifNull(v_0, toDecimal256(0, 13)), (timestamp, accepted_at, kafka_offset, event_id), m_0)",
        ),
        (AggregationType.COUNT_UNIQUE, "uniqExactIf(t_0, m_0)"),
    ],
)
def test_each_aggregation_has_its_fold(aggregation: AggregationType, fold: str) -> None:
    sql, _ = query(Meter("m", "m", "call", aggregation, "seconds")).to_sql()
    assert sql.splitlines()[1] == f"  toString({fold}) AS quantity_0,"


def test_properties_with_other_names_are_bound_one_by_one() -> None:
    odd = replace(PREMIUM, filters=(Filter("a.b", ("x",)), Filter("it's", ("y",)), Filter("model", ("z",))))
    sql, parameters = query(TALK, odd).to_sql()
    assert "Tuple(`seconds` Nullable(String), `model` Nullable(String))" in sql
    assert "it's" not in sql
    assert (parameters["key_1"], parameters["key_2"]) == ("a.b", "it's")


def test_many_customers_are_bound_in_parameters_that_a_server_takes() -> None:
    names = [f"customer'{number:05}" for number in range(9000)]
    bound: dict[str, list[str]] = {}
    condition = listed_sql("external_customer_id", "each_of", names, bound)
    assert [name for share in bound.values() for name in share] == names
    assert condition == f"({' OR '.join(f'external_customer_id IN {{{name}:Array(String)}}' for name in bound)})"
    assert len(bound) == 3
    assert all(len(repr(share).encode()) < 128 * 1024 for share in bound.values())
    assert listed_sql("x", "few", ["a"], bound) == "x IN {few:Array(String)}"


def test_windows_group_the_same_read() -> None:
    sql, parameters = query(TALK, window=Window(WindowSize.DAY, "Asia/Kolkata")).to_sql()
    lines = sql.splitlines()
    assert lines[1] == "  roundDown(toUnixTimestamp64Milli(timestamp), {boundaries:Array(Int64)}) AS window_start,"
    assert lines[-3:-1] == ["GROUP BY window_start", "ORDER BY window_start"]
    assert parameters["boundaries"][:2] == [1735669800000, 1735756200000]  # midnight is at 18:30 UTC
    assert "zone" not in parameters
    sql, parameters = query(TALK, window=Window(WindowSize.HOUR, "Asia/Kolkata")).to_sql()
    seconds = "(toMinute(timestamp, {zone:String}) % 60) * 60 + toSecond(timestamp, {zone:String})"
    start = f"toUnixTimestamp(timestamp) - ({seconds})"
    before = seconds.replace("timestamp", f"toDateTime({start}, 'UTC')")
    shorter = f"if({before} = 0, 0, 3600 - ({before}))"  # where the clocks are changed by half an hour
    assert sql.splitlines()[1] == f"  toInt64({start} + {shorter}) * 1000 AS window_start,"
    assert parameters["zone"] == "Asia/Kolkata"


def test_what_never_resets_is_read_from_the_beginning() -> None:
    level = replace(TALK, reset_usage=ResetUsage.NEVER)
    sql, parameters = query(level).to_sql()
    assert sql == query(TALK).to_sql()[0].replace(
        "    AND timestamp >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')\n", ""
    )
    assert "start" not in parameters
    with pytest.raises(Invalid, match="must all reset, or all never"):
        query(TALK, level)
    with pytest.raises(Invalid, match="have no windows"):
        query(level, window=Window(WindowSize.DAY))


def test_all_customers_means_no_condition_on_the_customer() -> None:
    sql, parameters = query(TALK, customer=None).to_sql()
    assert "external_customer_id" not in sql
    assert "external_customer_id" not in parameters


def test_values_never_stand_in_the_statement() -> None:
    hostile = "x'} OR 1=1 --"
    meter = Meter("m", "m", hostile, AggregationType.SUM, hostile, (Filter(hostile, (hostile,)),))
    sql, parameters = query(meter, customer=hostile).to_sql()
    assert "1=1" not in sql
    assert list(parameters.values()).count(hostile) == 4  # customer, name, event, key (field and filter are one)
    assert parameters["values_0_0"] == [hostile]


def test_times_are_cut_to_milliseconds_in_utc() -> None:
    assert milliseconds(datetime(1970, 1, 1, 0, 0, 0, 1999, UTC)) == 1
    assert milliseconds(datetime(2025, 1, 1, 5, 30, tzinfo=ZoneInfo("Asia/Kolkata"))) == 1735689600000


def test_a_query_without_meters_or_backwards_is_refused() -> None:
    with pytest.raises(Invalid, match="at least one meter"):
        query()
    with pytest.raises(Invalid, match="must not be after"):
        MeterQuery("t", "e", "c", (TALK,), END, START)
    with pytest.raises(Invalid, match="not an IANA time zone"):
        Window(WindowSize.DAY, "Europe/Pariss")
