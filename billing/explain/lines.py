"""One line explained: which sections each kind of line has, in the order of the sum."""

from collections.abc import Callable, Mapping
from typing import Final

from billing.errors import InvariantBroken
from billing.explain.adjustments import adjustment_sections
from billing.explain.billed import billed_section
from billing.explain.commitments import commitment_section, true_up_section
from billing.explain.corrections import correction_sections
from billing.explain.credits import credits_section
from billing.explain.discounts import discount_section
from billing.explain.parts import Figure, LineExplanation, Section
from billing.explain.rating import cap_section, rating_section, rounding_section
from billing.explain.shares import credit_section, share_section
from billing.explain.taxes import tax_section
from billing.explain.usage import usage_section
from billing.explain.wording import money, span
from billing.invoice_lines import InvoiceLine
from billing.terms import LineKind

NO_PROMISES: Final = Section(Figure.amount)


def explain_line(line: InvoiceLine, zone: str = "UTC") -> list[str]:
    """One line in prose, by itself: its amount first, then every step from quantity to rounding.

    What the whole invoice decides (shares of discounts and taxes, lots) is told by billing.explain.invoice.
    """
    return line_explanation(line, zone, (discount_section(line), tax_section(line), credits_section(line))).text


def line_explanation(
    line: InvoiceLine, zone: str, after: tuple[Section, ...], promises: Section = NO_PROMISES
) -> LineExplanation:
    """One line: the sections of its amount, then those `after` it. Dates are shown in `zone`.

    `promises` are the windows of its windowed commitment; they stand before what the commitment makes of them.
    """
    title = f"{line.display_name}, {span(line.period, zone)}: {money(line.amount, line.currency)}"
    own = SECTIONS.get(line.kind, _charge)(line, zone)
    return LineExplanation(line, title, (*own[:-2], promises, *own[-2:], *after))


def _charge(line: InvoiceLine, zone: str) -> tuple[Section, ...]:
    derivation = line.derivation
    return (
        usage_section(line, zone),
        rating_section(derivation, zone),
        cap_section(derivation),
        share_section(derivation, line.period, zone),
        commitment_section(line),
        rounding_section(line),
        billed_section(line),
    )


def _bought(line: InvoiceLine, zone: str) -> tuple[Section, ...]:
    told = Section(Figure.amount, ("bought for the wallet, which has them once this invoice is paid",))
    return (told, *_charge(line, zone))


def _credit(line: InvoiceLine, zone: str) -> tuple[Section, ...]:
    billed = line.derivation.credit_of
    if billed is None:
        raise InvariantBroken(f"line {line.line_item_id} does not say what it credits")
    return credit_section(line, billed, zone), rounding_section(line)


def _true_up(line: InvoiceLine, zone: str) -> tuple[Section, ...]:
    part = line.derivation.commitment
    if part is None:
        raise InvariantBroken(f"line {line.line_item_id} does not say which commitment it trues up")
    return true_up_section(line, part), rounding_section(line)


def _adjustment(line: InvoiceLine, zone: str) -> tuple[Section, ...]:
    correction = line.derivation.correction
    if correction is None:
        return adjustment_sections(line, zone)
    return correction_sections(line, correction, [line_explanation(own, zone, ()) for own in correction.now])


SECTIONS: Final[Mapping[LineKind, Callable[[InvoiceLine, str], tuple[Section, ...]]]] = {
    LineKind.proration_credit: _credit,
    LineKind.true_up: _true_up,
    LineKind.adjustment: _adjustment,
    LineKind.credits: _bought,
}
"""Kinds of lines that are not charges of a subscription's price."""
