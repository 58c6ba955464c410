"""How many buckets a period may have: each is priced by itself."""

import pytest

from billing.errors import Invalid
from billing.periods import BillingPeriod, Cadence
from billing.windows import WindowSize, check_window_count

# The longest period that a size of bucket can have, a month counted as 31 days and a year as 372, and 50,000 buckets:
# so many minutes, so many days.
LONGEST = [
    (WindowSize.MINUTE, BillingPeriod.DAILY, 34),  # 34.7 days
    (WindowSize.MINUTE, BillingPeriod.WEEKLY, 4),
    (WindowSize.MINUTE, BillingPeriod.MONTHLY, 1),
    (WindowSize.FIFTEEN_MINUTES, BillingPeriod.DAILY, 520),  # 520.8
    (WindowSize.FIFTEEN_MINUTES, BillingPeriod.ANNUAL, 1),
    (WindowSize.THIRTY_MINUTES, BillingPeriod.MONTHLY, 33),  # 1,041.7; 33 months are 1,023
    (WindowSize.HOUR, BillingPeriod.MONTHLY, 67),  # 2,083.3; 2,077
    (WindowSize.THREE_HOURS, BillingPeriod.WEEKLY, 892),  # 6,250; 6,244
    (WindowSize.SIX_HOURS, BillingPeriod.MONTHLY, 403),  # 12,500; 12,493
    (WindowSize.TWELVE_HOURS, BillingPeriod.MONTHLY, 806),  # 25,000; 24,986
    (WindowSize.DAY, BillingPeriod.QUARTERLY, 537),  # 50,000; 49,941
    (WindowSize.WEEK, BillingPeriod.ANNUAL, 940),  # 350,000; 349,680
]


@pytest.mark.parametrize(("size", "period", "count"), LONGEST)
def test_a_period_has_a_bearable_number_of_buckets(size: WindowSize, period: BillingPeriod, count: int) -> None:
    check_window_count(size, Cadence(period, count))
    with pytest.raises(
        Invalid, match=f"must be shorter for a meter with buckets of {size}.*got {count + 1} x"
    ) as refused:
        check_window_count(size, Cadence(period, count + 1))
    assert refused.value.field == "billing_period"


def test_months_are_never_too_many() -> None:
    check_window_count(WindowSize.MONTH, Cadence(BillingPeriod.ANNUAL, 1000))
