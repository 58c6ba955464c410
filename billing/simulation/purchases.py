"""Credits that are bought by invoice in a story: the invoice, and the credits once it is paid.

Owns which wallet is filled when; what the invoice says and which lots come is billing.top_ups'.
"""

from datetime import datetime

from billing.errors import BillingError
from billing.invoice_states import InvoiceStatus
from billing.invoices import InvoiceInputs
from billing.simulation.invoices import PlayedInvoice, Purchase
from billing.simulation.wallets import PlayedWallet, Wallets
from billing.terms import BillingReason, Terms
from billing.terms_history import TermsInForce
from billing.top_ups import TopUp, credited, invoice_for


def bought(
    position: int,
    wallet: PlayedWallet,
    asked: TopUp,
    at: datetime,
    reason: BillingReason,
    terms: Terms,
    history: tuple[TermsInForce, ...],
) -> PlayedInvoice:
    """The draft of the invoice for credits of a wallet, which is finalized at once."""
    due = invoice_for(wallet.wallet, asked, at, reason)
    inputs = InvoiceInputs(terms.currency, due)
    purchase = Purchase(wallet.id, asked)
    return PlayedInvoice(position, inputs, InvoiceStatus.DRAFT, at, at, terms, history, purchase=purchase)


def fill(wallets: Wallets, played: PlayedInvoice, at: datetime) -> None:
    """The credits of a paid invoice come. Where they cannot any more (the wallet is closed), the money is credit."""
    purchase = played.purchase
    assert purchase is not None
    wallet = wallets.named(purchase.wallet)
    try:
        change = credited(wallet.wallet, purchase.asked, at)
    except BillingError:
        if played.amount_paid:
            wallets.give_back(played.amount_paid, at, f"{played.id}/credits")
        return
    wallets.apply(wallet, change, at)
