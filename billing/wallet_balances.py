"""What is already owed of a wallet's balance: usage of invoices that are not paid, and of the running period.

Owns which lines count for which wallet; the balance itself is billing.wallets'. Rules: billing-rules.md section 9. A
wallet for usage owes unpaid usage, any other all that is unpaid, as in the reference. Of a draft the lines that the
wallet pays count, of the running period usage, both net of discounts, as the invoice will say it.
"""

from decimal import Decimal

from billing.invoices import Invoice
from billing.money import ZERO, minus, total
from billing.terms import LineKind
from billing.wallets import AllowedPriceTypes

USAGE_KINDS = frozenset({LineKind.usage, LineKind.overage})


def unpaid_of(invoice: Invoice, amount_paid: Decimal, allowed: AllowedPriceTypes) -> Decimal:
    """What a finalized invoice still owes, in money, as a wallet for `allowed` lines sees it."""
    owed = max(minus(invoice.amount_due, amount_paid), ZERO)
    if allowed is not AllowedPriceTypes.USAGE:
        return owed
    credits = total(line.prepaid_credits for line in invoice.lines if line.counts_as in USAGE_KINDS)
    return min(owed, max(minus(charges_of(invoice, allowed), total((amount_paid, credits))), ZERO))


def charges_of(invoice: Invoice, allowed: AllowedPriceTypes) -> Decimal:
    """What an invoice charges for lines that `allowed` names, net of discounts, without tax on top."""
    wanted = {
        AllowedPriceTypes.ALL: frozenset(LineKind),
        AllowedPriceTypes.USAGE: USAGE_KINDS,
        AllowedPriceTypes.FIXED: frozenset({LineKind.fixed}),
    }[allowed]
    return max(total(line.net_amount for line in invoice.lines if line.counts_as in wanted), ZERO)
