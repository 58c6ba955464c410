"""Postings balance; deferred revenue is released or taken back to the cent; a void leaves only what was paid."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import Conflict, InvariantBroken
from billing.invoices import billed_line, build_final_invoice, build_invoice
from billing.ledger import (
    Entry,
    Posting,
    PostingKind,
    cash_in_transit,
    deferred_amount,
    post_dispute_lost,
    post_finalized,
    post_payment,
    post_recovered,
    post_refund,
    post_void,
    post_written_off,
    release_deferred,
    reversed_amount,
    written_off,
)
from billing.money import minus, total
from billing.terms import DueLine, LineKind
from billing.voids import credits_given
from billing.wallet_postings import post_paid_by_wallet, post_taken_for_refund

from .builders import credit_due, fixed_due, inputs, seat, snapshot, span, talk, tax, usage_due, utc


def balances(postings: Iterable[Posting]) -> dict[str, str]:
    """Credit balance of each account that is not 0."""
    sums: dict[str, Decimal] = {}
    for posting in postings:
        for entry in posting.entries:
            sums[entry.account] = total((sums.get(entry.account, Decimal(0)), minus(entry.credit, entry.debit)))
    return {account: str(amount) for account, amount in sorted(sums.items()) if amount}


def test_finalize_pay_release() -> None:
    period = span("2025-01-31", "2025-02-28")
    invoice = build_final_invoice(
        inputs(fixed_due(seat()), usage_due(talk()), taxes=(tax(),), usage=(snapshot("meter_talk", period, "10000"),))
    )
    finalized = post_finalized("inv_1", invoice)
    # 62.50 in advance, 15.00 of usage, 18 % of 77.50 = 13.95
    assert balances([finalized]) == {
        "accounts_receivable": "-91.45", "deferred_revenue": "62.50", "revenue": "15.00", "tax_payable": "13.95",
    }  # fmt: skip
    paid = post_payment("pay_1", "sandbox", invoice.total, "usd")
    seat_line = invoice.lines[0]
    with pytest.raises(Conflict):
        release_deferred("li_1", seat_line, Decimal(0), utc("2025-03-30"))
    released = release_deferred("li_1", seat_line, Decimal(0), utc("2025-03-31"))
    assert released is not None
    assert balances([finalized, paid, released]) == {
        cash_in_transit("sandbox"): "-91.45", "revenue": "77.50", "tax_payable": "13.95",
    }  # fmt: skip


def test_inclusive_tax_is_not_revenue() -> None:
    invoice = build_invoice(inputs(fixed_due(seat("118"), quantity="1"), taxes=(tax("18", inclusive=True),)))
    assert balances([post_finalized("inv_1", invoice)]) == {
        "accounts_receivable": "-118.00", "deferred_revenue": "100.00", "tax_payable": "18.00",
    }  # fmt: skip


def test_carried_credit_goes_to_the_customer_with_its_tax() -> None:
    invoice = build_invoice(inputs(credit_due("100", Fraction(1, 2), exclusive_tax="18"), taxes=(tax("18"),)))
    assert balances([post_finalized("inv_2", invoice)]) == {
        "customer_credit": "59.00", "deferred_revenue": "-50.00", "tax_payable": "-9.00",
    }  # fmt: skip


def test_carried_inclusive_credit() -> None:
    invoice = build_invoice(
        inputs(credit_due("118", Fraction(1, 2), inclusive_tax="18"), taxes=(tax("18", inclusive=True),))
    )
    assert balances([post_finalized("inv_2", invoice)]) == {
        "customer_credit": "59.00", "deferred_revenue": "-50.00", "tax_payable": "-9.00",
    }  # fmt: skip


def test_void_takes_everything_back_and_keeps_what_was_paid_for_the_customer() -> None:
    invoice = build_invoice(inputs(fixed_due(seat()), taxes=(tax(),)))
    finalized = post_finalized("inv_1", invoice)
    released = release_deferred("li_1", invoice.lines[0], Decimal(0), utc("2025-03-31"))
    assert released is not None
    unpaid = post_void("inv_1", [finalized, released], Decimal(0), "usd")
    assert balances([finalized, released, unpaid]) == {}
    paid = post_payment("pay_1", "sandbox", invoice.total, "usd")
    void = post_void("inv_1", [finalized, released], invoice.total, "usd")
    assert balances([finalized, released, paid, void]) == {
        cash_in_transit("sandbox"): "-73.75", "customer_credit": "73.75",
    }  # fmt: skip


def test_money_beyond_what_is_owed_is_the_customers() -> None:
    paid = post_payment("pay_1", "sandbox", Decimal(25), "usd", beyond=Decimal(15))
    assert balances([paid]) == {
        cash_in_transit("sandbox"): "-25", "accounts_receivable": "10", "customer_credit": "15",
    }  # fmt: skip


@given(
    before=st.integers(0, 7374), after=st.lists(st.integers(1, 7375), max_size=3), given_up=st.booleans(),
    void=st.booleans(),
)  # fmt: skip
def test_what_is_given_up_is_bad_debt_until_it_comes_after_all(
    before: int, after: list[int], given_up: bool, void: bool
) -> None:
    """73.75 are billed; a part is paid, the rest perhaps written off, parts of that come later, all perhaps voided."""
    invoice = build_invoice(inputs(fixed_due(seat()), taxes=(tax(),)))
    paid, part = Decimal(before) / 100, Decimal(before) / 100
    own = [post_finalized("inv_1", invoice)]
    payments = [post_payment("pay_0", "sandbox", part, "usd")] if part else []
    if given_up:
        own.append(post_written_off("inv_1", minus(invoice.total, paid), "usd"))
    for number, cents in enumerate(after, 1):
        part = min(Decimal(cents) / 100, minus(invoice.total, paid))
        if part:
            own.append(post_recovered(f"pay_{number}", min(part, written_off(own)), "usd"))
            payments.append(post_payment(f"pay_{number}", "sandbox", part, "usd"))
            paid = total((paid, part))
    owed = minus(invoice.total, paid)

    found = balances([*own, *payments])
    account, other = ("bad_debt", "accounts_receivable") if given_up else ("accounts_receivable", "bad_debt")
    assert Decimal(found.get(account, "0")) == -owed
    assert other not in found
    if void:
        credit = {cash_in_transit("sandbox"): str(-paid), "customer_credit": str(paid)} if paid else {}
        assert balances([*own, *payments, post_void("inv_1", own, paid, "usd")]) == credit


def test_what_a_wallet_pays_is_taken_from_the_credit() -> None:
    paid = post_paid_by_wallet("pay_1", Decimal(4), "usd")
    assert balances([paid]) == {"accounts_receivable": "4", "customer_credit": "-4"}


def test_credit_that_goes_back_is_no_loss_of_revenue() -> None:
    taken = post_taken_for_refund("refund_1", Decimal(15), "usd")
    assert balances([taken]) == {"customer_credit": "-15", "refunds_payable": "15"}
    sent = post_refund("refund_1", "sandbox", Decimal(20), Decimal(0), "usd", from_wallet=Decimal(15))
    assert balances([taken, sent]) == {"customer_credit": "-15", cash_in_transit("sandbox"): "20", "refunds": "-5"}
    assert balances([taken, post_taken_for_refund("refund_1/cancelled", Decimal(-15), "usd")]) == {}


def test_a_void_gives_back_what_refunds_and_banks_have_left() -> None:
    """91.45 were paid, of which 10 went back and a bank took 20: 61.45 are the customer's, and nothing is lost."""
    period = span("2025-01-31", "2025-02-28")
    invoice = build_final_invoice(
        inputs(fixed_due(seat()), usage_due(talk()), taxes=(tax(),), usage=(snapshot("meter_talk", period, "10000"),))
    )
    assert invoice.total == Decimal("91.45")
    posted = [post_finalized("inv_1", invoice), post_payment("pay_1", "sandbox", invoice.total, "usd")]
    gone = [
        post_refund("re_1", "sandbox", Decimal(10), Decimal(0), "usd"),
        post_dispute_lost("dp_1", "sandbox", Decimal(20), "usd"),
    ]
    void = post_void("inv_1", posted[:1], Decimal("61.45"), "usd", gone=gone)
    assert balances([*posted, *gone, void]) == {cash_in_transit("sandbox"): "-61.45", "customer_credit": "61.45"}


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("price", ["1", "11"])  # with a credit that is carried, and without
def test_a_void_leaves_the_credits_of_the_invoice_with_the_customer(inclusive: bool, price: str) -> None:
    """And the void of what they credited takes them out again: all accounts are empty but what was paid."""
    rates = (tax(inclusive=inclusive),)
    billed = build_invoice(inputs(fixed_due(seat()), taxes=rates))
    source = billed_line("inv_1", "li_1", billed.lines[0], Decimal(0))
    unused = replace(credit_due("1", Fraction(3, 5)), credit_of=source)
    change = build_invoice(inputs(unused, fixed_due(seat(price)), taxes=rates))
    assert bool(change.carried.amount) is (price == "1")
    posted = [post_finalized("inv_1", billed), post_payment("pay_1", "sandbox", billed.total, "usd")]
    second = post_finalized("inv_2", change)
    paid = post_payment("pay_2", "sandbox", change.total, "usd") if change.total else None
    given = credits_given(change)
    posted += [second, *([paid] if paid else []), post_void("inv_2", [second], change.total, "usd", own=given)]
    posted.append(post_void("inv_1", posted[:1], billed.total, "usd", credited=given))
    whole = total((billed.total, change.total))
    assert balances(posted) == {cash_in_transit("sandbox"): str(-whole), "customer_credit": str(whole)}


def test_a_line_that_was_credited_whole_releases_nothing() -> None:
    line = build_invoice(inputs(fixed_due(seat()))).lines[0]
    assert release_deferred("li_1", line, deferred_amount(line), utc("2025-04-01")) is None


@given(
    st.decimals("0.01", 10**6, places=2),
    st.lists(st.fractions("1/100", 1), min_size=1, max_size=5),
    st.integers(0, 40),
    st.integers(0, 40),
    st.booleans(),
)
def test_credits_never_take_back_more_than_was_deferred(
    amount: Decimal, shares: list[Fraction], rate_then: int, rate_now: int, inclusive: bool
) -> None:
    """Whatever the tax is now: the last credit that empties the line empties its deferred revenue."""
    billed = build_invoice(
        inputs(fixed_due(seat(str(amount)), quantity="1"), taxes=(tax(str(rate_then), inclusive=inclusive),))
    )
    line, credited, taken = billed.lines[0], Decimal(0), Decimal(0)
    postings = [post_finalized("inv_1", billed)]
    for share in [*shares, Fraction(1)]:
        source = billed_line("inv_1", "li_1", line, credited)
        due = replace(credit_due("1", share), credit_of=source, nominal=source.period)
        assert isinstance(due, DueLine)
        invoice = build_invoice(inputs(due, taxes=(tax(str(rate_now), inclusive=inclusive),)))
        credit = next(own for own in invoice.lines if own.kind is LineKind.proration_credit)
        credited, taken = minus(credited, credit.amount), total((taken, reversed_amount(credit)))
        postings.append(post_finalized("inv_2", invoice))
    assert credited == line.amount
    assert taken == deferred_amount(line)
    assert "deferred_revenue" not in balances(postings)


def test_an_unbalanced_posting_cannot_exist() -> None:
    debit = Entry("revenue", Decimal(1), Decimal(0), "usd")
    with pytest.raises(InvariantBroken, match="does not balance"):
        Posting(PostingKind.payment_succeeded, "pay_1", (debit,))
    with pytest.raises(InvariantBroken, match="does not balance"):
        Posting(PostingKind.payment_succeeded, "pay_1", (debit, Entry("cash", Decimal(0), Decimal(1), "eur")))


@pytest.mark.parametrize(("debit", "credit"), [("0", "0"), ("1", "1"), ("-1", "0"), ("0.001", "0")])
def test_an_entry_has_one_side(debit: str, credit: str) -> None:
    with pytest.raises(InvariantBroken):
        Entry("revenue", Decimal(debit), Decimal(credit), "usd")
