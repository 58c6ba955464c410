"""How an amount was split over the lines of an invoice: each exact share cut down, what is missing to the largest rest.

Owns the words only; the split itself is billing.money's, and each part is the one that was stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from billing.explain.wording import exact
from billing.money import decimal_text, exponent, minus, round_amount


@dataclass(frozen=True, slots=True)
class Share:
    """One part of a split: `value` exactly, cut `down` to the minor unit; `rank` of its rest, 1 for the largest.

    `part` is what it came to: a minor unit more than `down` for the largest rests.
    """

    value: Fraction
    down: Decimal
    part: Decimal
    rank: int

    @property
    def words(self) -> str:
        """From the exact share to the part."""
        text = f"{exact(self.value)}"
        if Fraction(self.part) == self.value:
            return text
        more = minus(self.part, self.down)
        if not more:
            return f"{text}, cut down to {decimal_text(self.part)}"
        cut = f"cut down to {decimal_text(self.down)}, and {decimal_text(more)} more"
        return f"{text}, {cut} for the largest rests (this is number {self.rank})"


def shares_of(values: Sequence[Fraction], parts: Sequence[Decimal], currency: str) -> tuple[Share, ...]:
    """Each exact share beside what it came to, by largest remainder with ties to the earlier line."""
    scale = 10 ** exponent(currency)
    downs = [round_amount(Fraction(value * scale // 1, scale), currency) for value in values]
    order = sorted(range(len(values)), key=lambda index: (Fraction(downs[index]) - values[index], index))
    ranks = {index: rank for rank, index in enumerate(order, start=1)}
    return tuple(Share(values[index], downs[index], parts[index], ranks[index]) for index in range(len(values)))
