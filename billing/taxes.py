"""Tax rates, which level of them counts, and what they take from the lines that have them.

Rules: billing-rules.md section 6. Every rate works on what is taxable of its lines and is rounded once per invoice.
Inclusive rates stay inside the base: base - base / (1 + sum of the inclusive rates), each rate its part of that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import TypeVar

from msgspec import Struct

from billing.errors import Invalid
from billing.money import NOTHING, apportion, exact_total, fraction_of, product, round_amount, total

Rate = TypeVar("Rate")


def narrowest(levels: Iterable[Sequence[Rate]]) -> Sequence[Rate]:
    """The rates of the first of `levels`, the narrowest first, that has any: wider ones do not count beside them."""
    return next((rates for rates in levels if rates), ())


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
            raise Invalid(f"{self.type}_value must be 0 or more; got {self.value}", field=f"{self.type}_value")
        if self.type is TaxRateType.percentage and self.value > 100:
            raise Invalid(f"percentage_value must be at most 100; got {self.value}", field="percentage_value")
        if self.inclusive and self.type is TaxRateType.fixed:
            raise Invalid("a fixed tax must not be inclusive", field="inclusive")


@dataclass(frozen=True, slots=True)
class LineTaxRates:
    """The rates of one line item, in place of those of its invoice."""

    line_item_id: str
    rates: tuple[TaxRate, ...]


class TaxBase(Struct, frozen=True):
    """What one line adds to the bases of its `rates`, in major units: less than nothing for a credit."""

    taxable: Decimal
    rates: tuple[TaxRate, ...]


class TaxAmount(Struct, frozen=True):
    """What `rate` takes from `base`: `exact`, and `amount` at the currency's precision."""

    rate: TaxRate
    base: Decimal
    exact: Fraction
    amount: Decimal


class SharedTax(Struct, frozen=True):
    """A tax, and its parts: one for each line, 0 for a line without its rate."""

    tax: TaxAmount
    parts: tuple[Decimal, ...]


def shared_taxes(bases: Sequence[TaxBase], currency: str) -> list[SharedTax]:
    """The tax of each rate on all its lines together, in order of first mention. No rate's lines are below 0 in sum."""
    taxes = []
    for rate in _mentioned(bases):
        base = total(one.taxable for one in bases if rate in one.rates)
        shares = tax_shares(rate, base, bases)
        exact = exact_total(shares)
        amount = round_amount(exact, currency)
        taxes.append(SharedTax(TaxAmount(rate, base, exact, amount), apportion(amount, shares, currency)))
    return taxes


def tax_shares(rate: TaxRate, base: Decimal, bases: Sequence[TaxBase]) -> list[Fraction]:
    """The unrounded tax of `rate` on each line; a fixed tax is shared in proportion to their parts of `base`."""
    if rate.type is TaxRateType.fixed:
        share = fraction_of(rate.value) / Fraction(base) if base > 0 else NOTHING
    else:
        share = fraction_of(rate.value) / 100
    return [product(one.taxable, _within(share, rate, one)) if rate in one.rates else NOTHING for one in bases]


def inclusive_share(rates: tuple[TaxRate, ...]) -> Fraction:
    """Sum of the inclusive percentages, as a share of the net amount: 18 % is 18/100."""
    return sum((fraction_of(rate.value) / 100 for rate in rates if rate.inclusive), NOTHING)


def _mentioned(bases: Sequence[TaxBase]) -> list[TaxRate]:
    found: list[TaxRate] = []
    for one in bases:
        found += [rate for rate in one.rates if rate not in found]
    return found


def _within(share: Fraction, rate: TaxRate, one: TaxBase) -> Fraction:
    """The share of what a line is worth with its inclusive taxes inside."""
    return share / (1 + inclusive_share(one.rates)) if rate.inclusive else share
