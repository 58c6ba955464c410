"""Small rules about when: who acts first, how long a price is sold, by when an invoice is to be paid."""

from datetime import datetime, timedelta

import pytest

from billing.errors import Invalid
from billing.invoice_states import PAID, InvoiceStatus, PaymentStatus, is_closed
from billing.invoices import payable_until
from billing.late_usage import look_back_invoice
from billing.order import act_first
from billing.periods import to_milliseconds
from billing.price_versions import check_sold, end_of_sale
from billing.terms import BillingReason

from .builders import span, utc

MONDAY, TUESDAY, FRIDAY = utc("2025-03-03"), utc("2025-03-04"), utc("2025-03-07")


@pytest.mark.parametrize(
    ("running", "invoices", "over", "first"),
    [
        (["s1", "s2"], ["i1"], ["s3"], (["s1", "s2"], [])),  # boundaries
        ([], ["i1", "i2"], ["s3"], ([], ["i1", "i2"])),  # then what they drafted
        ([], [], ["s3"], (["s3"], [])),  # then what came late for periods that are over
        ([], [], [], ([], [])),
    ],
)
def test_who_acts_first_at_one_instant(
    running: list[str], invoices: list[str], over: list[str], first: tuple[list[str], list[str]]
) -> None:
    acting, then = act_first(running, invoices, over)
    assert (list(acting), list(then)) == first


def test_a_price_is_sold_over_a_span() -> None:
    check_sold(MONDAY, TUESDAY)
    check_sold(None, MONDAY)
    check_sold(MONDAY, None)
    for end in (MONDAY, MONDAY - timedelta(microseconds=1)):
        with pytest.raises(Invalid, match="end_date must lie after start_date") as refused:
            check_sold(MONDAY, end)
        assert refused.value.field == "end_date"


@pytest.mark.parametrize(
    ("start", "end", "at", "wrong"),
    [
        (MONDAY, FRIDAY, TUESDAY, None),
        (MONDAY, FRIDAY, MONDAY, None),  # it is sold to nobody
        (MONDAY, FRIDAY, FRIDAY, None),
        (None, None, TUESDAY, None),
        (TUESDAY, None, MONDAY, "effective_from must not lie before the price's start_date 2025-03-04T00:00:00+00:00"),
        (None, TUESDAY, FRIDAY, "effective_from must not lie after the price's end_date 2025-03-04T00:00:00+00:00"),
    ],
)
def test_when_a_price_can_end(start: datetime | None, end: datetime | None, at: datetime, wrong: str | None) -> None:
    if wrong is None:
        assert end_of_sale(start, end, at, "effective_from") == at
        return
    with pytest.raises(Invalid) as refused:
        end_of_sale(start, end, at, "effective_from")
    assert (refused.value.message, refused.value.field) == (wrong, "effective_from")


@pytest.mark.parametrize("payment", list(PaymentStatus))
def test_an_invoice_is_closed_when_nothing_happens_to_it_by_itself(payment: PaymentStatus) -> None:
    assert is_closed(InvoiceStatus.FINALIZED, payment) is (payment in PAID)
    assert not is_closed(InvoiceStatus.DRAFT, payment)
    assert is_closed(InvoiceStatus.VOIDED, payment)
    assert is_closed(InvoiceStatus.SKIPPED, payment)


def test_nobody_has_to_pay_before_the_invoice_is_there() -> None:
    assert payable_until(FRIDAY, TUESDAY) == FRIDAY
    assert payable_until(MONDAY, TUESDAY) == TUESDAY
    assert payable_until(None, TUESDAY) == TUESDAY


def test_what_came_late_for_an_ended_subscription_has_an_invoice_from_its_end_on() -> None:
    due = look_back_invoice(MONDAY, FRIDAY)
    assert (due.reason, due.at, due.period, due.lines) == (
        BillingReason.SUBSCRIPTION_CYCLE, FRIDAY, span("2025-03-03", "2025-03-07"), (),
    )  # fmt: skip


def test_an_instant_is_kept_to_the_millisecond() -> None:
    assert to_milliseconds(MONDAY + timedelta(microseconds=1999)) == MONDAY + timedelta(milliseconds=1)
    assert to_milliseconds(MONDAY) == MONDAY
