"""Definitions of meters and tax rates: what is accepted, what is refused, and the sums of taxes."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import Invalid
from billing.meters import (
    AggregationType,
    Filter,
    Meter,
    ResetUsage,
    UsageQuantity,
    parse_aggregation,
    parse_reset_usage,
)
from billing.taxes import TaxBase, TaxRate, TaxRateType, shared_taxes

from .builders import tax

REFUSED: list[tuple[Callable[[], object], str, str]] = [
    (
        lambda: Meter("m", "n", "call", AggregationType.SUM),
        "aggregation.field",
        "aggregation.field is required for SUM",
    ),
    (
        lambda: Meter("m", "n", "call", AggregationType.COUNT, "x"),
        "aggregation.field",
        "aggregation.field must be absent for COUNT",
    ),
    (
        lambda: Meter("m", "n", " call", AggregationType.COUNT),
        "event_name",
        "event_name must be a name without spaces around it",
    ),
    (
        lambda: Meter("m", "n", "", AggregationType.COUNT),
        "event_name",
        "event_name must be a name without spaces around it",
    ),
    (lambda: Filter("", ("a",)), "filters.key", "filters.key must not be empty"),
    (lambda: Filter("model", ()), "filters.values", "filters.values must name at least one value for 'model'"),
    (
        lambda: UsageQuantity(Decimal(-1), 1),
        "quantity",
        "usage must not be negative; got quantity -1 of 1 events, 0 of them rejected",
    ),
    (
        lambda: parse_aggregation("MEDIAN"),
        "aggregation.type",
        (
            "aggregation.type must be one of COUNT, SUM, MAX, LATEST, COUNT_UNIQUE, AVG, MIN, "
            "SUM_WITH_MULTIPLIER, WEIGHTED_SUM; got 'MEDIAN'"
        ),
    ),
    (
        lambda: parse_reset_usage("ALWAYS"),
        "reset_usage",
        "reset_usage must be one of BILLING_PERIOD, NEVER; got 'ALWAYS'",
    ),
    (lambda: tax("-1"), "percentage_value", "percentage_value must be 0 or more; got -1"),
    (lambda: tax("100.5"), "percentage_value", "percentage_value must be at most 100; got 100.5"),
    (lambda: tax("-1", kind=TaxRateType.fixed), "fixed_value", "fixed_value must be 0 or more; got -1"),
    (lambda: tax("5", inclusive=True, kind=TaxRateType.fixed), "inclusive", "a fixed tax must not be inclusive"),
]


@pytest.mark.parametrize(
    ("make", "field", "message"), REFUSED, ids=[f"{i}-{field}" for i, (_, field, _) in enumerate(REFUSED)]
)
def test_bad_definitions_name_the_field(make: Callable[[], object], field: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        make()
    assert (caught.value.field, caught.value.message) == (field, message)


def test_names_on_the_wire() -> None:
    assert parse_aggregation("COUNT_UNIQUE") is AggregationType.COUNT_UNIQUE
    with pytest.raises(Invalid, match="COUNT, SUM, MAX, LATEST, COUNT_UNIQUE"):
        parse_aggregation("MEDIAN")
    assert parse_reset_usage("NEVER") is ResetUsage.NEVER
    with pytest.raises(Invalid, match="BILLING_PERIOD, NEVER; got 'ALWAYS'"):
        parse_reset_usage("ALWAYS")


@pytest.mark.parametrize(
    ("base", "rates", "expected"),
    [
        ("100", (tax("18"),), ["18.00"]),
        ("0.25", (tax("18"),), ["0.05"]),  # 0.045, half away from zero
        ("100", (tax("9"), tax("9.0")), ["9.00", "9.00"]),
        ("0.25", (tax("9"), tax("9.0")), ["0.02", "0.02"]),  # each rate is rounded by itself: 0.0225
        ("118", (tax("18", inclusive=True),), ["18.00"]),  # 118 - 118 / 1.18
        ("100", (tax("18", inclusive=True),), ["15.25"]),  # 100 - 84.745...
        ("120", (tax("12", inclusive=True), tax("8", inclusive=True)), ["12.00", "8.00"]),  # 120 / 1.2 = 100
        ("118", (tax("18", inclusive=True), tax("10")), ["18.00", "11.80"]),  # both on the same base
        ("50", (tax("3.5", kind=TaxRateType.fixed),), ["3.50"]),
        ("0", (tax("18"), tax("3.5", kind=TaxRateType.fixed)), ["0.00", "0.00"]),
    ],
)
def test_tax_amounts(base: str, rates: tuple[TaxRate, ...], expected: list[str]) -> None:
    assert [str(one.tax.amount) for one in shared_taxes([TaxBase(Decimal(base), rates)], "usd")] == expected


@given(st.decimals(0, 10**9, places=2), st.integers(0, 100))
def test_an_inclusive_tax_is_the_exclusive_tax_of_the_net(base: Decimal, percent: int) -> None:
    (inside,) = shared_taxes([TaxBase(base, (tax(str(percent), inclusive=True),))], "usd")
    net = Fraction(base) - inside.tax.exact
    assert net * percent / 100 == inside.tax.exact
