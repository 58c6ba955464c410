"""Coupons in an explanation: what each takes off a line."""

from fractions import Fraction

from billing.explain.parts import Figure, Part, Section
from billing.explain.wording import money
from billing.invoice_lines import InvoiceLine


def discount_section(line: InvoiceLine) -> Section:
    """What each coupon takes off the line."""
    parts = tuple(
        Part(
            f"discount {one.display_name}",
            "",
            -Fraction(one.amount),
            (f"discount {one.display_name}: -{money(one.amount, line.currency)}",),
        )
        for one in line.discounts
    )
    closing = (f"net of discounts: {money(line.net_amount, line.currency)}",) if parts else ()
    return Section(Figure.discount, parts=parts, closing=closing)
