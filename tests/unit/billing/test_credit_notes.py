"""Credit notes: caps worked by hand, and that no more is ever given back than there was."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.credit_notes import CreditNoteType, InvoiceBalance, issue_credit_note
from billing.errors import BillingError, Conflict, Invalid
from billing.invoice_states import InvoiceStatus
from billing.money import total

ADJUSTMENT, REFUND = CreditNoteType.ADJUSTMENT, CreditNoteType.REFUND


def balance(due: str, paid: str = "0", adjusted: str = "0", refunded: str = "0") -> InvoiceBalance:
    return InvoiceBalance(Decimal(due), Decimal(paid), Decimal(adjusted), Decimal(refunded))


@pytest.mark.parametrize(
    ("before", "kind", "amount", "after"),
    [
        (balance("100"), ADJUSTMENT, "30", balance("100", adjusted="30")),
        (balance("100", adjusted="30"), ADJUSTMENT, "70", balance("100", adjusted="100")),
        (balance("100", paid="60"), ADJUSTMENT, "40", balance("100", paid="60", adjusted="40")),
        (balance("100", paid="60"), REFUND, "60", balance("100", paid="60", refunded="60")),
        (balance("100", paid="110"), REFUND, "110", balance("100", paid="110", refunded="110")),
    ],
)
def test_notes(before: InvoiceBalance, kind: CreditNoteType, amount: str, after: InvoiceBalance) -> None:
    assert issue_credit_note(before, InvoiceStatus.FINALIZED, kind, Decimal(amount), "usd") == after


@pytest.mark.parametrize(
    ("before", "kind", "amount", "status", "error"),
    [
        (balance("100"), ADJUSTMENT, "100.01", InvoiceStatus.FINALIZED, Invalid),
        (balance("100", paid="60"), ADJUSTMENT, "40.01", InvoiceStatus.FINALIZED, Invalid),
        (balance("100", paid="60", refunded="20"), REFUND, "40.01", InvoiceStatus.FINALIZED, Invalid),
        (balance("100"), ADJUSTMENT, "0", InvoiceStatus.FINALIZED, Invalid),
        (balance("100"), ADJUSTMENT, "-1", InvoiceStatus.FINALIZED, Invalid),
        (balance("100"), ADJUSTMENT, "0.001", InvoiceStatus.FINALIZED, Invalid),
        (balance("100", paid="100"), ADJUSTMENT, "1", InvoiceStatus.FINALIZED, Conflict),
        (balance("100", paid="110"), ADJUSTMENT, "1", InvoiceStatus.FINALIZED, Conflict),
        (balance("100"), REFUND, "1", InvoiceStatus.FINALIZED, Conflict),
        (balance("100"), ADJUSTMENT, "1", InvoiceStatus.DRAFT, Conflict),
        (balance("100", paid="100"), REFUND, "1", InvoiceStatus.VOIDED, Conflict),
    ],
)
def test_what_is_beyond_is_refused(
    before: InvoiceBalance, kind: CreditNoteType, amount: str, status: InvoiceStatus, error: type[BillingError]
) -> None:
    with pytest.raises(error):
        issue_credit_note(before, status, kind, Decimal(amount), "usd")


@given(
    st.decimals(0, 1000, places=2),
    st.decimals(0, 1000, places=2),
    st.lists(st.tuples(st.sampled_from(CreditNoteType), st.decimals("0.01", 400, places=2)), max_size=8),
)
def test_no_more_is_given_back_than_there_was(
    due: Decimal, paid: Decimal, notes: list[tuple[CreditNoteType, Decimal]]
) -> None:
    now = InvoiceBalance(due, paid)
    for kind, amount in notes:
        most = now.creditable(kind)
        try:
            now = issue_credit_note(now, InvoiceStatus.FINALIZED, kind, amount, "usd")
        except BillingError:
            assert amount > most
        else:
            assert amount <= most
    assert now.refunded <= paid
    assert total((now.adjusted, min(paid, due))) <= due
    assert now.remaining >= 0
