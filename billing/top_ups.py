"""Top-ups: credits that a customer buys or is given, at once or when an invoice for them is paid, with a bonus beside.

Owns what a top-up costs, its invoice and which lots it adds. Whether that is paid is billing.collection's to know; what
it posts is billing.wallet_postings'. Rules: billing-rules.md section 9; reasons and rates are the reference's. Credits
are no supply by themselves: their invoice has no tax (what they pay is taxed), no coupons, and no wallet pays it.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from billing.errors import Conflict, Invalid
from billing.money import ZERO, decimal_text, round_amount
from billing.periods import BillingPeriod, Cadence, Period
from billing.prices import BillingModel, InvoiceCadence, Price, PriceType
from billing.terms import BillingReason, DueInvoice, DueLine, LineKind
from billing.wallets import CreditLot, EntryReason, Wallet, WalletChange, top_up


class TopUpKind(StrEnum):
    """How credits come, in the API's words.

    Free and directly bought ones are there at once, those bought by an invoice when it is paid.
    """

    free = "FREE_CREDIT_GRANT"
    direct = "PURCHASED_CREDIT_DIRECT"
    by_invoice = "PURCHASED_CREDIT_INVOICED"


REASONS: Final = {
    TopUpKind.free: EntryReason.free,
    TopUpKind.direct: EntryReason.purchased,
    TopUpKind.by_invoice: EntryReason.purchased_by_invoice,
}


@dataclass(frozen=True, slots=True)
class TopUp:
    """`credits`, and `bonus_credits` that cost nothing and may expire on another day. Lower priority is drawn first."""

    id: str
    kind: TopUpKind
    credits: Decimal
    expires_at: datetime | None = None
    priority: int | None = None
    bonus_credits: Decimal = ZERO
    bonus_expires_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.credits <= 0:
            raise Invalid(f"credits must be above 0; got {decimal_text(self.credits)}", field="credits")
        if self.bonus_credits < 0:
            field = "bonus_credits_to_add"
            raise Invalid(f"{field} must be 0 or more; got {decimal_text(self.bonus_credits)}", field)
        if self.bonus_credits and self.kind is TopUpKind.free:
            raise Invalid("bonus_credits_to_add must be absent: free credits have no bonus", "bonus_credits_to_add")
        if self.bonus_expires_at is not None and not self.bonus_credits:
            field = "bonus_credits_expiry_date_utc"
            raise Invalid(f"{field} must be absent without bonus_credits_to_add", field)


def price_of(wallet: Wallet, asked: TopUp) -> Decimal:
    """What the customer pays, in major units: credits x the wallet's top-up rate, rounded once; nothing if free."""
    if asked.kind is TopUpKind.free:
        return ZERO
    return price_of_credits(wallet, asked.credits)


def price_of_credits(wallet: Wallet, credits: Decimal) -> Decimal:
    """What `credits` cost who buys them."""
    return round_amount(Fraction(credits) * Fraction(wallet.topup_rate), wallet.currency)


def invoice_for(wallet: Wallet, asked: TopUp, at: datetime, reason: BillingReason) -> DueInvoice:
    """The invoice for bought credits, due at once: one line, the credits at the wallet's top-up rate.

    It comes to `price_of`. Give it no taxes, coupons or wallet.
    """
    price = Price(
        id=asked.id,
        display_name="Credits",
        type=PriceType.FIXED,
        billing_model=BillingModel.FLAT_FEE,
        currency=wallet.currency,
        cadence=Cadence(BillingPeriod.ONETIME, 1),
        invoice_cadence=InvoiceCadence.ADVANCE,
        amount=wallet.topup_rate,
    )
    now = Period(at, at)
    return DueInvoice(reason, at, now, (DueLine(LineKind.credits, asked.id, price, asked.credits, now),))


def require_unfilled(paid: bool, command: str) -> None:
    """What bought credits can be voided or refunded until it is `paid`: then the wallet has them. Raises Conflict."""
    if paid:
        raise Conflict(
            f"{command} is not possible: the credits that the invoice sold are in the wallet; debit them there and"
            " give the money back outside",
            state="credited",
        )


def credited(wallet: Wallet, asked: TopUp, at: datetime) -> WalletChange:
    """The wallet with the credits, which come at `at`: when they are asked for, or when their invoice is paid.

    The bonus is a lot of its own, behind. Raises Conflict for a wallet that is not active, Invalid for an expiry that
    is over.
    """
    lot = CreditLot(asked.id, asked.credits, asked.credits, at, asked.expires_at, asked.priority)
    change = top_up(wallet, lot, REASONS[asked.kind])
    if not asked.bonus_credits:
        return change
    extra = asked.bonus_credits
    bonus = CreditLot(f"{asked.id}/bonus", extra, extra, at, asked.bonus_expires_at, asked.priority)
    after = top_up(change.wallet, bonus, EntryReason.bonus)
    return WalletChange(after.wallet, (*change.entries, *after.entries))
