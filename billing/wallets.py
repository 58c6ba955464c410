"""Wallets: lots of credits, in which order they are drawn, what they pay, and when they are gone.

Owns balances as sums of lots and the entries that change them. Which lines of an invoice credits may pay is decided in
billing.invoice_steps. Rules: billing-rules.md section 9. Credits have at most 15 digits after the point, as they are
stored; an amount of money is credits x conversion rate.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from billing.errors import Conflict, Invalid
from billing.money import ZERO, decimal_text, exponent, minus, negated, round_amount, round_places, total
from billing.periods import check_utc

CREDIT_PLACES: Final = 15
PRIORITY_LAST: Final = 2**31
"""Where lots without a priority stand."""


class WalletType(StrEnum):
    """PRE_PAID lowers invoices when they are finalized; POST_PAID pays them afterwards, before the provider."""

    PRE_PAID = "PRE_PAID"
    POST_PAID = "POST_PAID"


class WalletStatus(StrEnum):
    """Only an active wallet pays; a closed one is empty for ever."""

    active = "active"
    frozen = "frozen"
    closed = "closed"


class AllowedPriceTypes(StrEnum):
    """Which lines a wallet pays."""

    ALL = "ALL"
    USAGE = "USAGE"
    FIXED = "FIXED"


PAYS_BY_DEFAULT: Final = {WalletType.PRE_PAID: AllowedPriceTypes.USAGE, WalletType.POST_PAID: AllowedPriceTypes.ALL}
"""Which lines a wallet pays unless it says so, or is made for a credit that an invoice gave (ALL)."""


class EntryReason(StrEnum):
    """Why credits came or went; the values are the API's transaction reasons."""

    free = "FREE_CREDIT_GRANT"
    purchased = "PURCHASED_CREDIT_DIRECT"
    purchased_by_invoice = "PURCHASED_CREDIT_INVOICED"
    bonus = "PURCHASED_CREDIT_BONUS"
    credit_grant = "SUBSCRIPTION_CREDIT_GRANT"
    credit_note = "CREDIT_NOTE"
    void = "INVOICE_VOID_REFUND"
    adjustment = "CREDIT_ADJUSTMENT"
    invoice = "INVOICE_PAYMENT"
    debit = "MANUAL_BALANCE_DEBIT"
    expired = "CREDIT_EXPIRED"
    terminated = "WALLET_TERMINATION"


@dataclass(frozen=True, slots=True)
class CreditLot:
    """Credits that came together; `remaining` of them are left. They are gone at `expires_at`; lower priority first."""

    id: str
    credits: Decimal
    remaining: Decimal
    granted_at: datetime
    expires_at: datetime | None = None
    priority: int | None = None

    def __post_init__(self) -> None:
        check_utc(self.granted_at, "granted_at")
        if self.expires_at is not None and check_utc(self.expires_at, "expiry_date_utc") <= self.granted_at:
            raise Invalid("expiry_date_utc must be after the credits are granted", field="expiry_date_utc")
        if self.credits <= 0:
            raise Invalid(f"credits must be above 0; got {decimal_text(self.credits)}", field="credits")
        if not 0 <= self.remaining <= self.credits:
            most, got = decimal_text(self.credits), decimal_text(self.remaining)
            raise Invalid(f"remaining must be from 0 to the lot's credits, {most}; got {got}", field="remaining")


@dataclass(frozen=True, slots=True)
class LotEntry:
    """One change of a lot: `credits` are positive when they came. Balances are the sums of these."""

    lot_id: str
    credits: Decimal
    reason: EntryReason
    at: datetime
    reference: str = ""


@dataclass(frozen=True, slots=True)
class CreditDraw:
    """What a lot paid: `amount` in money for `credits`."""

    wallet_id: str
    lot_id: str
    credits: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Wallet:
    """A customer's credits in one currency. A credit is worth `conversion_rate` major units of `currency`.

    `topup_conversion_rate` is what one costs who buys it; None: what it is worth.
    """

    id: str
    wallet_type: WalletType
    currency: str
    conversion_rate: Decimal = Decimal(1)
    allowed_price_types: AllowedPriceTypes = AllowedPriceTypes.USAGE
    status: WalletStatus = WalletStatus.active
    lots: tuple[CreditLot, ...] = ()
    topup_conversion_rate: Decimal | None = None

    def __post_init__(self) -> None:
        exponent(self.currency)
        for field, rate in (("conversion_rate", self.conversion_rate), ("topup_conversion_rate", self.topup_rate)):
            if rate <= 0:
                raise Invalid(f"{field} must be above 0; got {rate}", field=field)

    @property
    def topup_rate(self) -> Decimal:
        """What a credit costs who buys it, in major units."""
        return self.conversion_rate if self.topup_conversion_rate is None else self.topup_conversion_rate


@dataclass(frozen=True, slots=True)
class WalletChange:
    """The wallet after a step, and the entries that the step writes."""

    wallet: Wallet
    entries: tuple[LotEntry, ...] = ()


def top_up(wallet: Wallet, lot: CreditLot, reason: EntryReason = EntryReason.purchased) -> WalletChange:
    """Adds a lot. Raises Conflict for a wallet that is not active, Invalid for a lot that was drawn on already."""
    require_active(wallet, "top_up")
    if lot.remaining != lot.credits or any(one.id == lot.id for one in wallet.lots):
        raise Invalid(f"lot {lot.id} must be new and whole", field="credits")
    after = replace(wallet, lots=(*wallet.lots, lot))
    return WalletChange(after, (LotEntry(lot.id, lot.credits, reason, lot.granted_at),))


def debit(wallet: Wallet, credits: Decimal, at: datetime, reference: str = "") -> WalletChange:
    """Takes `credits` out, in the order in which lots are drawn. Raises Conflict when there are not as many."""
    require_active(wallet, "debit")
    usable = [lot for lot in in_draw_order(wallet.lots) if usable_at(lot, at)]
    there = total(lot.remaining for lot in usable)
    if credits <= 0 or credits > there:
        raise Conflict(
            f"credits must be above 0 and at most {decimal_text(there)}, which are there; got {decimal_text(credits)}",
            state=wallet.status,
            field="credits",
            code="insufficient_credits",
        )
    entries, left = [], credits
    for lot in usable:
        taken = min(lot.remaining, left)
        if taken:
            entries.append(LotEntry(lot.id, negated(taken), EntryReason.debit, at, reference))
            left = minus(left, taken)
    return _written(wallet, entries)


def expire(wallet: Wallet, at: datetime, open_period_ends: Sequence[datetime] = ()) -> WalletChange:
    """Takes out what expired at or before `at`, dated at its expiry.

    A lot that a draft invoice may still draw on stays until that invoice is finalized: `open_period_ends` are the ends
    of the periods of the drafts.
    """
    entries = []
    for lot in wallet.lots:
        held = any(counts_for_invoice(lot, period_end) for period_end in open_period_ends)
        if lot.expires_at is not None and lot.expires_at <= at and lot.remaining and not held:
            entries.append(LotEntry(lot.id, negated(lot.remaining), EntryReason.expired, lot.expires_at))
    return _written(wallet, entries)


def terminate(wallet: Wallet, at: datetime) -> WalletChange:
    """Closes the wallet and takes out all that is left. Raises Conflict when it is closed already."""
    if wallet.status is WalletStatus.closed:
        raise Conflict(f"wallet {wallet.id} is closed already", state=wallet.status)
    entries = [
        LotEntry(lot.id, negated(lot.remaining), EntryReason.terminated, at) for lot in wallet.lots if lot.remaining
    ]
    change = _written(wallet, entries)
    return replace(change, wallet=replace(change.wallet, status=WalletStatus.closed))


def worths(wallet: Wallet, entries: Sequence[LotEntry]) -> list[Decimal]:
    """What each entry of one change is worth in money, in the currency's decimals, without its sign.

    Rounded on the running sum, so that together they are worth what all of them are.
    """
    found, credits, before = [], ZERO, ZERO
    for entry in entries:
        credits = total((credits, abs(entry.credits)))
        worth = round_amount(Fraction(credits) * Fraction(wallet.conversion_rate), wallet.currency)
        found.append(minus(worth, before))
        before = worth
    return found


def take_draws(wallet: Wallet, draws: Sequence[CreditDraw], at: datetime, reference: str) -> WalletChange:
    """The wallet after it paid `draws` of an invoice, `reference`."""
    own = [draw for draw in draws if draw.wallet_id == wallet.id]
    return _written(
        wallet, [LotEntry(draw.lot_id, negated(draw.credits), EntryReason.invoice, at, reference) for draw in own]
    )


def worth_of_credits(wallet: Wallet, credits: Decimal) -> Decimal:
    """Credits in money, rounded down to the currency's exponent as every balance is."""
    return _round_down(Fraction(credits) * Fraction(wallet.conversion_rate), wallet)


def worth_of(wallet: Wallet, lot_ids: Collection[str]) -> Decimal:
    """What is left of some of the lots, in money, rounded down to the currency's exponent."""
    lots = [lot for lot in wallet.lots if lot.id in lot_ids]
    return _round_down(sum((_value(wallet, lot) for lot in lots), Fraction(0)), wallet)


def take_back(wallet: Wallet, lot_ids: Collection[str], amount: Decimal, at: datetime, reference: str) -> WalletChange:
    """The wallet without `amount` of what is left of some of its lots: the money goes back the way it came."""
    draws = _draw(wallet, [lot for lot in wallet.lots if lot.id in lot_ids], amount)
    return _written(
        wallet, [LotEntry(draw.lot_id, negated(draw.credits), EntryReason.adjustment, at, reference) for draw in draws]
    )


def credit_balance(wallet: Wallet, at: datetime) -> Decimal:
    """Credits that are there at `at`."""
    return total(lot.remaining for lot in wallet.lots if usable_at(lot, at))


def balance(wallet: Wallet, at: datetime) -> Decimal:
    """Money that the credits are worth at `at`, rounded down to the currency's exponent."""
    return _round_down(sum((_value(wallet, lot) for lot in wallet.lots if usable_at(lot, at)), Fraction(0)), wallet)


def real_time_balance(wallet: Wallet, at: datetime, unpaid: Decimal, current_usage: Decimal) -> Decimal:
    """The balance less what is already owed: `unpaid` of earlier invoices and the running period's usage.

    Both in money, of the lines that the wallet pays. It may be below 0.
    """
    return total((balance(wallet, at), negated(unpaid), negated(current_usage)))


def usable_at(lot: CreditLot, at: datetime) -> bool:
    """Whether the lot is there at an instant: granted, and not yet expired."""
    return lot.granted_at <= at and (lot.expires_at is None or at < lot.expires_at)


def counts_for_invoice(lot: CreditLot, period_end: datetime) -> bool:
    """Whether the lot pays an invoice whose period ends at `period_end`: granted before it, not expired before it."""
    return lot.granted_at < period_end and (lot.expires_at is None or lot.expires_at >= period_end)


def in_draw_order(lots: Sequence[CreditLot]) -> tuple[CreditLot, ...]:
    """By priority (none is last), then what expires first, then the older, then the id."""

    def order(lot: CreditLot) -> tuple[int, bool, datetime, datetime, str]:
        priority = PRIORITY_LAST if lot.priority is None else lot.priority
        expires = lot.expires_at or lot.granted_at
        return priority, lot.expires_at is None, expires, lot.granted_at, lot.id

    return tuple(sorted(lots, key=order))


def credits_for(wallet: Wallet, amount: Decimal) -> Decimal:
    """The credits that are worth `amount` of money: what a carried credit or a refund adds."""
    return round_places(Fraction(amount) / Fraction(wallet.conversion_rate), CREDIT_PLACES)


def draw_for_invoice(wallet: Wallet, amount: Decimal, period_end: datetime) -> tuple[CreditDraw, ...]:
    """What the lots that count for an invoice pay of `amount`, at most the wallet's worth rounded down."""
    if wallet.status is not WalletStatus.active:
        return ()
    return _draw(wallet, [lot for lot in wallet.lots if counts_for_invoice(lot, period_end)], amount)


def draw_at(wallet: Wallet, amount: Decimal, at: datetime) -> tuple[CreditDraw, ...]:
    """What a POST_PAID wallet pays of `amount` at an instant, at most its worth rounded down."""
    if wallet.status is not WalletStatus.active:
        return ()
    return _draw(wallet, [lot for lot in wallet.lots if usable_at(lot, at)], amount)


def _draw(wallet: Wallet, lots: Sequence[CreditLot], amount: Decimal) -> tuple[CreditDraw, ...]:
    left = Fraction(min(amount, _round_down(sum((_value(wallet, lot) for lot in lots), Fraction(0)), wallet)))
    draws = []
    for lot in in_draw_order(lots):
        worth = _value(wallet, lot)
        taken = min(worth, left)
        if taken <= 0:
            continue
        part = Decimal(decimal_text(round_places(taken / Fraction(wallet.conversion_rate), CREDIT_PLACES)))
        credits = lot.remaining if taken == worth else min(part, lot.remaining)
        draws.append(CreditDraw(wallet.id, lot.id, credits, _exact_decimal(taken)))
        left -= taken
    return tuple(draws)


def _written(wallet: Wallet, entries: Sequence[LotEntry]) -> WalletChange:
    """The wallet with `entries` (all of lots that it has) written to it."""
    changes: dict[str, Decimal] = {}
    for entry in entries:
        changes[entry.lot_id] = total((changes.get(entry.lot_id, ZERO), entry.credits))
    lots = tuple(replace(lot, remaining=total((lot.remaining, changes.get(lot.id, ZERO)))) for lot in wallet.lots)
    return WalletChange(replace(wallet, lots=lots), tuple(entries))


def _value(wallet: Wallet, lot: CreditLot) -> Fraction:
    return Fraction(lot.remaining) * Fraction(wallet.conversion_rate)


def _exact_decimal(value: Fraction) -> Decimal:
    """A product of credits and a rate as a decimal, exactly: at most 15 + 15 digits after the point."""
    return Decimal(decimal_text(round_places(value, 2 * CREDIT_PLACES)))


def _round_down(value: Fraction, wallet: Wallet) -> Decimal:
    places = 10 ** exponent(wallet.currency)
    return round_amount(Fraction(value * places // 1, places), wallet.currency)


def require_active(wallet: Wallet, command: str) -> None:
    """Raises Conflict for a wallet that is frozen or closed."""
    if wallet.status is not WalletStatus.active:
        raise Conflict(f"{command} is not possible: wallet {wallet.id} is {wallet.status}", state=wallet.status)
