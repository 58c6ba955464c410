"""Prepaid credits in an explanation: which lots pay which line.

Lots are drawn in their order for the invoice as a whole and pay its lines in theirs.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from billing.explain.parts import Figure, Part, Section
from billing.explain.wording import exact, money
from billing.invoice_lines import InvoiceLine
from billing.invoices import Invoice
from billing.wallets import CreditDraw


def credit_sections(invoice: Invoice) -> list[Section]:
    """For each line what each lot pays of it."""
    drawn = _laid_out([Fraction(draw.amount) for draw in invoice.credit_draws])
    paid = _laid_out([Fraction(line.prepaid_credits) for line in invoice.lines])
    found = []
    for line, (start, end) in zip(invoice.lines, paid, strict=True):
        parts = []
        for draw, (first, last) in zip(invoice.credit_draws, drawn, strict=True):
            common = min(end, last) - max(start, first)
            if common > 0:
                parts.append(_part(draw, common, line.currency))
        found.append(_section(line, parts))
    return found


def credits_section(line: InvoiceLine) -> Section:
    """The same of a line by itself, as far as it is known there."""
    paid = line.prepaid_credits
    return _section(line, [Part("prepaid credits", "", -Fraction(paid), ())] if paid else [])


def _section(line: InvoiceLine, parts: Sequence[Part]) -> Section:
    paid = line.prepaid_credits
    closing = (f"paid by credits: {money(paid, line.currency)}",) if paid else ()
    return Section(Figure.credits, parts=tuple(parts), closing=closing)


def _part(draw: CreditDraw, amount: Fraction, currency: str) -> Part:
    credits = Fraction(draw.credits) * amount / Fraction(draw.amount)
    how = f"{exact(credits)} credits"
    return Part(f"lot {draw.lot_id}", how, -amount, (f"{how} of lot {draw.lot_id} pay {exact(amount)} {currency}",))


def _laid_out(amounts: Sequence[Fraction]) -> list[tuple[Fraction, Fraction]]:
    """Amounts one after another: where each begins and ends."""

    def spans() -> Iterator[tuple[Fraction, Fraction]]:
        at = Fraction(0)
        for amount in amounts:
            yield at, at + amount
            at += amount

    return list(spans())
