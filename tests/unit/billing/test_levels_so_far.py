"""Meters that belong to a period as a whole: which they are, and what a level is worth before its period is over."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from billing.errors import Invalid
from billing.meters import AggregationType, Meter, ResetUsage, UsageQuantity, check_offered, share_so_far
from billing.periods import Period

APRIL = Period(datetime(2025, 4, 1, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC))
TEN_DAYS = Period(APRIL.start, datetime(2025, 4, 11, tzinfo=UTC))


def test_a_level_and_what_never_resets_cannot_be_told_day_by_day() -> None:
    calls = Meter("m", "calls", "call", AggregationType.SUM, "n")
    seats = Meter("m", "seats", "seat", AggregationType.WEIGHTED_SUM, "n")
    stored = Meter("m", "stored", "file", AggregationType.SUM, "n", reset_usage=ResetUsage.NEVER)
    assert [meter.is_cumulative for meter in (calls, seats, stored)] == [False, True, True]


def test_a_level_counts_for_the_time_that_has_passed() -> None:
    # 10 seats for 10 of 30 days are worth 10/3 of the whole month, exactly
    so_far = share_so_far(UsageQuantity(Decimal(10), 1), TEN_DAYS, APRIL)
    assert (so_far.value, so_far.quantity) == (Fraction(10, 3), Decimal("3.333333333333"))
    # 9 seats are worth 3, which needs no fraction beside it
    assert share_so_far(UsageQuantity(Decimal(9), 1), TEN_DAYS, APRIL).exact is None
    assert share_so_far(UsageQuantity(Decimal(10), 1), APRIL, APRIL).quantity == 10


def test_an_expression_is_not_read_from_the_store() -> None:
    meter = Meter("m", "minutes", "call", AggregationType.SUM, expression="seconds / 60")
    with pytest.raises(Invalid, match="expression must be absent"):
        check_offered(meter)
