"""Money beyond an invoice on its way back out of a wallet."""

from decimal import Decimal

from billing.wallets import (
    CreditLot,
    EntryReason,
    Wallet,
    WalletType,
    credit_balance,
    take_back,
    worth_of,
    worth_of_credits,
)

from .builders import utc

JANUARY, FEBRUARY = utc("2025-01-01"), utc("2025-02-01")


def test_money_goes_back_out_of_the_lots_that_it_made_only() -> None:
    """15 of money beyond an invoice made 30 credits; 12 of them are left, worth 6."""
    wallet = Wallet("w", WalletType.PRE_PAID, "usd", Decimal("0.5"), lots=(
        CreditLot("paid", Decimal(30), Decimal(12), JANUARY), CreditLot("other", Decimal(10), Decimal(10), JANUARY),
    ))  # fmt: skip
    assert worth_of(wallet, {"paid"}) == 6
    assert worth_of(wallet, {"none"}) == 0
    change = take_back(wallet, {"paid"}, Decimal("2.5"), FEBRUARY, "refund_1")
    (entry,) = change.entries
    assert (entry.lot_id, entry.credits, entry.reason, entry.reference) == (
        "paid", Decimal(-5), EntryReason.adjustment, "refund_1",
    )  # fmt: skip
    assert credit_balance(change.wallet, FEBRUARY) == 17


def test_credits_are_worth_what_they_pay() -> None:
    """Rounded down, as a wallet pays no more than it has."""
    wallet = Wallet("w", WalletType.PRE_PAID, "usd", Decimal("0.333"))
    assert worth_of_credits(wallet, Decimal(5)) == Decimal("1.66")
