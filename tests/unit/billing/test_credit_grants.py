"""Credit grants at their bounds, beside those of test_wallets: what a lot takes over, a start inside a span."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.credit_grants import CreditGrant, DurationUnit, GrantCadence, GrantExpiration, lots_granted
from billing.errors import Invalid
from billing.wallets import CreditLot

from .builders import MONTHLY, seat, terms, utc

GRANT = CreditGrant("grant", Decimal(50), utc("2025-01-31"))
TERMS = terms(seat())


def test_a_lot_has_the_priority_of_its_grant() -> None:
    (lot,) = lots_granted(replace(GRANT, priority=3), TERMS, None, utc("2025-02-01"))
    assert lot == CreditLot("grant", Decimal(50), Decimal(50), utc("2025-01-31"), None, 3)


def test_only_a_prorated_grant_gives_the_share_of_a_span_that_is_under_way() -> None:
    """From 31 January on, of the month that began on the 15th: 15 of its 31 days are left."""
    monthly = replace(GRANT, recurs=GrantCadence.RECURRING, cadence=MONTHLY, anchor=utc("2025-01-15"))
    for prorated, credits in ((False, "50"), (True, "24.19354839")):
        first, second = lots_granted(replace(monthly, prorated=prorated), TERMS, None, utc("2025-02-20"))
        assert (first.credits, first.granted_at) == (Decimal(credits), utc("2025-01-31"))
        assert (second.credits, second.granted_at) == (Decimal(50), utc("2025-02-15"))


def test_credits_may_last_for_a_day() -> None:
    day = replace(
        GRANT,
        expiration=GrantExpiration.DURATION,
        expiration_duration=1,
        expiration_duration_unit=DurationUnit.DAY,
    )
    (lot,) = lots_granted(day, TERMS, None, utc("2025-02-01"))
    assert lot.expires_at == utc("2025-02-01")


def test_a_grant_starts_at_an_instant_that_there_is() -> None:
    with pytest.raises(Invalid) as refused:
        replace(GRANT, start=datetime(1901, 1, 1, tzinfo=UTC), recurs=GrantCadence.ONETIME)
    assert (refused.value.field, refused.value.message) == (
        "start_date", "start_date must lie between the years 1970 and 9990; got 1901",
    )  # fmt: skip
