"""Tax rates and what they take from a base. Does not decide which rates apply.

Rules: billing-rules.md section 6. Every rate works on the same base and is rounded once per invoice. Inclusive rates
stay inside the base: base - base / (1 + sum of the inclusive rates), each rate its part of that.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from billing.errors import Invalid
from billing.money import round_amount


class TaxRateType(StrEnum):
    """percentage: `value` per cent of the base. fixed: `value` major units per invoice with a base above 0."""

    percentage = "percentage"
    fixed = "fixed"


@dataclass(frozen=True, slots=True)
class TaxRate:
    """One rate. `value` is per cent (18 for 18 %) or major units of the invoice's currency."""

    id: str
    code: str
    name: str
    type: TaxRateType
    value: Decimal
    inclusive: bool = False

    def __post_init__(self) -> None:
        if self.value < 0:
            raise Invalid(f"{self.type} value must be 0 or more; got {self.value}", field=f"{self.type}_value")
        if self.type is TaxRateType.percentage and self.value > 100:
            raise Invalid(f"percentage_value must be at most 100; got {self.value}", field="percentage_value")
        if self.inclusive and self.type is TaxRateType.fixed:
            raise Invalid("a fixed tax must not be inclusive", field="inclusive")


@dataclass(frozen=True, slots=True)
class TaxAmount:
    """What `rate` takes from `base`: `exact`, and `amount` at the currency's precision."""

    rate: TaxRate
    base: Decimal
    exact: Fraction
    amount: Decimal


def tax_amounts(base: Decimal, rates: tuple[TaxRate, ...], currency: str) -> tuple[TaxAmount, ...]:
    """The tax of each rate on `base` (major units, not negative), in the order of the rates."""
    taxes = []
    for rate in rates:
        exact = exact_tax(Fraction(base), rate, rates) if base > 0 else Fraction(0)
        taxes.append(TaxAmount(rate, base, exact, round_amount(exact, currency)))
    return tuple(taxes)


def exact_tax(base: Fraction, rate: TaxRate, rates: tuple[TaxRate, ...]) -> Fraction:
    """The unrounded tax of `rate`, one of `rates`, on a base above 0."""
    if rate.type is TaxRateType.fixed:
        return Fraction(rate.value)
    share = Fraction(rate.value) / 100
    return base / (1 + inclusive_share(rates)) * share if rate.inclusive else base * share


def inclusive_share(rates: tuple[TaxRate, ...]) -> Fraction:
    """Sum of the inclusive percentages, as a share of the net amount: 18 % is 18/100."""
    return sum((Fraction(rate.value) / 100 for rate in rates if rate.inclusive), Fraction(0))
