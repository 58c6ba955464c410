"""Top-ups of every kind, automatic ones, and alerts of a balance: when, how much, and at what price."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.auto_topups import AutoTopUp, LastAutoTopUp, due_top_up
from billing.balance_alerts import (
    AlertChange,
    AlertCondition,
    AlertSettings,
    AlertState,
    AlertThreshold,
    alert_change,
    alert_state,
)
from billing.errors import Conflict, Invalid
from billing.invoices import InvoiceInputs, build_final_invoice
from billing.ledger import CREDITS_SOLD, CUSTOMER_CREDIT, post_finalized
from billing.terms import BillingReason, LineKind
from billing.top_ups import TopUp, TopUpKind, credited, invoice_for, price_of, require_unfilled
from billing.wallet_payments import payable_of
from billing.wallet_postings import CreditSource, post_top_up
from billing.wallets import AllowedPriceTypes, CreditLot, EntryReason, Wallet, WalletStatus, WalletType, balance

from .builders import utc

NOW = utc("2025-02-01")
WALLET = Wallet("w", WalletType.PRE_PAID, "usd", Decimal(1), topup_conversion_rate=Decimal("0.9"))
BOUGHT = TopUp("t", TopUpKind.direct, Decimal("33.335"))
FILL = AutoTopUp(Decimal(10), Decimal(45), cooldown=3600)


def below(threshold: str) -> AlertThreshold:
    return AlertThreshold(Decimal(threshold))


def above(threshold: str) -> AlertThreshold:
    return AlertThreshold(Decimal(threshold), AlertCondition.above)


REFUSED: list[tuple[Callable[[], object], str, str]] = [
    (lambda: replace(BOUGHT, credits=Decimal(0)), "credits", "credits must be above 0; got 0"),
    (
        lambda: replace(BOUGHT, bonus_credits=Decimal(-1)),
        "bonus_credits_to_add",
        "bonus_credits_to_add must be 0 or more; got -1",
    ),
    (
        lambda: TopUp("t", TopUpKind.free, Decimal(1), bonus_credits=Decimal(1)),
        "bonus_credits_to_add",
        "bonus_credits_to_add must be absent: free credits have no bonus",
    ),
    (
        lambda: replace(BOUGHT, bonus_expires_at=NOW),
        "bonus_credits_expiry_date_utc",
        "bonus_credits_expiry_date_utc must be absent without bonus_credits_to_add",
    ),
    (
        lambda: credited(WALLET, replace(BOUGHT, expires_at=NOW), NOW),
        "expiry_date_utc",
        "expiry_date_utc must be after the credits are granted",
    ),
    (
        lambda: replace(WALLET, topup_conversion_rate=Decimal(0)),
        "topup_conversion_rate",
        "topup_conversion_rate must be above 0; got 0",
    ),
    (lambda: AutoTopUp(Decimal(1), Decimal(0)), "amount", "amount must be above 0; got 0"),
    (lambda: AutoTopUp(Decimal(1), Decimal(1), cooldown=-1), "cooldown", "cooldown must be 0 or more seconds; got -1"),
    (
        lambda: AlertSettings(critical=below("10"), warning=below("5")),
        "critical.threshold",
        "critical.threshold must not be reached before that of warning, 5",
    ),
    (
        lambda: AlertSettings(critical=below("10"), info=below("5")),
        "critical.threshold",
        "critical.threshold must not be reached before that of info, 5",
    ),
    (
        lambda: AlertSettings(warning=below("5"), info=above("10")),
        "warning.condition",
        "warning.condition must be that of info: above",
    ),
    (
        lambda: AlertSettings(warning=above("5"), info=above("10")),
        "warning.threshold",
        "warning.threshold must not be reached before that of info, 10",
    ),
]


@pytest.mark.parametrize(("make", "field", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], field: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        make()
    assert (refused.value.field, refused.value.message) == (field, message)


@pytest.mark.parametrize(
    ("kind", "price", "reason"),
    [
        (TopUpKind.free, "0", EntryReason.free),
        (TopUpKind.direct, "30.00", EntryReason.purchased),  # 33.335 x 0.9 = 30.0015
        (TopUpKind.by_invoice, "30.00", EntryReason.purchased_by_invoice),
    ],
)
def test_each_kind_has_its_price_and_its_reason(kind: TopUpKind, price: str, reason: EntryReason) -> None:
    asked = replace(BOUGHT, kind=kind)
    assert price_of(WALLET, asked) == Decimal(price)
    (entry,) = credited(WALLET, asked, NOW).entries
    assert (entry.reason, entry.credits, entry.at) == (reason, Decimal("33.335"), NOW)
    # without a rate of its own a credit costs what it is worth
    plain = replace(WALLET, topup_conversion_rate=None, conversion_rate=Decimal(2))
    assert price_of(plain, replace(BOUGHT, credits=Decimal(5))) == Decimal(10)


def test_a_bonus_is_a_lot_of_its_own_with_its_own_expiry() -> None:
    bonus = replace(BOUGHT, bonus_credits=Decimal(3), bonus_expires_at=utc("2025-03-01"), priority=2)
    change = credited(WALLET, bonus, NOW)
    assert [(entry.lot_id, entry.reason) for entry in change.entries] == [
        ("t", EntryReason.purchased), ("t/bonus", EntryReason.bonus),
    ]  # fmt: skip
    assert [(lot.expires_at, lot.priority) for lot in change.wallet.lots] == [(None, 2), (utc("2025-03-01"), 2)]
    assert price_of(WALLET, bonus) == price_of(WALLET, BOUGHT)
    assert balance(change.wallet, NOW) == Decimal("36.33")
    with pytest.raises(Conflict):
        credited(replace(WALLET, status=WalletStatus.closed), bonus, NOW)


@pytest.mark.parametrize(
    ("settings", "wallet", "now", "last", "fires"),
    [
        (FILL, WALLET, "10", None, True),
        (FILL, WALLET, "-3", None, True),
        (FILL, WALLET, "10.01", None, False),
        (replace(FILL, enabled=False), WALLET, "0", None, False),
        (FILL, replace(WALLET, status=WalletStatus.frozen), "0", None, False),
        (FILL, replace(WALLET, wallet_type=WalletType.POST_PAID), "0", None, False),
        (FILL, WALLET, "0", LastAutoTopUp(utc("2025-01-31T23:00")), True),  # an hour ago, to the second
        (FILL, WALLET, "0", LastAutoTopUp(utc("2025-01-31T23:00:01")), False),
        (FILL, WALLET, "0", LastAutoTopUp(utc("2025-01-01"), pending=True), False),
    ],
)
def test_when_a_wallet_is_filled(
    settings: AutoTopUp, wallet: Wallet, now: str, last: LastAutoTopUp | None, fires: bool
) -> None:
    found = due_top_up(settings, wallet, Decimal(now), NOW, last, "auto/1")
    # 45 of money buy 50 credits at 0.9
    assert found == (TopUp("auto/1", TopUpKind.direct, Decimal(50)) if fires else None)


def test_an_automatic_top_up_can_go_by_invoice() -> None:
    found = due_top_up(replace(FILL, invoicing=True), WALLET, Decimal(0), NOW, None, "auto/1")
    assert found is not None
    assert (found.kind, price_of(WALLET, found)) == (TopUpKind.by_invoice, Decimal(45))


@given(st.decimals("0.001", 10**4, places=3), st.decimals("0.001", 50, places=3))
def test_the_invoice_for_credits_is_their_price(amount: Decimal, rate: Decimal) -> None:
    wallet = replace(WALLET, topup_conversion_rate=rate)
    asked = TopUp("t", TopUpKind.by_invoice, amount)
    due = invoice_for(wallet, asked, NOW, BillingReason.WALLET_AUTO_TOPUP)
    invoice = build_final_invoice(InvoiceInputs("usd", due))
    assert invoice.total == price_of(wallet, asked)
    (line,) = invoice.lines
    assert (line.kind, line.price_id, line.quantity) == (LineKind.credits, None, amount)
    assert not due.has_usage
    assert {payable_of(invoice, invoice.total, Decimal(0), each) for each in AllowedPriceTypes} == {Decimal(0)}


def test_invoiced_credits_are_no_revenue() -> None:
    """45 are owed for 50 credits worth 50: once paid, the customer has 50, of which 5 are promotion."""
    asked = TopUp("t", TopUpKind.by_invoice, Decimal(50))
    due = invoice_for(WALLET, asked, NOW, BillingReason.WALLET_AUTO_TOPUP)
    sold = post_finalized("inv_1", build_final_invoice(InvoiceInputs("usd", due)))
    assert [(each.account, each.debit, each.credit) for each in sold.entries] == [
        ("accounts_receivable", Decimal(45), Decimal(0)), (CREDITS_SOLD, Decimal(0), Decimal(45)),
    ]  # fmt: skip
    came = post_top_up("t", CreditSource.invoiced, Decimal(50), Decimal(45), "usd")
    assert [(each.account, each.debit, each.credit) for each in came.entries] == [
        (CUSTOMER_CREDIT, Decimal(0), Decimal(50)), (CREDITS_SOLD, Decimal(45), Decimal(0)),
        ("promotions", Decimal(5), Decimal(0)),
    ]  # fmt: skip


def test_what_the_wallet_has_is_not_taken_back_by_its_invoice() -> None:
    require_unfilled(paid=False, command="void")
    with pytest.raises(
        Conflict, match="void is not possible: the credits that the invoice sold are in the wallet"
    ) as no:
        require_unfilled(paid=True, command="void")
    assert no.value.state == "credited"


WATCHED = AlertSettings(critical=below("0"), warning=below("10"), info=below("25"))


@pytest.mark.parametrize(
    ("settings", "now", "state"),
    [
        (WATCHED, "25.01", AlertState.ok),
        (WATCHED, "25", AlertState.info),
        (WATCHED, "10", AlertState.warning),
        (WATCHED, "0", AlertState.in_alarm),
        (replace(WATCHED, alert_enabled=False), "0", AlertState.ok),
        (AlertSettings(warning=above("100")), "99.99", AlertState.ok),
        (AlertSettings(warning=above("100"), info=above("50")), "100", AlertState.warning),
        (AlertSettings(), "-5", AlertState.ok),
    ],
)
def test_the_state_of_a_balance(settings: AlertSettings, now: str, state: AlertState) -> None:
    assert alert_state(settings, Decimal(now)) is state


def test_only_a_change_of_state_is_told() -> None:
    worse = AlertChange(AlertState.ok, AlertState.warning, "wallet.ongoing_balance.dropped")
    better = AlertChange(AlertState.in_alarm, AlertState.info, "wallet.ongoing_balance.recovered")
    assert alert_change(WATCHED, Decimal(5), AlertState.ok) == worse
    assert alert_change(WATCHED, Decimal(20), AlertState.in_alarm) == better
    assert alert_change(WATCHED, Decimal(7), AlertState.warning) is None


@given(st.lists(st.decimals(-50, 50, places=2), max_size=20))
def test_alerts_alternate_and_end_in_the_state_of_the_last_balance(balances: list[Decimal]) -> None:
    state, told = AlertState.ok, []
    for one in balances:
        change = alert_change(WATCHED, one, state)
        if change is not None:
            assert change.before is state
            told.append(change)
            state = change.after
    assert state is (alert_state(WATCHED, balances[-1]) if balances else AlertState.ok)
    assert all(first.after is second.before for first, second in pairwise(told))


@given(st.decimals("0.01", 10**6, places=2), st.decimals("0.001", 50, places=3))
def test_an_automatic_top_up_costs_its_amount(amount: Decimal, rate: Decimal) -> None:
    wallet = replace(WALLET, topup_conversion_rate=rate, lots=(CreditLot("a", Decimal(1), Decimal(1), NOW),))
    found = due_top_up(AutoTopUp(Decimal(0), amount), wallet, Decimal(0), NOW, None, "auto/1")
    assert found is not None
    assert price_of(wallet, found) == amount
