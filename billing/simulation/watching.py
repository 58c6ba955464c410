"""Wallets that are watched in a story: filled by themselves, and alerts when a balance changes its state.

Owns when a balance is looked at: when an hour (UTC) is full in which usage came or something was added to the timeline.
What is done then is billing.auto_topups' and billing.balance_alerts'.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from billing.auto_topups import LastAutoTopUp, due_top_up
from billing.balance_alerts import AlertState, alert_change
from billing.scenario.credits import Watched
from billing.simulation.invoices import PlayedInvoice
from billing.simulation.wallets import PlayedWallet, Wallets
from billing.terms import BillingReason
from billing.top_ups import TopUp, TopUpKind, credited
from billing.wallets import Wallet

HOUR: Final = timedelta(hours=1)


@dataclass(slots=True)
class _State:
    """What was told and done of a wallet so far."""

    watched: Watched
    alert: AlertState = AlertState.ok
    last: datetime | None = None
    invoice: PlayedInvoice | None = None
    filled: int = 0

    @property
    def latest(self) -> LastAutoTopUp | None:
        """The last automatic top-up, and whether its invoice is still to be paid."""
        if self.last is None:
            return None
        return LastAutoTopUp(self.last, self.invoice is not None and self.invoice.is_pending)


class Watch:
    """The watched wallets by their keys, and the hours at which to look at them.

    `balance` is a wallet's real-time balance at an instant, `tell` adds to the timeline, `buy` makes an invoice for
    credits.
    """

    def __init__(
        self,
        watched: Mapping[str, Watched],
        balance: Callable[[Wallet, datetime], Decimal],
        tell: Callable[[datetime, str, str], None],
        buy: Callable[[PlayedWallet, TopUp, datetime, BillingReason], PlayedInvoice],
    ) -> None:
        self._balance, self._tell, self._buy = balance, tell, buy
        self._states = {key: _State(each) for key, each in watched.items()}
        self._hours: set[datetime] = set()

    def mark(self, at: datetime) -> None:
        """Something happened: balances are looked at when the hour is full."""
        if self._states:
            self._hours.add(at.replace(minute=0, second=0, microsecond=0) + HOUR)

    def next_look(self) -> datetime | None:
        """The next hour at which to look."""
        return min(self._hours, default=None)

    def look(self, wallets: Wallets, at: datetime) -> None:
        """Fills the wallets that run low, then tells what has changed its state."""
        self._hours.discard(at)
        for key, state in self._states.items():
            played = wallets.named(key)
            self._fill(wallets, played, state, at)
            self._alert(played, state, at)

    def _fill(self, wallets: Wallets, played: PlayedWallet, state: _State, at: datetime) -> None:
        settings, wallet = state.watched.fill, played.wallet
        if settings is None:
            return
        name = f"{played.id}/auto_topup/{state.filled + 1}"
        asked = due_top_up(settings, wallet, self._balance(wallet, at), at, state.latest, name)
        if asked is None:
            return
        state.last, state.filled = at, state.filled + 1
        if asked.kind is TopUpKind.by_invoice:
            state.invoice = self._buy(played, asked, at, BillingReason.WALLET_AUTO_TOPUP)
        else:
            wallets.apply(played, credited(wallet, asked, at), at)

    def _alert(self, played: PlayedWallet, state: _State, at: datetime) -> None:
        settings = state.watched.alerts
        if settings is None:
            return
        change = alert_change(settings, self._balance(played.wallet, at), state.alert)
        if change is not None:
            state.alert = change.after
            self._tell(at, change.event, played.id)
