"""How many buckets a period may have: each is priced by itself."""

import pytest

from billing.errors import Invalid
from billing.periods import BillingPeriod, Cadence
from billing.windows import WindowSize, check_window_count


@pytest.mark.parametrize(
    ("size", "period", "fits"),
    [
        (WindowSize.MINUTE, BillingPeriod.MONTHLY, True),
        (WindowSize.MINUTE, BillingPeriod.QUARTERLY, False),
        (WindowSize.FIFTEEN_MINUTES, BillingPeriod.ANNUAL, True),
        (WindowSize.HOUR, BillingPeriod.ANNUAL, True),
        (WindowSize.MINUTE, BillingPeriod.WEEKLY, True),
    ],
)
def test_a_period_has_a_bearable_number_of_buckets(size: WindowSize, period: BillingPeriod, fits: bool) -> None:
    if fits:
        check_window_count(size, Cadence(period))
        return
    with pytest.raises(Invalid, match="must be shorter") as refused:
        check_window_count(size, Cadence(period))
    assert refused.value.field == "billing_period"
