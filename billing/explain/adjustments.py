"""Adjustment lines in an explanation."""

from billing.explain.parts import Figure, Part, Section
from billing.invoice_lines import InvoiceLine


def adjustment_sections(line: InvoiceLine, zone: str) -> tuple[Section, ...]:
    """Why there is an adjustment: credits beyond the charges, which are carried to the customer's balance."""
    words = "The credits exceed the charges of this invoice; the rest is carried to the customer's balance."
    part = Part("carried to the customer's balance", "credits beyond the charges", line.derivation.exact, (words,))
    return (Section(Figure.amount, parts=(part,)),)
