"""What is already owed of a wallet's balance: usage of invoices that are not paid, and of the running period.

Owns which lines count for which wallet; the balance itself is billing.wallets'. Rules: billing-rules.md section 9. A
wallet for usage owes unpaid usage, any other all that is unpaid, as in the reference. Of a draft the lines that the
wallet pays count, of the running period usage, both net of discounts, as the invoice will say it.
"""

from decimal import Decimal
from typing import Final

from billing.invoices import Invoice
from billing.money import ZERO, minus, total
from billing.terms import LineKind
from billing.wallet_payments import PAID_KINDS, payable_of, sells_credits
from billing.wallets import AllowedPriceTypes, Wallet, WalletType

_USED: Final = frozenset({LineKind.usage, LineKind.overage})


def asked_of(
    wallet: Wallet, invoice: Invoice, is_draft: bool, owed: Decimal, paid: Decimal, by_wallet: Decimal
) -> Decimal:
    """What an invoice, or a draft as it stands, will ask of the wallet or of who it stands for, in money.

    `owed` is what is left to pay of it, `paid` what lowered that before, `by_wallet` what a POST_PAID wallet paid.
    """
    allowed = wallet.allowed_price_types
    if wallet.wallet_type is WalletType.POST_PAID:
        return payable_of(invoice, owed, by_wallet, allowed)
    return charges_of(invoice, allowed) if is_draft else unpaid_of(invoice, paid, allowed)


def unpaid_of(invoice: Invoice, amount_paid: Decimal, allowed: AllowedPriceTypes) -> Decimal:
    """What a finalized invoice still owes, in money, as a wallet for `allowed` lines sees it."""
    if sells_credits(invoice):
        return ZERO
    owed = max(minus(invoice.amount_due, amount_paid), ZERO)
    if allowed is not AllowedPriceTypes.USAGE:
        return owed
    credits = total(line.prepaid_credits for line in invoice.lines if line.counts_as in PAID_KINDS[allowed])
    return min(owed, max(minus(charges_of(invoice, allowed), total((amount_paid, credits))), ZERO))


def charges_of(invoice: Invoice, allowed: AllowedPriceTypes) -> Decimal:
    """What an invoice charges for lines that `allowed` names, net of discounts, without tax on top."""
    return _sum_of(invoice, PAID_KINDS.get(allowed, frozenset(LineKind)))


def usage_of(invoice: Invoice) -> Decimal:
    """What the usage of a running period costs so far: what a commitment is still short of is not used yet."""
    return _sum_of(invoice, _USED)


def _sum_of(invoice: Invoice, kinds: frozenset[LineKind]) -> Decimal:
    return max(total(line.net_amount for line in invoice.lines if line.counts_as in kinds), ZERO)
