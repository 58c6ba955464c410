"""What an explanation is made of: parts that add up to the figures of a line, in sections, with their words.

Owns the shapes and the law that they keep: the parts of a figure add up to it, to the last digit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from billing.explain.wording import exact
from billing.invoice_lines import InvoiceLine, RatedPart


class Figure(StrEnum):
    """What parts add up to: the line's amount, and what comes on top of it or goes off it until it is paid.

    Discounts and credits are negative, tax is the exclusive one: all parts of all lines add up to the invoice's total.
    """

    amount = "amount"
    discount = "discount"
    tax = "tax"
    credits = "credits"


@dataclass(frozen=True, slots=True)
class Part:
    """One addend: what it is, how it was reckoned, its exact amount in major units.

    `words` say it in prose; None: in the plain way; (): they are said elsewhere.
    """

    label: str
    how: str
    amount: Fraction
    words: tuple[str, ...] | None = None

    @property
    def text(self) -> tuple[str, ...]:
        """The part in prose."""
        return (f"{self.label}: {self.how} = {exact(self.amount)}",) if self.words is None else self.words


@dataclass(frozen=True, slots=True)
class Window:
    """Usage in one window or bucket: its `name` by local dates, and its `words` in prose."""

    part: RatedPart
    name: str
    words: str


@dataclass(frozen=True, slots=True)
class Section:
    """One subject: `notes`, the usage of `windows`, the parts of `figure`, and what follows in prose."""

    figure: Figure
    notes: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    closing: tuple[str, ...] = ()
    windows: tuple[Window, ...] = ()

    @property
    def text(self) -> list[str]:
        """The section in prose."""
        windows = [window.words for window in self.windows]
        return [*self.notes, *windows, *(words for part in self.parts for words in part.text), *self.closing]


@dataclass(frozen=True, slots=True)
class LineExplanation:
    """A line, its title with the amount, and the sections in the order of the sum."""

    line: InvoiceLine
    title: str
    sections: tuple[Section, ...]

    @property
    def text(self) -> list[str]:
        """The line in prose: its title first, then every step from quantity to what is left to pay."""
        return [self.title, *(words for section in self.sections for words in section.text)]

    def parts_of(self, figure: Figure) -> tuple[Part, ...]:
        """What adds up to a figure of the line."""
        return tuple(part for section in self.sections if section.figure is figure for part in section.parts)

    def sum_of(self, figure: Figure) -> Fraction:
        """The sum of the parts of a figure."""
        return sum_of(self.parts_of(figure))


def sum_of(parts: Iterable[Part]) -> Fraction:
    """What parts add up to."""
    return sum((part.amount for part in parts), Fraction(0))
