"""Disputes: reports that come twice and out of order, and a void before the bank's decision."""

from decimal import Decimal

import pytest

from billing.disputes import Report, is_news, taken_twice
from billing.errors import Conflict
from billing.invoice_states import InvoiceStatus
from billing.refunds import RefundStatus
from billing.voids import check_settled

from .builders import utc

MONDAY, TUESDAY = utc("2025-03-03"), utc("2025-03-04")


@pytest.mark.parametrize(
    ("last", "told", "news"),
    [
        (None, Report("needs_response", MONDAY), True),
        (Report("needs_response", MONDAY), Report("under_review", TUESDAY), True),
        (Report("needs_response", MONDAY), Report("under_review", MONDAY), True),  # at the same second
        (Report("under_review", TUESDAY), Report("needs_response", MONDAY), False),  # overtaken
        (Report("needs_response", MONDAY), Report("needs_response", TUESDAY), False),  # a repeat
        (Report("under_review", MONDAY), Report("lost", TUESDAY), True),
        (Report("lost", MONDAY), Report("won", TUESDAY), False),  # the bank has decided
        (Report("won", MONDAY), Report("lost", TUESDAY), False),
    ],
)
def test_a_report_counts_once_and_in_order(last: Report | None, told: Report, news: bool) -> None:
    assert is_news(last, told) is news


@pytest.mark.parametrize(
    ("state", "status", "given", "twice"),
    [
        ("lost", InvoiceStatus.VOIDED, 10, True),
        ("lost", InvoiceStatus.VOIDED, 1, True),
        ("won", InvoiceStatus.VOIDED, 10, False),
        ("lost", InvoiceStatus.FINALIZED, 10, False),
        ("lost", InvoiceStatus.VOIDED, 0, False),  # the void had nothing to give
    ],
)
def test_a_bank_that_takes_what_a_void_gave_already(state: str, status: InvoiceStatus, given: int, twice: bool) -> None:
    assert taken_twice(state, status, Decimal(given)) is twice


def test_nothing_is_voided_while_it_is_open_where_the_money_is() -> None:
    check_settled([("r1", RefundStatus.SUCCEEDED), ("r2", RefundStatus.CANCELLED)], [("d1", "won"), ("d2", "lost")])
    check_settled([], [])
    for refund, words in (
        (RefundStatus.PENDING, "refund r is PENDING; void it once that is settled"),
        (RefundStatus.PROCESSING, "refund r is PROCESSING; void it once that is settled"),
        (RefundStatus.FAILED, "refund r is FAILED; void it once that was retried or cancelled"),
    ):
        with pytest.raises(Conflict, match=words) as refused:
            check_settled([("r1", RefundStatus.SUCCEEDED), ("r", refund)], [])
        assert refused.value.details["state"] == refund
    with pytest.raises(Conflict, match="dispute d is open; void the invoice once the bank has decided") as refused:
        check_settled([], [("d1", "won"), ("d", "under_review")])
    assert refused.value.details["state"] == "under_review"
