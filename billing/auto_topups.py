"""Automatic top-ups: when a wallet that runs low is filled, and by how much. A decision only: nothing is charged here.

Rules: billing-rules.md section 9: at or below the threshold of the real-time balance, never while one is unpaid, and
not again before the cooldown is over.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from billing.errors import Invalid
from billing.money import decimal_text, round_places
from billing.top_ups import TopUp, TopUpKind
from billing.wallets import CREDIT_PLACES, Wallet, WalletStatus, WalletType


@dataclass(frozen=True, slots=True)
class AutoTopUp:
    """At or below `threshold` (major units of the real-time balance) `amount` (major units) of credits is bought.

    `invoicing`: by an invoice, and the credits come when it is paid. `cooldown` is in seconds from the last one.
    """

    threshold: Decimal
    amount: Decimal
    invoicing: bool = False
    cooldown: int = 0
    enabled: bool = True

    def __post_init__(self) -> None:
        if self.amount <= 0:
            raise Invalid(f"amount must be above 0; got {decimal_text(self.amount)}", field="amount")
        if self.cooldown < 0:
            raise Invalid(f"cooldown must be 0 or more seconds; got {self.cooldown}", field="cooldown")


@dataclass(frozen=True, slots=True)
class LastAutoTopUp:
    """The latest automatic top-up of a wallet. `pending`: its invoice is not paid yet."""

    at: datetime
    pending: bool = False


def due_top_up(
    settings: AutoTopUp, wallet: Wallet, balance: Decimal, at: datetime, last: LastAutoTopUp | None, top_up_id: str
) -> TopUp | None:
    """The top-up that a wallet with the real-time `balance` needs at `at`; None when it needs none, or may not yet."""
    if not settings.enabled or balance > settings.threshold:
        return None
    if wallet.status is not WalletStatus.active or wallet.wallet_type is not WalletType.PRE_PAID:
        return None
    if last is not None and (last.pending or at < last.at + timedelta(seconds=settings.cooldown)):
        return None
    credits = round_places(Fraction(settings.amount) / Fraction(wallet.topup_rate), CREDIT_PLACES)
    kind = TopUpKind.by_invoice if settings.invoicing else TopUpKind.direct
    return TopUp(top_up_id, kind, credits)
