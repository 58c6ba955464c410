"""The judge of the fault driver finds what is planted: a verdict that nothing could spoil would say nothing."""

import random
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from billing.ledger import ACCOUNTS_RECEIVABLE, CUSTOMER_CREDIT, REFUNDS, REFUNDS_PAYABLE, cash_in_transit
from tests.faults.driver import judge, money_back, stories
from tests.faults.driver.judge import Facts
from tests.faults.driver.money_back import GivenBack, MoneyBack
from tests.faults.driver.player import Outcome

ONE = Decimal(5)


def invoice(number: int) -> Any:
    """Paid by card: 5 dollars."""
    return SimpleNamespace(
        id=f"inv_{number}", invoice_number=f"INV-202601-{number:05d}", invoice_status="FINALIZED", currency="usd",
        finalized_at="then", amount_due=ONE, amount_paid=ONE, adjustment_amount=Decimal(0),
        uncollectible=False,
    )  # fmt: skip


def entry(transaction: str, account: str, debit: Decimal, credit: Decimal) -> Any:
    """One posting."""
    return SimpleNamespace(transaction_id=transaction, account=account, currency="usd", debit=debit, credit=credit)


def facts() -> Facts:
    """Two invoices, as they should be."""
    paid = {"status": "succeeded", "amount": "5", "currency": "usd"}
    entries = [
        posting
        for name in ("t1", "t2")
        for posting in (
            entry(name, ACCOUNTS_RECEIVABLE, ONE, ONE),
            entry(name, cash_in_transit("sandbox"), ONE, Decimal(0)),
            entry(name, "revenue", Decimal(0), ONE),
        )
    ]
    told = [
        SimpleNamespace(id=f"evt_{number}", event_type="invoice.update.finalized", entity_id=f"inv_{number}")
        for number in (1, 2)
    ]
    return Facts(
        invoices=[invoice(1), invoice(2)],
        entries=entries,
        currencies={"t1": "usd", "t2": "usd"},
        events=told,  # type: ignore[arg-type]
        deliveries=[],
        charges={"inv_1": [dict(paid)], "inv_2": [dict(paid)]},
        back=MoneyBack([], [], [], [], [], [], [], [], []),
    )


def money_given_back() -> MoneyBack:
    """A credit note of 3 dollars that went to the wallet, and 2 that went to the card."""
    note = SimpleNamespace(
        id="cn_1", credit_note_number="CN-202601-00001", credit_note_status="FINALIZED", credit_note_type="REFUND",
        total_amount=Decimal(3),
    )  # fmt: skip
    refund = SimpleNamespace(
        id="re_1", amount=Decimal(2), currency="usd", refund_status="SUCCEEDED", attempt_id="a", failure_reason=None
    )
    posted = SimpleNamespace(id="t3", kind="credit_note_refunded", reference="cn_1", customer_id="cust_1")
    told = [SimpleNamespace(event_type=f"credit_note.{name}", entity_id="cn_1") for name in ("created", "updated")]
    return MoneyBack(
        notes=[note],  # type: ignore[list-item]
        lines=[SimpleNamespace(credit_note_id="cn_1", amount=Decimal(3))],  # type: ignore[list-item]
        transactions=[posted],  # type: ignore[list-item]
        entries=[entry("t3", REFUNDS, Decimal(3), Decimal(0)), entry("t3", CUSTOMER_CREDIT, Decimal(0), Decimal(3))],
        events=told,  # type: ignore[arg-type]
        refunds=[refund],  # type: ignore[list-item]
        wallets=[SimpleNamespace(id="w", customer_id="cust_1", conversion_rate=1, currency="usd")],  # type: ignore[list-item]
        lots=[SimpleNamespace(wallet_id="w", remaining=Decimal(3))],  # type: ignore[list-item]
        given_back=[GivenBack("re_1", "ch_1", Decimal(2), "usd")],
    )


def found_back(what: MoneyBack) -> list[str]:
    """Everything that the laws of credit notes and refunds say."""
    laws = (money_back.notes(what), money_back.refunds(what), money_back.credit(what))
    return [problem for law in laws for problem in law]


def receiver(*ids: str) -> Any:
    """A tenant that received these."""
    return SimpleNamespace(received=lambda: Counter(ids))


def found(what: Facts, *received: str) -> list[str]:
    """Everything that the laws of a tenant say."""
    laws = (
        judge.numbers(row.invoice_number for row in what.invoices), judge.money(what, []), judge.ledger(what),
        judge.webhooks(what, receiver(*(received or ("evt_1", "evt_2")))),
    )  # fmt: skip
    return [problem for law in laws for problem in law if "successful charges" not in problem]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found(facts()) == []


def test_a_gap_in_the_numbers_is_found() -> None:
    assert "202601" in found(replace(facts(), invoices=[invoice(1), invoice(3)]))[0]


def test_money_taken_twice_or_for_nothing_is_found() -> None:
    twice = facts()
    twice.charges["inv_1"] *= 2
    assert any("charged 2 times" in problem for problem in found(twice))
    assert any("cash in transit" in problem for problem in found(twice))
    unknown = facts()
    unknown.charges["inv_9"] = unknown.charges.pop("inv_1")
    assert any("inv_9, which does not exist" in problem for problem in found(unknown))


def test_a_ledger_that_does_not_balance_or_agree_is_found() -> None:
    lame = facts()
    lame.entries[0].debit = Decimal(6)
    assert any("debits of 11" in problem for problem in found(lame))
    owing = facts()
    owing.invoices[0].amount_paid = Decimal(1)
    assert found(owing) == ["accounts_receivable is 0 usd, and 4 is owed"]
    owing.invoices[0].uncollectible = True
    assert found(owing) == ["bad_debt is 0 usd, and 4 is written off"]


@pytest.mark.parametrize(
    ("received", "words"), [(("evt_1",), "lost: ['evt_2']"), (("evt_1", "evt_2", "evt_3"), "unknown: ['evt_3']")]
)
def test_webhooks_that_are_lost_or_unknown_are_found(received: tuple[str, ...], words: str) -> None:
    assert words in found(facts(), *received)[0]


def test_an_invoice_announced_twice_is_found() -> None:
    twice = facts()
    twice.events[1].entity_id = "inv_1"
    assert any("more than once: {'inv_1': 1}" in problem for problem in found(twice))


def test_an_alert_that_is_missing_or_told_at_another_instant_is_found() -> None:
    """One year in which a balance falls, told as the simulator tells it, then an hour late, then not at all."""
    story = stories.story("31/0/0", stories.settings_of_tenant(random.Random(1)), 5)
    expected = [each for each in story.expected["timeline"] if each["event"].startswith(judge.ALERT)]
    assert expected
    outcome = Outcome(story, 0, wallets={"wallet_1": "w"})

    def told(late: timedelta) -> Facts:
        alerts = [
            SimpleNamespace(
                event_type=each["event"], entity_id=f"wallet_1/{each['at']}",
                occurred_at=datetime.fromisoformat(each["at"]) + late,
            )
            for each in expected
        ]  # fmt: skip
        return replace(facts(), events=alerts)  # type: ignore[arg-type]

    assert list(judge.alerts(told(timedelta()), [outcome])) == []
    assert len(list(judge.alerts(told(timedelta(hours=1)), [outcome]))) == 1
    assert len(list(judge.alerts(facts(), [outcome]))) == 1


def test_a_charge_that_the_simulator_does_not_have_is_found() -> None:
    told = stories.story("1/1", stories.settings_of_tenant(random.Random(1)), 3)
    assert any("successful charges" in problem for problem in judge.money(facts(), [Outcome(told, 0)]))
    assert judge.of_story(Outcome(told, 0, stopped="it stands")) == ["year 1/1: the stack did not go on: it stands"]


def test_nothing_is_found_where_all_money_went_back_once() -> None:
    assert found_back(money_given_back()) == []


def test_a_note_that_is_lost_posted_twice_or_not_announced_is_found() -> None:
    assert list(judge.numbers(["CN-202601-00001", "CN-202601-00003", None])) == ["the numbers of 202601 are [1, 3]"]
    left = money_given_back()
    left.notes[0].credit_note_status = "DRAFT"
    assert found_back(left) == ["credit note cn_1 was left DRAFT"]
    for spoil, words in (
        ({"lines": []}, "its lines add up to 0"),
        ({"transactions": []}, "is posted as 0"),
        ({"events": money_given_back().events[:1]}, "announced 1 and 0 times"),
        ({"notes": []}, "do not exist: ['cn_1']"),
    ):
        assert any(words in problem for problem in found_back(replace(money_given_back(), **spoil))), words


def test_money_given_back_twice_or_not_at_all_is_found() -> None:
    good = money_given_back()
    twice = replace(good, given_back=[*good.given_back, GivenBack("re_2", "ch_1", Decimal(2), "usd")])
    assert "by the company alone: {('re_2', Decimal('2')): 1}" in found_back(twice)[0]
    assert "by our books alone" in found_back(replace(good, given_back=[]))[0]
    waits = money_given_back()
    waits.refunds[0].refund_status = "FAILED"
    assert any("is FAILED" in problem for problem in found_back(waits))
    payable = replace(good, entries=[*good.entries, entry("t4", REFUNDS_PAYABLE, Decimal(0), Decimal(1))])
    assert any("refunds_payable is -1" in problem for problem in found_back(payable))


def test_credit_that_came_twice_is_found() -> None:
    twice = money_given_back()
    twice.lots[0].remaining = Decimal(6)
    assert found_back(twice) == ["customer cust_1 has 6 in wallets, and 3 in the ledger"]


def test_cash_that_went_back_is_not_missed() -> None:
    back = replace(facts(), back=money_given_back())
    assert found(back) == ["cash in transit is 10 usd, and the company took 10 and gave back 2"]
