"""Expressions of meters: exact values of the part of CEL that billing knows, and why the rest is refused."""

import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import Invalid
from billing.expressions.evaluation import compiled, expression_value
from billing.expressions.parsing import parse_expression
from billing.expressions.tree import Arithmetic, Comparison, Condition, Kind, Literal, Operator, Property, Relation
from billing.meters import AggregationType, Meter
from billing.money import decimal_text, round_places
from billing.scenario.decoding import read_json
from billing.usage_aggregation import UsageEvent, measure, rejected_events
from billing.windows import WindowSize

from .builders import span, utc

EVENT: dict[str, Any] = {
    "seconds": 61, "rate": "2.5", "region": "eu", "on": True, "off": "false", "usage": {"tokens": 10},
    "input-tokens": "7", "below": -3, "large": Decimal("1e25"), "tiny": "1e-39", "nothing": None, "if": 4, "list": [1],
}  # fmt: skip

VALUES = [
    # 61 / 60 is not 1, and 61 / 60 x 60 is 61: only the result is rounded, at 12 digits
    ("seconds / 60", "1.016666666667"), ("seconds / 60 * 60", "61"), ("1 / 3", "0.333333333333"), ("5e-13", "1e-12"),
    ("4.9e-13", "0"), ("seconds - 1 - 1", "59"), ("2 + 3 * 4", "14"), ("(2 + 3) * 4", "20"), ("7 - -2", "9"),
    ("-below", "3"), ("-2 + 3", "1"), ("0x10 + 1e3 + .5 + 1.", "1017.5"), ("rate * 2", "5"),
    # a % b has the sign of a; a power is a whole one
    ("seconds % 60", "1"), ("-seconds % 60 + 100", "99"), ("5.5 % 2", "1.5"), ("pow(rate, 2)", "6.25"),
    ("pow(rate, -2)", "0.16"), ("pow(seconds, 0)", "1"),
    ("ceil(seconds / 60)", "2"), ("floor(rate)", "2"), ("ceil(-rate) + 3", "1"), ("floor(-rate) + 3", "0"),
    ("round(2.5)", "3"), ("round(-2.5) + 10", "7"), ("int(rate)", "2"), ("int(-rate) + 3", "1"), ("abs(below)", "3"),
    ("min(seconds, rate, 5)", "2.5"), ("max(seconds, rate)", "61"), ("min(4)", "4"),
    # properties by name, by path and from the whole
    ("usage.tokens + properties['input-tokens']", "17"), ("properties.usage['tokens']", "10"),
    ("properties['if']", "4"),
    # absent and null are nothing; what nobody asks for makes no error
    ("has(usage.tokens) ? usage.tokens : 1", "10"), ("has(usage.other) ? 1 : 2", "2"), ("has(nothing) ? 1 : 2", "2"),
    ("has(properties.region) ? 1 : 2", "1"), ("has(region.deeper) ? 1 : 2", "2"), ("has(list) ? 1 : 2", "1"),
    ("missing > 1 || on ? 5 : 6", "5"), ("on || missing > 1 ? 5 : 6", "5"), ("missing > 1 && !on ? 5 : 6", "6"),
    ("on && !(seconds < 60) ? 5 : 6", "5"), ("off || seconds == 0 ? 5 : 6", "6"), ("off ? 1 / 0 : 3", "3"),
    # comparisons as numbers, as texts, as booleans; two properties as filters compare them
    ("seconds == 61.0 ? 1 : 0", "1"), ("seconds != 61 ? 1 : 0", "0"), ("seconds == '61' ? 1 : 0", "1"),
    ("rate >= 2.5 && rate <= 2.5 && rate < 3 && rate > 2 ? 1 : 0", "1"), ("rate < 2.5 ? 1 : 0", "0"),
    ("region == 'eu' ? seconds : rate", "61"), ("region == rate ? 1 : 0", "0"), ("on == true ? 1 : 0", "1"),
    ("'eu' == region ? 1 : 0", "1"), ("(on ? 'a' : 'b') == 'a' ? 1 : 0", "1"), ("on == (seconds > 3) ? 1 : 0", "1"),
    ("region in ['us', 'eu'] ? 1 : 0", "1"), ("seconds in [60, 62] ? 1 : 0", "0"), ("!(on in [false]) ? 1 : 0", "1"),
    ("(on ? seconds : rate) > 60 ? 1 : 0", "1"), ("off ? 1 : on ? 2 : 3", "2"), ("(on ? off : on) ? 2 : 3", "3"),
    ("(off ? missing : rate) + 1", "3.5"), ("on ? seconds : missing", "61"),
    ("size(region)", "2"), ("region.size() + size('é€')", "4"), ("region.contains('u') ? 1 : 0", "1"),
    ("region.startsWith('eu') && !region.endsWith('e') ? 1 : 0", "1"), ("seconds.startsWith('6') ? 1 : 0", "1"),
    ("'it\\'s\\u0041' == \"it'sA\" ? 1 : 0", "1"), ("r'\\d' == '\\\\d' ? 1 : 0", "1"), ("'''a''' == 'a' ? 1 : 0", "1"),
    ("seconds // the length of the call\n / 2", "30.5"), ("large * 10 / 10", "1e25"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_values(text: str, value: str) -> None:
    assert expression_value(text, EVENT) == Decimal(value)


ERRORS = [
    "missing", "region", "on", "nothing", "list", "usage", "seconds / 0", "seconds % 0", "pow(seconds - 61, -1)",
    "missing + 1", "missing > 1 ? 2 : 3", "missing > 1 && on ? 1 : 0", "missing > 1 || !on ? 1 : 0", "!missing ? 1 : 0",
    "seconds ? 1 : 0", "region.deeper", "size(missing)", "min(1, missing)", "usage == 'x' ? 1 : 0", "-missing",
    "missing in [1] ? 1 : 0", "tiny * 2",
    # the result counts as any other value: not below 0, and below 10^26
    "below", "large * 10",
]  # fmt: skip


@pytest.mark.parametrize("text", ERRORS)
def test_an_error_is_no_value(text: str) -> None:
    assert expression_value(text, EVENT) is None


REFUSED = [
    ("", "at most 2000 characters"), ("a" * 2001, "at most 2000 characters"), ("+".join(["a"] * 102), "100 operations"),
    ("seconds +", "is not CEL"), ("a b", "line 1, column 3"), ("région", "is not CEL"),
    ("if + 1", r"properties\['if'\]"),
    ("sqrt(a)", "no exact result"), ("log(a)", "no exact result"), ("double(a)", "no exact result"),
    ("pow(a, 0.5)", "whole number from -20 to 20"), ("pow(a, b)", "whole number"), ("pow(a, 21)", "whole number"),
    ("string(a)", "functions that are known: has, abs"), ("contains(a, 'b')", "must not call contains"),
    ("a.lowerAscii()", "methods that are known: size, contains"), ("math.greatest(a, b)", "must not call greatest"),
    ("size()", "size 1 argument"), ("min()", "min at least 1 argument"), ("pow(a)", "pow 2 argument"),
    ("has(1)", "one property"), ("has(a, b)", "one property"), ("has(properties)", "one property"),
    ("properties", "properties alone is all of them"), ("a[0]", "by their names"), ("(a + b).c", "by their names"),
    ("a > 1", r"must be a number, and is a boolean; write \(...\) \? 1 : 0"),
    ("'a'", "must be a number, and is a text"),
    ("a + 'b'", r"a side of \+ must be a number"), ("a < 'b' ? 1 : 0", "a side of < must be a number"),
    ("a < b < c ? 1 : 0", "must be a number, and is a boolean"), ("!(a + b) ? 1 : 0", "must be a boolean"),
    ("'x' ? 1 : 0", r"what stands before \? must be a boolean, and is a text"),
    ("a ? 1 : 'x'", r"fit together: one side of \? : must be a number, and is a text"),
    ("a ? 'x' : 1", r"fit together: one side of \? : must be a text, and is a number"),
    ("1 || a ? 1 : 0", r"fit together: a side of \|\| must be a boolean, and is a number"),
    ("a && 1 ? 1 : 0", "fit together: a side of && must be a boolean, and is a number"),
    ("-'a'", "fit together: what stands behind - must be a number, and is a text"),
    ("!1 ? 1 : 0", "fit together: what stands behind ! must be a boolean, and is a number"),
    ("1 in ['x'] ? 1 : 0", "fit together: what stands before in must be a text, and is a number"),
    ("a == 'x' == 1 ? 1 : 0", "must be a boolean, and is a number"), ("(a ? 'x' : 1) == 'x' ? 1 : 0", "one side of"),
    ("a in b ? 1 : 0", "list of written values"), ("a in [b] ? 1 : 0", "list of written"),
    ("a in [] ? 1 : 0", "list of"),
    ("a in ['x', 1] ? 1 : 0", "a value behind in must be a text"),
    ("[1, 2]", "a list"), ("{'a': 1}", "a map"), ("Money{units: 1}", "a message"), (".a", "begins with a dot"),
    (".a(1)", "begins with a dot"), ("a == null ? 1 : 0", r"ask has\(property\)"), ("5u", "write numbers"),
    ("a == b'x' ? 1 : 0", "write numbers"), ("1e26", r"below 10\^26"), ("1e-39", "38 decimals"),
    ("a == '\\x00' ? 1 : 0", "NUL"), ("properties['\\x00']", "NUL"),
    ("a == '\\ud800' ? 1 : 0", "no text"), ("a == '\\U00110000' ? 1 : 0", "no text"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_billing_cannot_use_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as refusal:
        parse_expression(text)
    assert refusal.value.field == "aggregation.expression"


DOCS = Path(__file__).parents[3] / "docs" / "expressions.md"
EXAMPLES = re.findall(r"^\| `(.+)` \| `(\{.*\})` \| (.+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)


assert len(EXAMPLES) >= 10


@pytest.mark.parametrize(("text", "properties", "value"), EXAMPLES)
def test_the_examples_of_the_documentation(text: str, properties: str, value: str) -> None:
    found = expression_value(text, read_json(properties))
    assert found == (None if value == "rejected" else Decimal(value))


def test_brackets_are_no_operations() -> None:
    assert expression_value("(" * 500 + "seconds" + ")" * 500, EVENT) == 61


def test_the_tree_says_how_each_property_is_read() -> None:
    seconds = Property(("usage", "seconds"), Kind.number)
    minutes = Arithmetic(Operator.divide, seconds, Literal(Decimal(60)))
    free = Comparison(Relation.equal, Property(("plan",), Kind.text), Literal("free"), Kind.text)
    assert parse_expression("plan == 'free' ? 0 : usage.seconds / 60") == Condition(free, Literal(Decimal(0)), minutes)


def test_an_expression_is_parsed_and_compiled_once() -> None:
    assert compiled("seconds / 60") is compiled("seconds / 60")


whole = st.integers(-(10**9), 10**9)


@given(whole, whole.filter(bool), st.integers(1, 10**6))
def test_only_the_result_is_rounded(left: int, right: int, times: int) -> None:
    """(a / b) x n = a x n / b to the last digit, whatever the order, and the multiplier is part of it."""
    exact = round_places(Fraction(left * times, right), 12)
    expected = exact if exact >= 0 else None
    properties = {"a": str(left), "b": right}
    for text in (f"a / b * {times}", f"a * {times} / b", f"a / (b / {times})"):
        assert expression_value(text, properties) == expected
    assert expression_value("a / b", properties, Decimal(times)) == expected


@given(st.decimals(-(10**6), 10**6, places=6), st.decimals(-(10**6), 10**6, places=6))
def test_comparisons_and_extremes_agree(a: Decimal, b: Decimal) -> None:
    properties = {"a": a, "b": decimal_text(b)}
    larger = expression_value("(a > b ? a : b) + 1000000", properties)
    assert larger == max(a, b) + 10**6 == expression_value("max(a, b) + 1000000", properties)
    assert expression_value("a == b + 0 ? 1 : 0", properties) == (1 if a == b else 0)


PERIOD = span("2025-02-01", "2025-03-01")


def minutes(kind: AggregationType = AggregationType.SUM, **changes: Any) -> Meter:
    return Meter("minutes", "minutes", "call", kind, expression="seconds / 60", **changes)


def calls(*seconds: object) -> tuple[UsageEvent, ...]:
    at = utc("2025-02-01")
    return tuple(UsageEvent(f"e{place}", "call", at, {"seconds": value}) for place, value in enumerate(seconds))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (AggregationType.SUM, "2.033333333334"),  # twice 61 / 60, each rounded
        (AggregationType.AVG, "0.677777777778"),  # / 3: the rejected one counts 0
        (AggregationType.MAX, "1.016666666667"),
        (AggregationType.LATEST, "1.016666666667"),
    ],
)
def test_aggregations_fold_the_values_of_an_expression(kind: AggregationType, expected: str) -> None:
    events = calls("bad", 61, "61")
    usage = measure(minutes(kind), events, PERIOD)
    assert (usage.quantity, usage.event_count, usage.rejected_values) == (Decimal(expected), 3, 1)
    assert rejected_events(minutes(kind), events, PERIOD) == events[:1]


def test_the_multiplier_is_applied_before_the_rounding() -> None:
    assert measure(minutes(multiplier=Decimal(60)), calls(61, 61), PERIOD).quantity == 122


@pytest.mark.parametrize(
    ("make", "field", "message"),
    [
        (
            lambda: minutes(field="seconds"),
            "aggregation.expression",
            "aggregation.expression must be absent beside aggregation.field",
        ),
        (
            lambda: minutes(AggregationType.COUNT),
            "aggregation.expression",
            "aggregation.expression is for SUM, AVG, MAX, LATEST only",
        ),
        (
            lambda: minutes(AggregationType.WEIGHTED_SUM),
            "aggregation.expression",
            "aggregation.expression is for SUM, AVG, MAX, LATEST only",
        ),
        (
            lambda: minutes(multiplier=Decimal(0)),
            "aggregation.multiplier",
            ("aggregation.multiplier must be above 0 for SUM_WITH_MULTIPLIER and expressions, and absent for others"),
        ),
        (
            lambda: Meter("m", "m", "e", AggregationType.SUM, expression="sqrt(a)"),
            "aggregation.expression",
            "aggregation.expression must not call sqrt: it has no exact result; numbers are exact decimals here",
        ),
    ],
)
def test_meters_that_are_refused(make: Any, field: str, message: str) -> None:
    with pytest.raises(Invalid) as refusal:
        make()
    assert (refusal.value.field, refusal.value.message) == (field, message)


def test_an_expression_in_buckets() -> None:
    assert minutes(bucket_size=WindowSize.DAY).bucket_size is WindowSize.DAY
