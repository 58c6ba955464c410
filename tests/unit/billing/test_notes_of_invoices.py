"""What a credit note is by default, when it can be finalized or void, the tax in it, and what it posts."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.credit_notes import (
    CreditNoteStatus,
    CreditNoteType,
    InvoiceBalance,
    TaxedAmount,
    check_line_amount,
    check_void_of_note,
    credit_note_number,
    payment_after_refund,
    require_draft_note,
    require_no_attempt,
    require_not_written_off,
    type_for,
    withdraw_adjustment,
)
from billing.errors import Conflict, Invalid
from billing.invoice_states import InvoiceStatus, PaymentStatus
from billing.ledger import Entry, PostingKind, post_credit_note, post_credit_note_voided
from billing.money import total
from tests.unit.billing.test_credit_notes import balance

ADJUSTMENT, REFUND = CreditNoteType.ADJUSTMENT, CreditNoteType.REFUND
DRAFT, FINALIZED, VOIDED = CreditNoteStatus.DRAFT, CreditNoteStatus.FINALIZED, CreditNoteStatus.VOIDED


@pytest.mark.parametrize(
    ("payment", "kind"),
    [("PENDING", ADJUSTMENT), ("FAILED", ADJUSTMENT), ("SUCCEEDED", REFUND), ("PARTIALLY_REFUNDED", REFUND)],
)
def test_the_type_follows_from_the_payment(payment: str, kind: CreditNoteType) -> None:
    assert type_for(PaymentStatus(payment)) is kind


def test_an_attempt_under_way_comes_first() -> None:
    require_no_attempt(PaymentStatus.FAILED)
    with pytest.raises(Conflict, match="its outcome comes first") as refused:
        require_no_attempt(PaymentStatus.PROCESSING)
    assert refused.value.state == "PROCESSING"


@pytest.mark.parametrize(
    ("payment", "before", "amount", "after"),
    [
        ("SUCCEEDED", balance("100", paid="100"), "40", "PARTIALLY_REFUNDED"),
        ("SUCCEEDED", balance("100", paid="100"), "100", "REFUNDED"),
        ("PARTIALLY_REFUNDED", balance("100", paid="100", refunded="60"), "40", "REFUNDED"),
        ("SUCCEEDED", balance("100", paid="60", adjusted="40"), "20", "PARTIALLY_REFUNDED"),
        # 60 were asked for, and 100 came all the same: what goes back of the 40 beyond was never the invoice's
        ("OVERPAID", balance("100", paid="100", adjusted="40"), "40", "SUCCEEDED"),
        ("OVERPAID", balance("100", paid="100", adjusted="40"), "20", "OVERPAID"),
        ("FAILED", balance("100", paid="60"), "20", "FAILED"),  # the rest is still asked for
    ],
)
def test_the_payment_status_after_a_refund(payment: str, before: InvoiceBalance, amount: str, after: str) -> None:
    status = InvoiceStatus.FINALIZED
    assert payment_after_refund(PaymentStatus(payment), status, before.total, before, Decimal(amount)) == after


@pytest.mark.parametrize(("status", "possible"), [(FINALIZED, ("void",)), (VOIDED, ())])
def test_only_a_draft_is_finalized(status: CreditNoteStatus, possible: tuple[str, ...]) -> None:
    require_draft_note(DRAFT)
    with pytest.raises(Conflict, match="it must be a DRAFT") as refused:
        require_draft_note(status)
    told = (refused.value.state, refused.value.possible, refused.value.field)
    assert told == (status, possible, "credit_note_status")


@pytest.mark.parametrize(
    ("status", "kind", "invoice", "payment", "automatic", "why"),
    [
        (DRAFT, REFUND, "VOIDED", "REFUNDED", False, None),
        (FINALIZED, ADJUSTMENT, "FINALIZED", "FAILED", False, None),
        (FINALIZED, ADJUSTMENT, "FINALIZED", "PENDING", False, None),
        (VOIDED, ADJUSTMENT, "FINALIZED", "PENDING", False, "VOIDED already"),
        (FINALIZED, ADJUSTMENT, "FINALIZED", "PENDING", True, "usage that was corrected"),
        (FINALIZED, REFUND, "FINALIZED", "SUCCEEDED", False, "wallet"),
        (FINALIZED, ADJUSTMENT, "FINALIZED", "SUCCEEDED", False, "FINALIZED/SUCCEEDED"),
        (FINALIZED, ADJUSTMENT, "FINALIZED", "PROCESSING", False, "FINALIZED/PROCESSING"),
        (FINALIZED, ADJUSTMENT, "VOIDED", "VOIDED", False, "VOIDED/VOIDED"),
    ],
)
def test_which_notes_can_be_void(
    status: CreditNoteStatus, kind: CreditNoteType, invoice: str, payment: str, automatic: bool, why: str | None
) -> None:
    asked = (status, kind, InvoiceStatus(invoice), PaymentStatus(payment), automatic)
    if why is None:
        check_void_of_note(*asked)
        return
    with pytest.raises(Conflict, match=why) as refused:
        check_void_of_note(*asked)
    assert (refused.value.state, refused.value.field) == (status, "credit_note_status")


def test_what_is_written_off_does_not_grow_again() -> None:
    require_not_written_off(False)
    with pytest.raises(Conflict, match="written off") as refused:
        require_not_written_off(True)
    assert refused.value.state == "uncollectible"


def test_a_void_adjustment_is_owed_again() -> None:
    assert withdraw_adjustment(balance("100", adjusted="30"), Decimal(20)) == balance("100", adjusted="10")


@pytest.mark.parametrize("amount", ["0", "-1", "10.01", "0.001"])
def test_an_amount_of_a_line(amount: str) -> None:
    check_line_amount(Decimal(10), Decimal(10), "usd", "line_items[0].amount")
    with pytest.raises(Invalid, match="at most 10, what is left") as refused:
        check_line_amount(Decimal(amount), Decimal(10), "usd", "line_items[0].amount")
    assert refused.value.field == "line_items[0].amount"


def test_nothing_is_left_of_a_credit_line() -> None:
    with pytest.raises(Invalid, match="at most 0, what"):
        check_line_amount(Decimal(1), Decimal(-5), "usd", "line_items[0].amount")


@given(st.lists(st.decimals("0.01", 500, places=2), min_size=1, max_size=8), st.decimals(0, 1, places=4))
def test_the_taxes_of_all_parts_are_the_whole_tax(parts: list[Decimal], rate: Decimal) -> None:
    whole = total(parts)
    billed = TaxedAmount(whole, (whole * rate).quantize(Decimal("0.01")))
    before, taxes = Decimal(0), []
    for part in parts:
        taxes.append(billed.tax_in(before, part, "usd"))
        before += part
    assert total(taxes) == billed.tax
    assert min(taxes) >= 0


def test_of_nothing_there_is_no_tax() -> None:
    assert TaxedAmount(Decimal(0), Decimal(0)).tax_in(Decimal(0), Decimal(0), "usd") == 0


def test_numbers_restart_with_the_month() -> None:
    assert credit_note_number(7, datetime(2025, 3, 31, 23, 59, tzinfo=UTC)) == "CN-202503-00007"


@pytest.mark.parametrize(
    ("kind", "account", "posted"),
    [
        (ADJUSTMENT, "accounts_receivable", PostingKind.credit_note_adjusted),
        (REFUND, "customer_credit", PostingKind.credit_note_refunded),
    ],
)
def test_what_a_note_posts_and_its_void_takes_back(kind: CreditNoteType, account: str, posted: PostingKind) -> None:
    amount, tax, nothing = Decimal("11.8"), Decimal("1.8"), Decimal(0)
    posting = post_credit_note("cn_1", kind, amount, tax, "usd")
    assert (posting.kind, posting.reference) == (posted, "cn_1")
    assert posting.entries == (
        Entry("refunds", Decimal(10), nothing, "usd"),
        Entry("tax_payable", tax, nothing, "usd"),
        Entry(account, nothing, amount, "usd"),
    )
    void = post_credit_note_voided(posting, "usd")
    assert (void.kind, void.reference) == (PostingKind.credit_note_voided, "cn_1")
    assert void.entries == tuple(Entry(each.account, each.credit, each.debit, "usd") for each in posting.entries)
