"""The judge of the fault driver finds what is planted: a verdict that nothing could spoil would say nothing."""

import random
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from billing.ledger import ACCOUNTS_RECEIVABLE, cash_in_transit
from tests.faults.driver import judge, stories
from tests.faults.driver.judge import Facts
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
    )


def receiver(*ids: str) -> Any:
    """A tenant that received these."""
    return SimpleNamespace(received=lambda: Counter(ids))


def found(what: Facts, *received: str) -> list[str]:
    """Everything that the laws of a tenant say."""
    laws = (
        judge.numbers(what), judge.money(what, []), judge.ledger(what),
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
    story = stories.story("31/4/0", stories.settings_of_tenant(random.Random(1)), 5)
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
