"""What wallets post to the ledger: credits that come for money or for nothing, and credits that go without an invoice.

Owns the accounts of promotions and of lapsed credits. What an invoice draws, and what it gives back, is in the
invoice's own posting (billing.ledger). Amounts are credits x conversion rate, rounded once to the currency.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final

from billing.ledger import (
    ACCOUNTS_RECEIVABLE,
    CREDITS_SOLD,
    CUSTOMER_CREDIT,
    REFUNDS_PAYABLE,
    Posting,
    PostingKind,
    cash_in_transit,
    post_movements,
)
from billing.money import minus, negated
from billing.wallets import EntryReason

PROMOTIONS: Final = "promotions"
"""What credits that were given for nothing, or below their worth, cost."""
LAPSED_CREDIT: Final = "lapsed_credit"
"""What credits that expired or were taken out were worth."""
OUTSIDE: Final = "outside"
"""Money that was received without a provider."""


class CreditSource(StrEnum):
    """Where the credits of a top-up come from."""

    free = "free"
    purchased = "purchased"
    invoiced = "invoiced"


SOURCES: Final[Mapping[EntryReason, CreditSource]] = {
    EntryReason.free: CreditSource.free,
    EntryReason.credit_grant: CreditSource.free,
    EntryReason.bonus: CreditSource.free,
    EntryReason.purchased: CreditSource.purchased,
    EntryReason.purchased_by_invoice: CreditSource.invoiced,
}
"""Of credits that come without an invoice's own posting, by why they come."""


def post_top_up(transaction_id: str, source: CreditSource, worth: Decimal, price: Decimal, currency: str) -> Posting:
    """Credits of `worth`; purchased ones for `price`, which the tenant has received, if invoiced by that invoice.

    Major units.
    """
    paid = Decimal(0) if source is CreditSource.free else price
    movements = [
        (CUSTOMER_CREDIT, worth),
        (CREDITS_SOLD if source is CreditSource.invoiced else cash_in_transit(OUTSIDE), negated(paid)),
        (PROMOTIONS, minus(paid, worth)),
    ]
    return post_movements(PostingKind.wallet_credited, transaction_id, movements, currency)


def post_paid_by_wallet(payment_id: str, amount: Decimal, currency: str) -> Posting:
    """A POST_PAID wallet paid `amount` of an invoice."""
    movements = [(CUSTOMER_CREDIT, negated(amount)), (ACCOUNTS_RECEIVABLE, amount)]
    return post_movements(PostingKind.payment_succeeded, payment_id, movements, currency)


def post_taken_for_refund(reference: str, amount: Decimal, currency: str) -> Posting:
    """Credit of money beyond an invoice is about to go back; a negative `amount`: it does not after all."""
    kind = PostingKind.wallet_debited if amount > 0 else PostingKind.wallet_credited
    movements = [(CUSTOMER_CREDIT, negated(amount)), (REFUNDS_PAYABLE, amount)]
    return post_movements(kind, reference, movements, currency)


def post_taken_out(transaction_id: str, worth: Decimal, currency: str) -> Posting:
    """Credits of `worth` expired, were debited, or ended with their wallet."""
    movements = [(CUSTOMER_CREDIT, negated(worth)), (LAPSED_CREDIT, worth)]
    return post_movements(PostingKind.wallet_debited, transaction_id, movements, currency)
