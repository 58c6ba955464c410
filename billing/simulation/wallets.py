"""The customer's wallets in a story: credits come, pay, expire, and every change is written down.

Owns which wallet is meant; order of draw-down, expiry and balances are billing.wallets', grants billing.credit_grants'.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from billing.credit_grants import CreditGrant, lots_granted
from billing.invoices import Invoice
from billing.money import ZERO, round_amount, total
from billing.scenario.document import Scenario
from billing.simulation.invoices import PlayedInvoice
from billing.terms import Terms
from billing.wallet_payments import payable_of
from billing.wallets import (
    AllowedPriceTypes,
    CreditLot,
    EntryReason,
    LotEntry,
    Wallet,
    WalletChange,
    WalletStatus,
    WalletType,
    credits_for,
    draw_at,
    expire,
    take_draws,
    top_up,
    worths,
)

CREATED = "created"
"""Id of a wallet that the document does not name: made for a grant or a credit that had none."""


@dataclass(slots=True)
class PlayedWallet:
    """A wallet as it stands, with all its entries and what each is worth. `key` None: made in the story."""

    key: str | None
    wallet: Wallet
    entries: list[tuple[LotEntry, Decimal]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """How the result names it."""
        return self.key or CREATED


class Wallets:
    """All wallets of the customer. `tell` adds to the story's timeline."""

    def __init__(
        self,
        scenario: Scenario,
        wallets: Sequence[tuple[Wallet, CreditLot | None]],
        tell: Callable[[datetime, str, str], None],
    ) -> None:
        self.all: list[PlayedWallet] = []
        self._currency = scenario.currency
        self._grants: dict[str, Sequence[CreditGrant]] = {}
        self._due: list[CreditLot] = []
        self._given: set[str] = set()
        self._tell = tell
        for wallet, lot in wallets:
            played = PlayedWallet(wallet.id, wallet)
            self.all.append(played)
            if lot is not None:
                self.apply(played, top_up(wallet, lot, EntryReason.free), lot.granted_at)

    def named(self, key: str) -> PlayedWallet:
        """The wallet with a key of the document."""
        return next(played for played in self.all if played.key == key)

    def prepaid(self) -> PlayedWallet | None:
        """The active wallet that lowers invoices."""
        return self._first(WalletType.PRE_PAID)

    def postpaid(self) -> PlayedWallet | None:
        """The active wallet that pays invoices before the provider does."""
        return self._first(WalletType.POST_PAID)

    def apply(self, played: PlayedWallet, change: WalletChange, at: datetime) -> None:
        """Takes over a change of a wallet."""
        played.wallet = change.wallet
        played.entries += zip(change.entries, worths(played.wallet, change.entries), strict=True)
        for entry in change.entries:
            name = "credited" if entry.credits > 0 else "expired" if entry.reason is EntryReason.expired else "debited"
            self._tell(at, f"wallet.{name}", played.id)

    def give_back(
        self, amount: Decimal, at: datetime, reference: str, reason: EntryReason = EntryReason.adjustment
    ) -> None:
        """Credit beyond an invoice, refunds: to the PRE_PAID wallet, made (paying ALL) if there is none."""
        played = self.prepaid() or self._create(AllowedPriceTypes.ALL)
        credits = credits_for(played.wallet, amount)
        self.apply(played, top_up(played.wallet, CreditLot(reference, credits, credits, at), reason), at)

    def give(self, owner: str, grants: Sequence[CreditGrant]) -> None:
        """A plan or an add-on gives `grants` from here on, in place of what it gave before; to be planned next."""
        self._grants[owner] = grants

    def plan_grants(self, terms: Terms, at: datetime, until: datetime) -> None:
        """Looks up what is granted from `at` on; again whenever the terms change, which move expiries."""
        grants = [grant for owned in self._grants.values() for grant in owned]
        lots = [lot for grant in grants for lot in lots_granted(grant, terms, None, until)]
        due = [lot for lot in lots if lot.granted_at >= at and lot.id not in self._given]
        self._due = sorted(due, key=lambda lot: lot.granted_at)

    def next_grant(self) -> datetime | None:
        """When credits are granted next."""
        return self._due[0].granted_at if self._due else None

    def grant(self) -> None:
        """Adds the next granted lot to the PRE_PAID wallet, made (paying usage) if there is none."""
        lot = self._due.pop(0)
        self._given.add(lot.id)
        played = self.prepaid() or self._create(AllowedPriceTypes.USAGE)
        self.apply(played, top_up(played.wallet, lot, EntryReason.credit_grant), lot.granted_at)

    def stop_grants(self) -> None:
        """A subscription that has ended gives no more."""
        self._due = []

    def next_expiry(self, open_period_ends: Sequence[datetime], to: datetime) -> datetime | None:
        """When the next lot is gone, at or before `to`."""
        times = [entry.at for played in self.all for entry in expire(played.wallet, to, open_period_ends).entries]
        return min(times, default=None)

    def expire(self, at: datetime, open_period_ends: Sequence[datetime]) -> None:
        """Takes out what is gone at `at`."""
        for played in self.all:
            self.apply(played, expire(played.wallet, at, open_period_ends), at)

    def draw(self, invoice: Invoice, at: datetime, reference: str) -> None:
        """Takes out what an invoice drew when it was finalized."""
        played = self.prepaid()
        if played is not None and invoice.credit_draws:
            self.apply(played, take_draws(played.wallet, invoice.credit_draws, at, reference), at)

    def pay(self, invoice: PlayedInvoice, at: datetime) -> Decimal:
        """What the POST_PAID wallet pays of what is still owed; it is taken out."""
        played = self.postpaid()
        if played is None:
            return ZERO
        allowed = played.wallet.allowed_price_types
        amount = payable_of(invoice.invoice, invoice.amount_remaining, invoice.paid_by_wallet, allowed)
        draws = draw_at(played.wallet, amount, at)
        self.apply(played, take_draws(played.wallet, draws, at, invoice.id), at)
        paid = round_amount(total(draw.amount for draw in draws), self._currency)
        invoice.paid_by_wallet = total((invoice.paid_by_wallet, paid))
        return paid

    def _first(self, kind: WalletType) -> PlayedWallet | None:
        active = [each for each in self.all if each.wallet.status is WalletStatus.active]
        return next((each for each in active if each.wallet.wallet_type is kind), None)

    def _create(self, allowed: AllowedPriceTypes) -> PlayedWallet:
        wallet = Wallet(CREATED, WalletType.PRE_PAID, self._currency, allowed_price_types=allowed)
        self.all.append(PlayedWallet(None, wallet))
        return self.all[-1]
