"""Prepaid credits in an explanation: what pays a line."""

from fractions import Fraction

from billing.explain.parts import Figure, Part, Section
from billing.explain.wording import money
from billing.invoice_lines import InvoiceLine


def credits_section(line: InvoiceLine) -> Section:
    """What credits pay of the line."""
    paid = line.prepaid_credits
    if not paid:
        return Section(Figure.credits)
    words = f"paid by credits: {money(paid, line.currency)}"
    return Section(Figure.credits, parts=(Part("prepaid credits", "", -Fraction(paid), (words,)),))
