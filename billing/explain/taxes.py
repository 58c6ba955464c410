"""Taxes in an explanation: what of a line is taxed, at which rates, and its part of each tax.

A tax is rounded once per invoice and then shared out; an inclusive one is inside the line and adds nothing.
"""

from fractions import Fraction

from billing.explain.parts import Figure, Part, Section
from billing.explain.splits import Share, shares_of
from billing.explain.wording import exact, money
from billing.invoice_lines import InvoiceInputs, InvoiceLine
from billing.invoice_steps import tax_bases
from billing.invoices import Invoice
from billing.money import apportion, decimal_text
from billing.taxes import TaxAmount, TaxRateType, tax_shares


def tax_sections(invoice: Invoice, inputs: InvoiceInputs) -> list[Section]:
    """For each line its tax base and its part of each tax on it."""
    bases = tax_bases(invoice.lines, [line.taxable for line in invoice.lines], inputs)
    parts: list[list[Part]] = [[] for _ in invoice.lines]
    inside: list[list[str]] = [[] for _ in invoice.lines]
    for tax in invoice.taxes:
        values = tax_shares(tax.rate, tax.base, bases)
        shares = shares_of(values, apportion(tax.amount, values, invoice.currency), invoice.currency)
        for place, (base, share) in enumerate(zip(bases, shares, strict=True)):
            if tax.rate not in base.rates:
                continue
            how = _how(tax, invoice.lines[place], share)
            if tax.rate.inclusive:
                inside[place].append(f"tax {tax.rate.name}: {how} -> {money(share.part, invoice.currency)} (not added)")
            else:
                parts[place].append(_part(f"tax {tax.rate.name}", how, share, invoice.currency))
    return [
        Section(Figure.tax, _notes(line, base.rates != ()) + tuple(words), tuple(own))
        for line, base, words, own in zip(invoice.lines, bases, inside, parts, strict=True)
    ]


def tax_section(line: InvoiceLine) -> Section:
    """The same of a line by itself, as far as it is known there."""
    if not line.exclusive_tax:
        return Section(Figure.tax)
    return Section(Figure.tax, parts=(Part("tax", "", Fraction(line.exclusive_tax), ()),))


def _notes(line: InvoiceLine, taxed: bool) -> tuple[str, ...]:
    if not taxed:
        return ()
    base = f"tax base: {money(line.taxable, line.currency)}"
    beyond = Fraction(line.taxable) - Fraction(line.net_amount)
    if not beyond:
        return (base,)
    return (f"{base}: {exact(beyond)} of the credit is beyond the charges at the same rates",)


def _part(label: str, how: str, share: Share, currency: str) -> Part:
    return Part(label, how, Fraction(share.part), (f"{label}: {how} -> {money(share.part, currency)}",))


def _how(tax: TaxAmount, line: InvoiceLine, share: Share) -> str:
    taxable, value = decimal_text(line.taxable), decimal_text(tax.rate.value)
    if tax.rate.type is TaxRateType.fixed:
        return f"{value} x {taxable} / {decimal_text(tax.base)} = {share.words}"
    if tax.rate.inclusive:
        return f"{value} % contained in {taxable} = {share.words}"
    return f"{value} % of {taxable} = {share.words}"
