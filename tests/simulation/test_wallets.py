"""Wallets in a story: what a POST_PAID one pays, and what a balance says at any time."""

from typing import Any

import pytest

from billing.errors import Invalid
from billing.simulation.simulate import simulate
from tests.simulation.documents import Json, document


def postpaid(*types: str, **parts: Any) -> Json:
    """10 of seats and 4 of usage a month, paid afterwards by a wallet with 6 credits for some lines."""
    wallet = {"key": "later", "wallet_type": "POST_PAID", "initial_credits": "6", "allowed_price_types": list(types)}
    usage = [{"meter": "calls", "at": "2026-01-05T00:00:00Z", "quantity": "8"}]
    return document(wallets=[wallet], usage=usage, **parts)


def test_what_the_wallet_paid_of_its_lines_it_does_not_pay_again() -> None:
    # usage 4: the wallet pays 4 of the second invoice, its charge is declined, and 10 are left for the provider
    story = postpaid("USAGE", payments=["succeeded", {"outcome": "declined", "kind": "soft"}])
    result = simulate(story)
    assert [attempt["amount"] for attempt in result["invoices"][1]["attempts"]] == ["10", "10"]
    assert result["wallets"][0]["balance"] == "2"


def test_a_wallet_for_fixed_lines_owes_no_usage() -> None:
    (wallet,) = simulate({**postpaid("FIXED"), "until": "2026-01-20T00:00:00Z"})["wallets"]
    assert (wallet["balance"], wallet["real_time_balance"]) == ("0", "0")
    (other,) = simulate({**postpaid("USAGE"), "until": "2026-01-20T00:00:00Z"})["wallets"]
    assert (other["balance"], other["real_time_balance"]) == ("6", "2")


def test_what_a_credit_note_took_off_is_not_owed() -> None:
    wallet = {"key": "w", "wallet_type": "PRE_PAID", "initial_credits": "4", "allowed_price_types": ["ALL"]}
    note = {"at": "2026-01-02T00:00:00Z", "do": "credit_note", "invoice": 0, "type": "ADJUSTMENT", "amount": "2"}
    declined = {"outcome": "declined", "kind": "hard"}
    story = document(wallets=[wallet], payments=[declined], actions=[note], until="2026-01-20T00:00:00Z")
    # a seat of 10: 4 by credits, 2 off by the note, 4 are owed
    assert simulate(story)["wallets"][0]["real_time_balance"] == "-4"


def test_free_credits_and_a_bonus_come_with_their_reasons_and_expiries() -> None:
    free = {"at": "2026-01-02T00:00:00Z", "do": "top_up", "wallet": "w", "credits": "5",
            "transaction_reason": "FREE_CREDIT_GRANT"}  # fmt: skip
    bonus = {"at": "2026-01-03T00:00:00Z", "do": "top_up", "wallet": "w", "credits": "10", "bonus_credits_to_add": "2",
             "bonus_credits_expiry_date_utc": "2026-01-10T00:00:00Z"}  # fmt: skip
    wrong = {**free, "at": "2026-01-04T00:00:00Z", "bonus_credits_to_add": "1"}
    result = simulate(document(wallets=[{"key": "w"}], actions=[free, bonus, wrong], until="2026-01-20T00:00:00Z"))
    assert [(each["transaction_reason"], each["credit_amount"]) for each in result["wallets"][0]["transactions"]] == [
        ("FREE_CREDIT_GRANT", "5"), ("PURCHASED_CREDIT_DIRECT", "10"), ("PURCHASED_CREDIT_BONUS", "2"),
        ("CREDIT_EXPIRED", "2"),
    ]  # fmt: skip
    assert [(each["action"], each["message"]) for each in result["refused"]] == [
        (2, "bonus_credits_to_add must be absent: free credits have no bonus")
    ]


@pytest.mark.parametrize(
    ("wallet", "path"),
    [
        ({"auto_topup": {"threshold": "5", "amount": "0"}}, "wallets[0].auto_topup.amount"),
        ({"auto_topup": {"threshold": "5", "amount": "9", "invoicing": True}}, "wallets[0].auto_topup.invoicing"),
        (
            {"alert_settings": {"critical": {"threshold": "9"}, "warning": {"threshold": "5"}}},
            "wallets[0].alert_settings.critical.threshold",
        ),
        ({"topup_conversion_rate": "0"}, "wallets[0].topup_conversion_rate"),
    ],
)
def test_what_a_wallet_cannot_do_is_refused_by_its_path(wallet: Json, path: str) -> None:
    with pytest.raises(Invalid) as refusal:
        simulate(document(wallets=[{"key": "w", **wallet}]))
    assert refusal.value.field == path
