"""Corrections of usage in an explanation: what a closed period comes to with all of its usage, and what was charged."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from billing.explain.parts import Figure, LineExplanation, Part, Section
from billing.explain.wording import money
from billing.invoice_lines import InvoiceLine, LineCorrection, UsageCharge
from billing.money import negated, total
from billing.usage_charges import net_target


def correction_sections(
    line: InvoiceLine, correction: LineCorrection, now: Sequence[LineExplanation]
) -> tuple[Section, ...]:
    """The difference between `now`, the period's lines as they should be, and what was charged for it before."""
    charge, currency = correction.charge, line.currency
    gross = total(own.amount for own in correction.now)
    target = net_target(charge, gross, currency)
    notes = [f"invoice {correction.invoice_id} billed this period before all of its usage was known"]
    for own in now:
        first, *rest = own.text
        notes += [f"with all usage: {first}", *(f"   {words}" for words in rest)]
    parts = (
        Part("with all usage", _target_words(charge, gross, target, currency), Fraction(target)),
        _before("charged first", charge.net, currency, f", {money(charge.gross, currency)} before discounts"),
        *((_before("corrected since", charge.corrected, currency),) if charge.corrected else ()),
    )
    closing = (f"difference: {money(line.amount, currency)}",)
    return (Section(Figure.amount, tuple(notes), parts, closing),)


def _before(label: str, amount: Decimal, currency: str, gross: str = "") -> Part:
    words = f"{label}: {money(amount, currency)}{gross}"
    return Part(label, money(amount, currency), Fraction(negated(amount)), (words,))


def _target_words(charge: UsageCharge, gross: Decimal, target: Decimal, currency: str) -> str:
    if charge.net == charge.gross:
        return f"the sum of these lines, {money(gross, currency)}"
    if gross >= charge.gross:
        beyond = money(total((gross, negated(charge.gross))), currency)
        return f"{money(charge.net, currency)} + {beyond} beyond what was charged first, which takes no discount"
    share = f"{money(charge.net, currency)} / {money(charge.gross, currency)}"
    return f"{money(gross, currency)} x {share}, as the discount shrinks with the charge, -> {money(target, currency)}"
