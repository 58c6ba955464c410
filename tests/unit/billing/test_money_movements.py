"""Money and credits that move beside invoices: each posting balances and names the accounts that it moves."""

from decimal import Decimal

import pytest

from billing.invoices import build_invoice
from billing.ledger import (
    Posting,
    PostingKind,
    post_dispute_lost,
    post_finalized,
    post_payment,
    post_refund,
    post_void,
    release_deferred,
)
from billing.money import minus
from billing.wallet_postings import CreditSource, post_taken_out, post_top_up

from .builders import fixed_due, inputs, seat

D = Decimal


def moved(posting: Posting) -> dict[str, str]:
    """What each account is credited with; negative where it is debited."""
    return {entry.account: str(minus(entry.credit, entry.debit)) for entry in posting.entries}


@pytest.mark.parametrize(
    ("amount", "overpaid", "expected"),
    [
        ("30", "0", {"cash_in_transit:sandbox": "30", "refunds": "-30"}),
        # 20 of the 30 had been paid beyond the invoice and were never revenue
        ("30", "20", {"cash_in_transit:sandbox": "30", "accounts_receivable": "-20", "refunds": "-10"}),
        ("30", "50", {"cash_in_transit:sandbox": "30", "accounts_receivable": "-30"}),
    ],
)
def test_a_refund_first_gives_back_what_was_paid_beyond_the_invoice(
    amount: str, overpaid: str, expected: dict[str, str]
) -> None:
    posting = post_refund("re_1", "sandbox", D(amount), D(overpaid), "usd")
    assert (posting.kind, posting.reference) == (PostingKind.payment_refunded, "re_1")
    assert moved(posting) == expected


def test_a_lost_dispute_is_a_loss_of_its_own() -> None:
    posting = post_dispute_lost("dp_1", "sandbox", D("12.50"), "usd")
    assert (posting.kind, posting.reference) == (PostingKind.dispute_lost, "dp_1")
    assert moved(posting) == {"cash_in_transit:sandbox": "12.50", "dispute_losses": "-12.50"}


@pytest.mark.parametrize(
    ("source", "price", "expected"),
    [
        (CreditSource.free, "90", {"customer_credit": "100", "promotions": "-100"}),  # its price is nobody's money
        (CreditSource.purchased, "100", {"customer_credit": "100", "cash_in_transit:outside": "-100"}),
        (CreditSource.purchased, "90",
         {"customer_credit": "100", "cash_in_transit:outside": "-90", "promotions": "-10"}),
        (CreditSource.purchased, "110",
         {"customer_credit": "100", "cash_in_transit:outside": "-110", "promotions": "10"}),
    ],
)  # fmt: skip
def test_credits_cost_what_they_are_worth_beyond_their_price(
    source: CreditSource, price: str, expected: dict[str, str]
) -> None:
    posting = post_top_up("wt_1", source, D("100"), D(price), "usd")
    assert (posting.kind, posting.reference) == (PostingKind.wallet_credited, "wt_1")
    assert moved(posting) == expected


def test_credits_that_go_without_an_invoice_lapse() -> None:
    posting = post_taken_out("wt_2", D("7.25"), "usd")
    assert (posting.kind, posting.reference) == (PostingKind.wallet_debited, "wt_2")
    assert moved(posting) == {"customer_credit": "-7.25", "lapsed_credit": "7.25"}


def test_each_posting_says_what_it_is_and_of_what() -> None:
    invoice = build_invoice(inputs(fixed_due(seat("0.50"), "1")))
    finalized = post_finalized("inv_1", invoice)
    paid = post_payment("pay_1", "sandbox", invoice.total, "usd")
    released = release_deferred("li_1", invoice.lines[0], Decimal(0), invoice.lines[0].period.end)
    voided = post_void("inv_1", [finalized], Decimal(0), "usd")
    assert released is not None  # half a dollar is revenue too
    assert [(one.kind, one.reference) for one in (finalized, paid, released, voided)] == [
        (PostingKind.invoice_finalized, "inv_1"),
        (PostingKind.payment_succeeded, "pay_1"),
        (PostingKind.deferred_released, "li_1"),
        (PostingKind.invoice_voided, "inv_1"),
    ]
