"""Expressions as SQL, as text; what they come to is in test_rules_agree."""

from datetime import UTC, datetime

import pytest

from billing.event_values import NUMBER
from billing.meters import AggregationType, Meter
from models.clickhouse.expression_sql import ExpressionSql
from models.clickhouse.meter_query import MeterQuery
from models.clickhouse.usage import METERS_A_QUERY, in_batches

ANY = NUMBER.replace("\\", "\\\\")
PLAIN = r"^-?[0-9]{1,26}(?:\\.[0-9]{0,18})?$"
READ = "[multiIf(x_0_j = 'Null', '', x_0_j IN ('Object', 'Array'), '{}', concat('=', x_0_t))]"
LAYERS = [
    # the status of the text, its point, its digits, and how many they are
    f"toUInt8(multiIf(x_0_j IN ('Null', 'Object', 'Array'), 1, match(x_0_t, '{PLAIN}'), 0, "
    f"match(x_0_t, '^{ANY}$'), 2, 1)) AS e_0, position(x_0_t, '.') AS e_1, "
    "toInt256OrZero(replaceOne(x_0_t, '.', '')) AS e_3, toUInt32(length(x_0_t)) AS e_5",
    # digits after the point; the numerator in units of 10^-12
    "toUInt8(if(e_0 = 0 AND e_1 > 0, length(x_0_t) - e_1, 0)) AS e_2, e_3 * toInt256('1000000000000') AS e_8, "
    "e_5 + 13 AS e_9",
    "toInt256(intExp10(e_2)) AS e_4, e_2 + 2 AS e_7, toInt256(abs(e_8)) AS e_10",
    # the denominator, 60 times that of the number
    "e_4 * toInt256('60') AS e_6, greatest(e_9, e_7) AS e_11",
    # half away from 0, where 256 bits hold it
    "e_11 + 1 AS e_12, if(e_10 < 0, e_10 * 2 - e_6, e_10 * 2 + e_6) AS e_15, e_6 * toInt256('2') AS e_16",
    "toUInt8(if(e_12 > 75, 2, 0)) AS e_13",
    "greatest(e_0, e_13) AS e_14",
    "intDiv(e_15, if(e_14 = 0, e_16, toInt256('1'))) AS e_17",
    # below 0, and 10^26 and more, are rejected
    f"toUInt8((e_3 < 0 AND e_17 > 0) OR e_17 >= toInt256('1{'0' * 38}')) AS e_18",
    "greatest(e_14, e_18) AS e_19",
]


def minutes(text: str = "seconds / 60") -> Meter:
    return Meter("minutes", "m", "call", AggregationType.SUM, expression=text)


def sql_of(*meters: Meter) -> tuple[str, dict[str, object]]:
    start, end = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC)
    return MeterQuery("tenant_1", "env_1", "c-1", meters, start, end).to_sql()


def test_an_expression_is_layers_of_whole_numbers() -> None:
    sql, bound = sql_of(minutes())
    lines = sql.splitlines()
    assert lines[1:4] == [
        f"  tuple(toString(sumIf(if(e_19 = 0, e_17, toInt256(0)), m_0 AND e_19 = 0)), "
        f"groupArrayIf(50001)({READ}, m_0 AND e_19 = 2), emptyArrayString()) AS quantity_0,",
        "  countIf(m_0) AS events_0,",
        "  countIf(m_0 AND e_19 = 1) AS rejected_0,",
    ]
    assert lines[6 : 6 + len(LAYERS)] == [f"SELECT *, {columns} FROM (" for columns in reversed(LAYERS)]
    assert "    JSONType(properties, {x_0_0:String}) AS x_0_j," in lines
    assert "    JSONExtractString(properties, {x_0_0:String}) AS x_0_t" in lines
    assert bound["x_0_0"] == "seconds"
    assert lines[-1].endswith("short_circuit_function_evaluation = 'disable'")


@pytest.mark.parametrize(
    ("aggregation", "folded"),
    [
        (AggregationType.MAX, "tuple(toString(maxIf(if(e_19 = 0, e_17, toInt256(0)), m_0 AND e_19 = 0)), "),
        (AggregationType.AVG, "tuple(toString(sumIf(if(e_19 = 0, e_17, toInt256(0)), m_0 AND e_19 = 0)), "),
        (
            AggregationType.LATEST,
            "tuple(toString(argMaxIf(if(e_19 = 0, e_17, toInt256(0)), "
            "(timestamp, accepted_at, kafka_offset, event_id), m_0)), ",
        ),
    ],
)
def test_each_aggregation_folds_them(aggregation: AggregationType, folded: str) -> None:
    meter = Meter("m", "m", "call", aggregation, expression="seconds / 60")
    assert sql_of(meter)[0].splitlines()[1].strip().startswith(folded)


def test_the_same_step_is_computed_once() -> None:
    twice, once = sql_of(minutes(), minutes("seconds / 60 + 0"))[0], sql_of(minutes())[0]
    assert twice.count("toInt256OrZero") == once.count("toInt256OrZero") == 1


@pytest.mark.parametrize("text", ["value * pow(1000000, 15)", " - ".join(["value"] * 70)])
def test_what_is_too_wide_or_too_deep_is_left_to_the_rules(text: str) -> None:
    columns = ExpressionSql({}).add(text, None)
    assert (columns.units, columns.status) == ("toInt256('0')", "2")


def test_paths_and_texts_never_stand_in_the_statement() -> None:
    hostile = "x'} OR 1=1 --"
    sql, bound = sql_of(minutes(f'properties["{hostile}"].y == "{hostile}" ? 1 : 2'))
    assert "1=1" not in sql
    assert list(bound.values()).count(hostile) == 2


def test_long_expressions_are_not_many_in_a_statement() -> None:
    short = [minutes() for _ in range(METERS_A_QUERY)]
    assert [len(batch) for batch in in_batches(short)] == [METERS_A_QUERY]
    long = [minutes(" + ".join(["seconds"] * 90)) for _ in range(4)]
    assert [len(batch) for batch in in_batches([*long, *short])] == [1, 1, 1, 3, 18]
