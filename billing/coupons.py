"""Coupons: what they are, whether they may be redeemed, and what they take off the lines of one invoice.

Owns discounts and their order. Does not know which lines may be discounted (billing.invoice_steps) and does not store
counts. Rules: billing-rules.md section 6: line coupons first, each on the line's original amount and together at most
that amount; then invoice coupons in order on the running total, shared out to the lines by largest remainder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from billing.errors import Conflict, Invalid
from billing.money import ZERO, allocate, decimal_text, is_rounded, minus, round_amount, total
from billing.periods import check_utc


class CouponType(StrEnum):
    """percentage: `percentage_off` per cent. fixed: `amount_off` major units of the coupon's currency."""

    fixed = "fixed"
    percentage = "percentage"


class CouponCadence(StrEnum):
    """On how many invoices a coupon takes something off: one, `duration_in_periods`, or all."""

    once = "once"
    repeated = "repeated"
    forever = "forever"


@dataclass(frozen=True, slots=True)
class Coupon:
    """A discount that can be given. `redeem_after` and `redeem_before` bound, half-open, when it may be given.

    `max_redemptions` bounds the subscriptions that carry it. Raises Invalid naming the field.
    """

    id: str
    name: str
    type: CouponType
    percentage_off: Decimal | None = None
    amount_off: Decimal | None = None
    currency: str | None = None
    cadence: CouponCadence = CouponCadence.once
    duration_in_periods: int | None = None
    redeem_after: datetime | None = None
    redeem_before: datetime | None = None
    max_redemptions: int | None = None

    def __post_init__(self) -> None:
        _check_value(self)
        repeated, periods = self.cadence is CouponCadence.repeated, self.duration_in_periods
        if repeated != (periods is not None) or (periods is not None and periods < 1):
            raise Invalid(
                "duration_in_periods must be 1 or more for repeated coupons, and absent for others",
                field="duration_in_periods",
            )
        if self.max_redemptions is not None and self.max_redemptions < 1:
            raise Invalid(f"max_redemptions must be 1 or more; got {self.max_redemptions}", field="max_redemptions")
        for instant, field in ((self.redeem_after, "redeem_after"), (self.redeem_before, "redeem_before")):
            if instant is not None:
                check_utc(instant, field)
        if self.redeem_after and self.redeem_before and self.redeem_after >= self.redeem_before:
            raise Invalid("redeem_before must be after redeem_after", field="redeem_before")

    @property
    def invoices_max(self) -> int | None:
        """On how many invoices of one subscription it takes something off; None: on all."""
        return 1 if self.cadence is CouponCadence.once else self.duration_in_periods


@dataclass(frozen=True, slots=True)
class CouponAssociation:
    """A coupon that a subscription carries: on one of its line items, or on the whole invoice (None).

    `invoices_discounted` counts the earlier invoices, voided ones left out, on which it took something off. It is for
    lines whose period begins in [starts_at, ends_at); None: at any time.
    """

    id: str
    coupon: Coupon
    line_item_id: str | None = None
    invoices_discounted: int = 0
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    @property
    def used_up(self) -> bool:
        """Whether it takes nothing off any more."""
        most = self.coupon.invoices_max
        return most is not None and self.invoices_discounted >= most

    def covers(self, begins: datetime) -> bool:
        """Whether it is for a line whose period begins at `begins`."""
        after = self.starts_at is None or self.starts_at <= begins
        return after and (self.ends_at is None or begins < self.ends_at)


@dataclass(frozen=True, slots=True)
class DiscountBase:
    """The amount (major units, 0 or more) of one line that coupons may lower; its period begins at `begins`."""

    line_item_id: str | None
    amount: Decimal
    begins: datetime


@dataclass(frozen=True, slots=True)
class Discount:
    """What one coupon takes off an invoice: `amount`, of `base`. `parts` are the lines' parts of it, one a line."""

    association_id: str
    coupon: Coupon
    base: Decimal
    amount: Decimal
    parts: tuple[Decimal, ...]


def check_redeemable(coupon: Coupon, currency: str, at: datetime, redemptions: int) -> None:
    """Whether a subscription in `currency` may take the coupon at `at`; `redemptions` others carry it already.

    Raises Invalid for the wrong currency, Conflict outside the window or when all redemptions are taken.
    """
    if coupon.currency is not None and coupon.currency != currency:
        raise Invalid(f"coupon {coupon.id} is in {coupon.currency}, the subscription in {currency}", field="currency")
    if coupon.redeem_after is not None and at < coupon.redeem_after:
        raise Conflict(f"coupon {coupon.id} can be redeemed from {coupon.redeem_after.isoformat()} on", "not_yet")
    if coupon.redeem_before is not None and at >= coupon.redeem_before:
        raise Conflict(f"coupon {coupon.id} could be redeemed before {coupon.redeem_before.isoformat()}", "expired")
    if coupon.max_redemptions is not None and redemptions >= coupon.max_redemptions:
        raise Conflict(f"all {coupon.max_redemptions} redemptions of coupon {coupon.id} are taken", "exhausted")


def discounts(
    lines: Sequence[DiscountBase], associations: Sequence[CouponAssociation], currency: str
) -> tuple[Discount, ...]:
    """What each association takes off, line coupons before invoice coupons; those that take nothing off are left out.

    A fixed line coupon is worth its amount once an invoice, whatever the number of lines its item has. Raises Invalid
    for a coupon of another currency.
    """
    left = [line.amount for line in lines]
    found = []
    for association in sorted(associations, key=lambda one: one.line_item_id is None):
        coupon = association.coupon
        if coupon.currency is not None and coupon.currency != currency:
            raise Invalid(f"coupon {coupon.id} is in {coupon.currency}, the invoice in {currency}", field="currency")
        if association.used_up:
            continue
        base, parts = (
            _off_item(lines, left, association, currency)
            if association.line_item_id
            else _off_invoice(_covered(lines, left, association), coupon, currency)
        )
        amount = total(parts)
        if amount:
            left = [minus(rest, part) for rest, part in zip(left, parts, strict=True)]
            found.append(Discount(association.id, coupon, base, amount, parts))
    return tuple(found)


def _off_item(
    lines: Sequence[DiscountBase], left: Sequence[Decimal], association: CouponAssociation, currency: str
) -> tuple[Decimal, tuple[Decimal, ...]]:
    """Of the lines of one item: their original amounts, and what the coupon takes off each."""
    coupon = association.coupon
    own = [line.line_item_id == association.line_item_id and association.covers(line.begins) for line in lines]
    budget = coupon.amount_off
    parts = []
    for line, rest, is_own in zip(lines, left, own, strict=True):
        wanted = _wanted(coupon, line.amount, currency) if budget is None else budget
        part = min(wanted, rest) if is_own else ZERO
        budget = None if budget is None else minus(budget, part)
        parts.append(part)
    return total(line.amount for line, is_own in zip(lines, own, strict=True) if is_own), tuple(parts)


def _covered(
    lines: Sequence[DiscountBase], left: Sequence[Decimal], association: CouponAssociation
) -> Sequence[Decimal]:
    """What is left of the lines that the association is for."""
    return [rest if association.covers(line.begins) else ZERO for line, rest in zip(lines, left, strict=True)]


def _off_invoice(left: Sequence[Decimal], coupon: Coupon, currency: str) -> tuple[Decimal, tuple[Decimal, ...]]:
    """Of the running total: it, and what the coupon takes off each line."""
    base = total(left)
    amount = min(_wanted(coupon, base, currency), base)
    return base, allocate(amount, left, currency)


def _wanted(coupon: Coupon, base: Decimal, currency: str) -> Decimal:
    """The discount by the coupon's terms, rounded once."""
    if coupon.percentage_off is None:
        return coupon.amount_off or ZERO
    return round_amount(Fraction(base) * Fraction(coupon.percentage_off) / 100, currency)


def _check_value(coupon: Coupon) -> None:
    percent, amount = coupon.percentage_off, coupon.amount_off
    if coupon.type is CouponType.percentage:
        if percent is None or not 0 < percent <= 100:
            shown = "nothing" if percent is None else decimal_text(percent)
            raise Invalid(f"percentage_off must be above 0 and at most 100; got {shown}", field="percentage_off")
        if amount is not None or coupon.currency is not None:
            raise Invalid("amount_off and currency must be absent for percentage coupons", field="amount_off")
        return
    if percent is not None:
        raise Invalid("percentage_off must be absent for fixed coupons", field="percentage_off")
    if coupon.currency is None:
        raise Invalid("currency is required for fixed coupons", field="currency")
    if amount is None or amount <= 0 or not is_rounded(amount, coupon.currency):
        shown = "nothing" if amount is None else decimal_text(amount)
        raise Invalid(
            f"amount_off must be above 0, with no more digits than {coupon.currency} has; got {shown}",
            field="amount_off",
        )
