"""What a POST_PAID wallet pays of a finalized invoice, before the provider is asked for the rest.

Owns which part of an invoice a wallet for some price types pays: its lines net of discounts and prepaid credits, with
the tax on top of them, never more than is owed. Which lots are drawn is billing.wallets'. Rules: billing-rules.md
sections 8 and 9.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from billing.invoice_lines import InvoiceLine
from billing.invoices import Invoice
from billing.money import ZERO, minus, total
from billing.terms import LineKind
from billing.wallets import AllowedPriceTypes

PAID_KINDS: Final[Mapping[AllowedPriceTypes, frozenset[LineKind]]] = {
    AllowedPriceTypes.FIXED: frozenset({LineKind.fixed, LineKind.proration_charge, LineKind.proration_credit}),
    AllowedPriceTypes.USAGE: frozenset({LineKind.usage, LineKind.overage, LineKind.true_up}),
}
"""Which lines a wallet for some price types pays; one for ALL pays every line."""


def sells_credits(invoice: Invoice) -> bool:
    """Whether it is for credits of a wallet: no wallet pays or owes that, it fills one."""
    return any(line.kind is LineKind.credits for line in invoice.lines)


def payable_of(invoice: Invoice, owed: Decimal, paid_before: Decimal, allowed: AllowedPriceTypes) -> Decimal:
    """What a POST_PAID wallet for `allowed` lines pays of `owed`, having paid `paid_before` of the invoice earlier.

    Money from elsewhere is not for any line: it lowers only what is owed. Amounts are major units.
    """
    if sells_credits(invoice):
        return ZERO
    kinds = PAID_KINDS.get(allowed)
    if kinds is None:
        return owed
    part = total(_asked(line) for line in invoice.lines if line.counts_as in kinds)
    return min(owed, max(minus(part, paid_before), ZERO))


def _asked(line: InvoiceLine) -> Decimal:
    """What the line asks for: net of discounts and credits, with its part of the exclusive taxes."""
    return total((minus(line.net_amount, line.prepaid_credits), line.exclusive_tax))
