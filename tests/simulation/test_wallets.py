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


def test_transactions_are_worth_money_in_the_currencys_decimals() -> None:
    """35.25 credits at 0.7 are 24.675 and booked as 24.68; 35.25 yen as 35. The credits themselves stay as they are."""
    top_up = {"at": "2026-01-02T00:00:00Z", "do": "top_up", "wallet": "w", "credits": "0.5"}
    wallet = {"key": "w", "initial_credits": "35.25"}
    for currency, rate, worth in (("usd", "0.7", ["24.68", "0.35"]), ("jpy", "1", ["35", "1"])):
        rated = {**wallet, "conversion_rate": rate}
        story = document(wallets=[rated], actions=[top_up], currency=currency, until="2026-01-03T00:00:00Z")
        (found,) = simulate(story)["wallets"]
        assert [each["amount"] for each in found["transactions"]] == worth
        assert found["credit_balance"] == "35.75"


def test_what_lots_are_worth_adds_up_to_what_all_are() -> None:
    """Two lots of 0.5 yen are gone at once: together 1, the first of them 1 and the second nothing."""
    top_ups = [
        {"at": f"2026-01-0{day}T00:00:00Z", "do": "top_up", "wallet": "w", "credits": "0.5",
         "expiry_date_utc": "2026-01-10T00:00:00Z"}
        for day in (2, 3)
    ]  # fmt: skip
    story = document(wallets=[{"key": "w"}], actions=top_ups, currency="jpy", until="2026-01-20T00:00:00Z")
    expired = [each for each in simulate(story)["wallets"][0]["transactions"] if each["type"] == "debit"]
    assert [each["amount"] for each in expired] == ["1", "0"]


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
        (
            {"alert_settings": {"critical": {"threshold": "9"}, "warning": {"threshold": "5"}}},
            "wallets[0].alert_settings.critical.threshold",
        ),
        ({"topup_conversion_rate": "0"}, "wallets[0].topup_conversion_rate"),
        ({"initial_credits": "-1"}, "wallets[0].initial_credits"),
        (
            {"initial_credits_expiry_date_utc": "2026-02-01T00:00:00Z"},
            "wallets[0].initial_credits_expiry_date_utc",
        ),
        (
            {"initial_credits": "5", "initial_credits_expiry_date_utc": "2025-02-01T00:00:00Z"},
            "wallets[0].initial_credits_expiry_date_utc",
        ),
    ],
)
def test_what_a_wallet_cannot_do_is_refused_by_its_path(wallet: Json, path: str) -> None:
    with pytest.raises(Invalid) as refusal:
        simulate(document(wallets=[{"key": "w", **wallet}]))
    assert refusal.value.field == path


def test_there_is_one_wallet_of_a_type() -> None:
    with pytest.raises(Invalid) as refusal:
        simulate(document(wallets=[{"key": "a"}, {"key": "b"}]))
    assert refusal.value.field == "wallets[1].wallet_type"


def test_a_grant_cannot_have_another_rate_than_its_wallet() -> None:
    grant = {"key": "g", "credits": "5", "cadence": "ONETIME", "conversion_rate": "2"}
    story = document(wallets=[{"key": "w"}])
    story["subscription"]["credit_grants"] = [grant]
    with pytest.raises(Invalid) as refusal:
        simulate(story)
    assert refusal.value.field == "subscription.credit_grants[0].conversion_rate"


def watched(**wallet: Any) -> list[str]:
    """What the timeline says of a wallet with 6 credits of which 4 are used on 5 January."""
    usage = [{"meter": "calls", "at": "2026-01-05T00:00:00Z", "quantity": "8"}]
    story = document(
        wallets=[{"key": "w", "initial_credits": "6", **wallet}], usage=usage, until="2026-01-20T00:00:00Z"
    )
    return [each["event"] for each in simulate(story)["timeline"] if each["event"].startswith("wallet.")]


def test_a_wallet_is_filled_without_alerts_and_watched_without_being_filled() -> None:
    # the seat's 10 are not paid by a wallet for usage; 6 - 4 = 2
    assert watched(auto_topup={"threshold": "2", "amount": "5"}) == ["wallet.credited", "wallet.credited"]
    assert watched(auto_topup={"threshold": "1.99", "amount": "5"}) == ["wallet.credited"]
    alerts = {"info": {"threshold": "2"}}
    assert watched(alert_settings=alerts) == ["wallet.credited", "wallet.ongoing_balance.dropped"]
    assert watched(alert_settings={**alerts, "alert_enabled": False}) == ["wallet.credited"]


def test_what_a_commitment_is_short_of_is_owed_when_its_period_is_over_and_not_before() -> None:
    usage = [{"meter": "calls", "at": "2026-01-05T00:00:00Z", "quantity": "8"}]
    wallet = {"key": "w", "initial_credits": "20", "allowed_price_types": ["USAGE"]}
    story = document(wallets=[wallet], usage=usage)
    story["subscription"]["commitment"] = {"commitment_amount": "15", "enable_true_up": True}

    def balance(until: str) -> str:
        found: str = simulate({**story, "until": until})["wallets"][0]["real_time_balance"]
        return found

    # 4 of 15 are used; the draft of January asks for 15, and so does the invoice
    assert balance("2026-01-20T00:00:00Z") == "16"
    assert balance("2026-02-01T01:00:00Z") == "5"
    assert balance("2026-02-01T03:00:00Z") == "5"


ALL = {"key": "w", "allowed_price_types": ["USAGE", "FIXED"], "topup_conversion_rate": "0.5"}
BUY = {"at": "2026-01-02T00:00:00Z", "do": "top_up", "wallet": "w", "credits": "8",
       "transaction_reason": "PURCHASED_CREDIT_INVOICED"}  # fmt: skip


def later(do: str, **parts: Any) -> dict[str, Any]:
    return {"at": "2026-01-03T00:00:00Z", "do": do, **parts}


def bought(*actions: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """8 credits at 0.5 by an invoice of 4; the provider never gets an answer unless `parts` say so."""
    told = {"payments": ["requires_action"] * 9, "until": "2026-01-20T00:00:00Z", "usage": [], **parts}
    return simulate(document(wallets=[ALL], actions=[BUY, *actions], **told))


def of_purchases(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (each["invoice_status"], each["payment_status"], each["total"])
        for each in result["invoices"]
        if each["billing_reason"] == "MANUAL"
    ]


def credits(result: dict[str, Any], wallet: int = 0) -> list[tuple[str, str]]:
    found = result["wallets"][wallet]["transactions"]
    return [(each["transaction_reason"], each["credit_amount"]) for each in found]


def test_invoiced_credits_come_when_their_invoice_is_paid_and_are_owed_by_no_wallet() -> None:
    result = bought()
    assert of_purchases(result) == [("FINALIZED", "PENDING", "4")]
    (line,) = result["invoices"][-1]["lines"]
    assert (line["kind"], line["price"], line["quantity"], line["amount"]) == ("credits", None, "8", "4")
    other = simulate(document(wallets=[ALL], payments=["requires_action"] * 9, until="2026-01-20T00:00:00Z", usage=[]))
    assert result["wallets"][0]["real_time_balance"] == other["wallets"][0]["real_time_balance"]
    assert credits(result) == []
    paid = bought(payments=[])
    assert credits(paid) == [("PURCHASED_CREDIT_INVOICED", "8")]
    assert [each["event"] for each in paid["timeline"]].count("invoice.paid") == len(paid["invoices"])


def test_neither_coupons_nor_taxes_nor_wallets_lower_an_invoice_for_credits() -> None:
    subscription = {**document()["subscription"], "coupons": ["half"], "tax_rates": ["vat"]}
    result = bought(
        coupons=[{"key": "half", "type": "percentage", "percentage_off": "50", "cadence": "forever"}],
        tax_rates=[{"key": "vat", "type": "percentage", "percentage_value": "20"}],
        subscription=subscription,
        payments=[],
    )
    assert of_purchases(result) == [("FINALIZED", "SUCCEEDED", "4")]
    beside = {"key": "p", "wallet_type": "POST_PAID", "initial_credits": "99"}
    result = simulate(document(wallets=[ALL, beside], actions=[BUY], usage=[], until="2026-01-20T00:00:00Z"))
    purchase = next(each for each in result["invoices"] if each["billing_reason"] == "MANUAL")
    assert [each["amount"] for each in purchase["attempts"]] == ["4"]


def test_a_void_or_a_part_paid_invoice_for_credits_gives_back_the_money_and_no_credits() -> None:
    place = len(bought()["invoices"]) - 1
    result = bought(later("pay", invoice=place, amount="1"), later("void_invoice", invoice=place))
    assert of_purchases(result) == [("VOIDED", "VOIDED", "4")]
    assert credits(result) == [("INVOICE_VOID_REFUND", "1")]


def test_credits_that_came_are_not_refunded_but_by_a_debit() -> None:
    place = len(bought()["invoices"]) - 1
    note = later("credit_note", invoice=place, type="REFUND", amount="4")
    result = bought(later("void_invoice", invoice=place), note, payments=[])
    assert [each["code"] for each in result["refused"]] == ["conflict", "conflict"]
    assert credits(result) == [("PURCHASED_CREDIT_INVOICED", "8")]


def test_credits_that_are_adjusted_come_at_their_new_price() -> None:
    place = len(bought()["invoices"]) - 1
    result = bought(later("credit_note", invoice=place, type="ADJUSTMENT", amount="4"))
    assert of_purchases(result) == [("FINALIZED", "SUCCEEDED", "4")]
    assert credits(result) == [("PURCHASED_CREDIT_INVOICED", "8")]


@pytest.mark.parametrize(("amount", "given"), [("4", [("CREDIT_ADJUSTMENT", "4")]), (None, [])])
def test_money_for_credits_of_a_closed_wallet_is_the_customers(amount: str | None, given: list[Any]) -> None:
    place = len(bought()["invoices"]) - 1
    end = {"at": "2026-01-02T12:00:00Z", "do": "terminate_wallet", "wallet": "w"}
    settle = (
        later("credit_note", invoice=place, type="ADJUSTMENT", amount="4")
        if amount is None
        else later("pay", invoice=place, amount=amount)
    )
    result = bought(end, settle)
    assert credits(result) == []
    assert [credits(result, place) for place in range(1, len(result["wallets"]))] == ([given] if given else [])
    refused = bought({**end, "at": "2026-01-01T00:00:00Z"})
    assert [each["code"] for each in refused["refused"]] == ["conflict"]


def test_an_invoice_for_credits_that_is_never_paid_is_nothing_to_the_subscription() -> None:
    declined = {"outcome": "declined", "kind": "soft"}
    plain = len(bought()["invoices"]) - 1
    result = bought(
        payments=["succeeded"] * plain + [declined] * 9, settings={"dunning_days": [1, 2]}, until="2026-01-25T00:00:00Z"
    )
    assert of_purchases(result) == [("FINALIZED", "FAILED", "4")]
    assert result["subscription"]["status"] == "active"
