"""Coupons in an explanation: what each takes off each line, and how an invoice's discount was shared out."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from billing.coupons import Coupon, Discount
from billing.explain.parts import Figure, Part, Section
from billing.explain.splits import shares_of
from billing.explain.wording import exact, money
from billing.invoice_lines import InvoiceInputs, InvoiceLine
from billing.invoice_steps import discountable
from billing.invoices import Invoice
from billing.money import ZERO, decimal_text, minus


def discount_sections(invoice: Invoice, inputs: InvoiceInputs) -> list[Section]:
    """For each line what each coupon takes off it, in the order of application."""
    found: list[list[Part]] = [[] for _ in invoice.lines]
    originals = [discountable(line) for line in invoice.lines]
    left = list(originals)
    on_line = {one.id: one.line_item_id is not None for one in inputs.coupons}
    for discount in invoice.discounts:
        parts = [*discount.parts, *[ZERO] * (len(left) - len(discount.parts))]
        if on_line[discount.association_id]:
            hows = [_off_line(discount.coupon, *each) for each in zip(originals, left, parts, strict=True)]
        else:
            hows = _off_invoice(discount, left, parts, invoice.currency)
        for place, (part, how) in enumerate(zip(parts, hows, strict=True)):
            if part:
                found[place].append(_part(discount.coupon.name, how, part, invoice.currency))
                left[place] = minus(left[place], part)
    return [_section(line, parts) for line, parts in zip(invoice.lines, found, strict=True)]


def discount_section(line: InvoiceLine) -> Section:
    """The same of a line by itself, as far as it is known there."""
    return _section(line, [_part(one.display_name, "", one.amount, line.currency) for one in line.discounts])


def _section(line: InvoiceLine, parts: Sequence[Part]) -> Section:
    closing = (f"net of discounts: {money(line.net_amount, line.currency)}",) if parts else ()
    return Section(Figure.discount, parts=tuple(parts), closing=closing)


def _part(name: str, how: str, amount: Decimal, currency: str) -> Part:
    words = f"discount {name}: {how and f'{how}: '}-{money(amount, currency)}"
    return Part(f"discount {name}", how, -Fraction(amount), (words,))


def _off_line(coupon: Coupon, original: Decimal, left: Decimal, part: Decimal) -> str:
    """What a coupon on a line is worth there, and whether other coupons left that much."""
    if coupon.percentage_off is None:
        worth = f"of {decimal_text(coupon.amount_off or ZERO)} off"
    else:
        share = Fraction(original) * Fraction(coupon.percentage_off) / 100
        worth = f"{decimal_text(coupon.percentage_off)} % of {decimal_text(original)} = {exact(share)}"
    return f"{worth}, all that is left of the line" if part == left else worth


def _off_invoice(discount: Discount, left: Sequence[Decimal], parts: Sequence[Decimal], currency: str) -> list[str]:
    """Each line's share of a discount, in proportion to what earlier coupons left of it."""
    whole, base = Fraction(discount.amount), Fraction(discount.base)
    shares = shares_of([whole * Fraction(one) / base for one in left], parts, currency)
    head = f"its part of {decimal_text(discount.amount)}"
    return [
        f"{head}: {decimal_text(discount.amount)} x {decimal_text(one)} / {decimal_text(discount.base)} = {share.words}"
        for one, share in zip(left, shares, strict=True)
    ]
