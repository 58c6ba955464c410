"""What threshold invoices billed before a period's close, in an explanation."""

from fractions import Fraction

from billing.explain.parts import Figure, Part, Section
from billing.explain.wording import money
from billing.invoice_lines import InvoiceLine
from billing.money import minus, negated, round_amount, total


def billed_section(line: InvoiceLine) -> Section:
    """What is left out of a line because a threshold invoice billed it; and the discount of what is credited."""
    before, currency = line.derivation.billed_before, line.currency
    if not before:
        return Section(Figure.amount)
    text = f"billed before, on reaching the threshold: -{money(before, currency)}"
    parts = [Part("billed before", "on reaching the threshold", Fraction(negated(before)), (text,))]
    whole = round_amount(line.derivation.exact, currency)
    discount = total((minus(line.amount, whole), before))
    if discount:
        words = f"of that a discount had taken off {money(discount, currency)}"
        parts.append(Part("its discount", "was taken off then", Fraction(discount), (words,)))
    return Section(Figure.amount, parts=tuple(parts))
