"""Prices, and rating: what a quantity costs, exactly and tier by tier.

Owns the price models FLAT_FEE, PACKAGE, TIERED (VOLUME, SLAB). Does not know periods of a subscription, proration,
rounding or tax. Rules: billing-rules.md section 2.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from msgspec import Struct

from billing.errors import Invalid
from billing.money import NOTHING, ZERO, Number, exponent, fraction_of, product
from billing.periods import BillingPeriod, Cadence

TRIAL_DAYS_MAX: Final = 3650


class PriceType(StrEnum):
    """USAGE is charged on a meter's quantity, FIXED on the quantity of the subscription's line."""

    USAGE = "USAGE"
    FIXED = "FIXED"


class BillingModel(StrEnum):
    """How a quantity becomes an amount."""

    FLAT_FEE = "FLAT_FEE"
    PACKAGE = "PACKAGE"
    TIERED = "TIERED"


class TierMode(StrEnum):
    """VOLUME: all units at the tier reached. SLAB (graduated): each unit in its own tier."""

    VOLUME = "VOLUME"
    SLAB = "SLAB"


class InvoiceCadence(StrEnum):
    """ADVANCE is billed where its period opens, ARREAR where it closes."""

    ARREAR = "ARREAR"
    ADVANCE = "ADVANCE"


class RoundMode(StrEnum):
    """Whether a started package counts (up) or not (down)."""

    up = "up"
    down = "down"


@dataclass(frozen=True, slots=True)
class Tier:
    """Units up to and including `up_to` (None: without end) at `unit_amount`, plus `flat_amount` once entered."""

    up_to: Decimal | None
    unit_amount: Decimal
    flat_amount: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class TransformQuantity:
    """Packages of `divide_by` units."""

    divide_by: int
    round: RoundMode = RoundMode.up

    def __post_init__(self) -> None:
        if self.divide_by < 1:
            raise Invalid(
                f"transform_quantity.divide_by must be at least 1; got {self.divide_by}",
                field="transform_quantity.divide_by",
            )


@dataclass(frozen=True, slots=True)
class Price:
    """How one thing is charged. Amounts are major units of `currency`, up to 15 digits after the point.

    `amount` belongs to FLAT_FEE and PACKAGE, `tiers` and `tier_mode` to TIERED, `transform_quantity` to PACKAGE,
    `meter_id` to USAGE, `min_quantity` (the least quantity that is charged) to FIXED. `maximum_amount` caps what a line
    costs for one of its whole periods. `trial_period_days` (recurring FIXED) charge nothing. Raises Invalid naming the
    field.
    """

    id: str
    display_name: str
    type: PriceType
    billing_model: BillingModel
    currency: str
    cadence: Cadence
    invoice_cadence: InvoiceCadence
    amount: Decimal | None = None
    tier_mode: TierMode | None = None
    tiers: tuple[Tier, ...] = ()
    transform_quantity: TransformQuantity | None = None
    meter_id: str | None = None
    min_quantity: Decimal | None = None
    maximum_amount: Decimal | None = None
    trial_period_days: int = 0

    def __post_init__(self) -> None:
        exponent(self.currency)
        _check_type(self)
        _check_model(self)


class RatingStep(Struct, frozen=True):
    """One part of a rating: `quantity` x `unit_amount` + `flat_amount` = `amount`.

    `tier` counts from 0. For packages `quantity` is the number of packages.
    """

    quantity: Fraction
    unit_amount: Decimal
    flat_amount: Decimal
    amount: Fraction
    tier: int | None = None


class Rating(Struct, frozen=True):
    """The exact amount of a quantity, and the steps that add up to it. Quantity 0 has no steps."""

    amount: Fraction
    steps: tuple[RatingStep, ...]


def rate(price: Price, quantity: Number) -> Rating:
    """What `quantity` units cost, exactly. Quantity 0 costs 0 in every model. Raises Invalid for negative ones."""
    units = quantity if isinstance(quantity, Fraction) else Fraction(quantity)
    if units.numerator < 0:
        raise Invalid(f"quantity must not be negative; got {quantity}", field="quantity")
    if not units:
        return Rating(NOTHING, ())
    if price.billing_model is BillingModel.TIERED:
        steps = _slab_steps(price, units) if price.tier_mode is TierMode.SLAB else _volume_steps(price, units)
    else:
        steps = (_step(_packages(price, units), price.amount or ZERO, ZERO),)
    amount = steps[0].amount if len(steps) == 1 else sum((step.amount for step in steps), NOTHING)
    return Rating(amount, steps)


def _packages(price: Price, units: Fraction) -> Fraction:
    """The number of units charged: packages for PACKAGE, the units themselves for FLAT_FEE."""
    packaging = price.transform_quantity
    if packaging is None:
        return units
    whole, rest = divmod(units, packaging.divide_by)
    started = 1 if rest and packaging.round is RoundMode.up else 0
    return Fraction(whole + started)


def _volume_steps(price: Price, units: Fraction) -> tuple[RatingStep, ...]:
    ends = (tier.up_to is None or units <= fraction_of(tier.up_to) for tier in price.tiers)
    index = next(index for index, within in enumerate(ends) if within)  # the last tier has no end
    tier = price.tiers[index]
    return (_step(units, tier.unit_amount, tier.flat_amount, index),)


def _slab_steps(price: Price, units: Fraction) -> tuple[RatingStep, ...]:
    steps: list[RatingStep] = []
    floor = NOTHING
    for index, tier in enumerate(price.tiers):
        if units <= floor:
            break
        ceiling = units if tier.up_to is None else min(units, fraction_of(tier.up_to))
        steps.append(_step(ceiling - floor, tier.unit_amount, tier.flat_amount, index))
        floor = ceiling
    return tuple(steps)


def _step(quantity: Fraction, unit_amount: Decimal, flat_amount: Decimal, tier: int | None = None) -> RatingStep:
    amount = product(quantity, unit_amount)
    if flat_amount:
        amount += fraction_of(flat_amount)
    return RatingStep(quantity, unit_amount, flat_amount, amount, tier)


def _check_type(price: Price) -> None:
    usage = price.type is PriceType.USAGE
    if usage and price.invoice_cadence is not InvoiceCadence.ARREAR:
        raise Invalid("invoice_cadence must be ARREAR for USAGE prices", field="invoice_cadence")
    if usage and not price.meter_id:
        raise Invalid("meter_id is required for USAGE prices", field="meter_id")
    if not usage and price.meter_id:
        raise Invalid("meter_id must be absent for FIXED prices", field="meter_id")
    if price.cadence.period is BillingPeriod.ONETIME and (usage or price.invoice_cadence is InvoiceCadence.ARREAR):
        raise Invalid("a ONETIME price must be FIXED and ADVANCE", field="billing_period")
    if price.min_quantity is not None and (usage or price.min_quantity < 0):
        raise Invalid("min_quantity must be 0 or more, and only FIXED prices have it", field="min_quantity")
    recurring = not usage and price.cadence.period is not BillingPeriod.ONETIME
    if not 0 <= price.trial_period_days <= (TRIAL_DAYS_MAX if recurring else 0):
        raise Invalid(
            f"trial_period_days must be from 0 to {TRIAL_DAYS_MAX}, and only recurring FIXED prices have a trial",
            field="trial_period_days",
        )
    if price.maximum_amount is not None and price.maximum_amount < 0:
        raise Invalid(f"maximum_amount must be 0 or more; got {price.maximum_amount}", field="maximum_amount")


def _check_model(price: Price) -> None:
    tiered = price.billing_model is BillingModel.TIERED
    packaged = price.billing_model is BillingModel.PACKAGE
    if tiered and price.amount:
        raise Invalid("amount must be absent for TIERED prices; the tiers carry the amounts", field="amount")
    if not tiered and (price.amount is None or price.amount < 0):
        given, got = ("given, ", "") if price.amount is None else ("", f"; got {price.amount}")
        raise Invalid(f"amount must be {given}0 or more for {price.billing_model} prices{got}", field="amount")
    if packaged != (price.transform_quantity is not None):
        raise Invalid(
            "transform_quantity (divide_by, round) is required for PACKAGE prices, and only for them",
            field="transform_quantity",
        )
    if tiered != (price.tier_mode is not None):
        raise Invalid("tier_mode (VOLUME or SLAB) is required for TIERED prices, and only for them", field="tier_mode")
    if tiered != bool(price.tiers):
        raise Invalid("tiers are required for TIERED prices, and only for them", field="tiers")
    _check_tiers(price.tiers)


def _check_tiers(tiers: tuple[Tier, ...]) -> None:
    floor = ZERO
    for index, tier in enumerate(tiers):
        path, last = f"tiers[{index}]", index == len(tiers) - 1
        if tier.unit_amount < 0:
            raise Invalid(f"{path}.unit_amount must be 0 or more; got {tier.unit_amount}", f"{path}.unit_amount")
        if tier.flat_amount < 0:
            raise Invalid(f"{path}.flat_amount must be 0 or more; got {tier.flat_amount}", f"{path}.flat_amount")
        if last and tier.up_to is not None:
            raise Invalid(f"{path}.up_to must be null: the last tier has no end", field=f"{path}.up_to")
        if not last and (tier.up_to is None or tier.up_to <= floor):
            raise Invalid(f"{path}.up_to must be greater than {floor}; only the last is null", f"{path}.up_to")
        floor = tier.up_to or floor
