"""Taxes in an explanation: the line's part of the tax base and of each tax."""

from fractions import Fraction

from billing.explain.parts import Figure, Part, Section
from billing.invoice_lines import InvoiceLine


def tax_section(line: InvoiceLine) -> Section:
    """The line's part of the taxes on top of the invoice."""
    if not line.exclusive_tax:
        return Section(Figure.tax)
    return Section(Figure.tax, parts=(Part("tax", "", Fraction(line.exclusive_tax), ()),))
