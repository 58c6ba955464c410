"""Custom price units: a price that is written in credits, tokens or the like, and charged in a currency.

Owns the conversion, which is made once, when the price is made, and exactly. Rules: flexprice.md section 1.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.errors import Invalid
from billing.money import CONTEXT
from billing.prices import Tier


@dataclass(frozen=True, slots=True)
class PriceUnit:
    """One of the unit is `conversion_rate` major units of `base_currency`."""

    code: str
    base_currency: str
    conversion_rate: Decimal

    def __post_init__(self) -> None:
        if self.conversion_rate <= 0:
            raise Invalid(f"conversion_rate must be above 0; got {self.conversion_rate}", field="conversion_rate")


def in_currency(amount: Decimal, unit: PriceUnit) -> Decimal:
    """An amount of the unit in its currency, exactly."""
    return CONTEXT.multiply(amount, unit.conversion_rate)


def tiers_in_currency(tiers: Sequence[Tier], unit: PriceUnit) -> tuple[Tier, ...]:
    """The same for the amounts of tiers."""
    return tuple(
        Tier(tier.up_to, in_currency(tier.unit_amount, unit), in_currency(tier.flat_amount, unit)) for tier in tiers
    )
