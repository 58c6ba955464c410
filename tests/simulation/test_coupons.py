"""Coupons on a price, whose line items change: what each takes off; and what the timeline calls a change of status."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.coupons import Coupon, CouponAssociation, CouponType
from billing.periods import Period
from billing.simulation.coupons import coupons_for
from billing.simulation.records import status_event
from billing.subscriptions import SubscriptionState, SubscriptionStatus
from billing.terms import BillingReason, DueInvoice
from tests.unit.billing.builders import fixed_due, seat, span, utc

FEBRUARY = span("2026-02-01", "2026-03-01")
HALVES = (span("2026-02-01", "2026-02-15"), span("2026-02-15", "2026-03-01"))
DUE = DueInvoice(
    BillingReason.SUBSCRIPTION_CYCLE,
    FEBRUARY.end,
    FEBRUARY,
    (
        replace(fixed_due(replace(seat(), id="other"), period=FEBRUARY), line_item_id="line_9"),
        fixed_due(seat(), period=HALVES[0]),
        replace(fixed_due(seat(), period=HALVES[1]), line_item_id="line_1"),
        replace(fixed_due(seat(), period=HALVES[1]), line_item_id="line_1"),
    ),
)
PERCENT = Coupon("c", "Ten", CouponType.percentage, Decimal(10))
FIXED = Coupon("c", "Five", CouponType.fixed, None, Decimal(5), "usd")


@pytest.mark.parametrize(
    ("coupon", "price", "starts", "items"),
    [
        (PERCENT, "price_seat", None, ["line_0", "line_1"]),  # each line item once
        (FIXED, "price_seat", None, ["line_0"]),  # an amount is taken off once
        (FIXED, "price_seat", "2026-02-10", ["line_1"]),  # of the items that begin while it holds
        (PERCENT, "missing", None, []),
        (PERCENT, None, None, [None]),  # of the whole invoice
    ],
)
def test_a_coupon_on_a_price_follows_its_line_items(
    coupon: Coupon, price: str | None, starts: str | None, items: list[str | None]
) -> None:
    carried = CouponAssociation("a", coupon, price, starts_at=None if starts is None else utc(starts))
    assert [one.line_item_id for one in coupons_for(DUE, [carried], [])] == items


def test_what_a_change_of_status_is_called() -> None:
    january = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    states = {status: SubscriptionState(status, january) for status in SubscriptionStatus}
    active, paused = states[SubscriptionStatus.active], states[SubscriptionStatus.paused]
    trial, cancelled = states[SubscriptionStatus.trialing], states[SubscriptionStatus.cancelled]
    told = [status_event(before, after) for before, after in (
        (None, active), (trial, active), (paused, active), (None, trial), (active, paused), (paused, cancelled),
    )]  # fmt: skip
    assert told == [f"subscription.{name}" for name in (
        "activated", "activated", "resumed", "trialing", "paused", "cancelled",
    )]  # fmt: skip
