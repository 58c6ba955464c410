"""The real-time balance of a wallet in a story: its credits less what is owed and what the running period has used.

Owns which invoices and which usage count; the balance is billing.wallets'.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal

from billing.invoice_states import InvoiceStatus
from billing.invoices import Invoice
from billing.money import ZERO, total
from billing.simulation.invoices import PlayedInvoice
from billing.wallet_balances import asked_of
from billing.wallets import AllowedPriceTypes, Wallet, real_time_balance


def real_time(
    wallet: Wallet,
    at: datetime,
    invoices: Iterable[tuple[PlayedInvoice, Invoice]],
    current_usage: Callable[[datetime], Decimal],
) -> Decimal:
    """What the wallet is worth at `at`, in major units; below 0 when more is owed than there is.

    `invoices` are shown as they stand at `at`, drafts with their usage so far.
    """
    usage = ZERO if wallet.allowed_price_types is AllowedPriceTypes.FIXED else current_usage(at)
    unpaid = total(_unpaid(played, invoice, wallet) for played, invoice in invoices)
    return real_time_balance(wallet, at, unpaid, usage)


def _unpaid(played: PlayedInvoice, invoice: Invoice, wallet: Wallet) -> Decimal:
    if played.status not in (InvoiceStatus.DRAFT, InvoiceStatus.FINALIZED):
        return ZERO
    owed, paid = played.remaining_of(invoice.amount_due), total((played.amount_paid, played.adjusted))
    return asked_of(wallet, invoice, played.status is InvoiceStatus.DRAFT, owed, paid, played.paid_by_wallet)
