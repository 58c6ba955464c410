"""Small rules that the simulator shares with production: declines, payments by hand, event times, price units."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.collection import (
    NextStep,
    after_decline,
    after_receipt,
    after_refund,
    asked_for,
    at_finalizing,
    beyond_owed,
    charged_by_new_method,
    check_offline_payment,
    check_refund,
    first_attempt_at,
    given_back_by_void,
    refundable,
    remaining,
    split_payment,
)
from billing.dunning import DeclineKind, DunningSettings
from billing.errors import Conflict, Invalid
from billing.event_times import check_event_time, months_before
from billing.invoice_states import InvoiceStatus, PaymentStatus
from billing.price_units import PriceUnit, in_currency

START = datetime(2026, 1, 31, 8, tzinfo=UTC)
SETTINGS = DunningSettings(schedule_days=(1, 3))


@pytest.mark.parametrize(
    ("kind", "failures", "expected"),
    [
        (DeclineKind.soft, 1, NextStep(START + timedelta(days=1), charge=True)),
        (DeclineKind.soft, 2, NextStep(START + timedelta(days=3), charge=True)),
        (DeclineKind.soft, 3, None),
        (DeclineKind.hard, 1, NextStep(START + timedelta(days=3), charge=False)),
    ],
)
def test_after_a_decline(kind: DeclineKind, failures: int, expected: NextStep | None) -> None:
    assert after_decline(SETTINGS, kind, failures, START, START) == expected


def test_a_step_that_would_lie_in_the_past_is_none() -> None:
    late = START + timedelta(days=3)
    assert after_decline(SETTINGS, DeclineKind.hard, 1, START, late) is None
    assert after_decline(DunningSettings(schedule_days=()), DeclineKind.soft, 1, START, START) is None


def test_what_remains() -> None:
    due, paid = Decimal(10), Decimal(4)
    assert remaining(InvoiceStatus.DRAFT, due, paid) == 10
    assert remaining(InvoiceStatus.FINALIZED, due, paid) == 6
    assert remaining(InvoiceStatus.FINALIZED, due, paid, adjusted=Decimal(1)) == 5
    assert remaining(InvoiceStatus.FINALIZED, due, Decimal(12)) == 0
    assert remaining(InvoiceStatus.VOIDED, due, paid) == remaining(InvoiceStatus.SKIPPED, due, paid) == 0


@pytest.mark.parametrize(
    ("amount", "status"), [("5", PaymentStatus.PENDING), ("6", PaymentStatus.SUCCEEDED), ("7", PaymentStatus.OVERPAID)]
)
def test_after_a_receipt(amount: str, status: PaymentStatus) -> None:
    assert after_receipt(Decimal(10), Decimal(4), Decimal(amount)) is status


@pytest.mark.parametrize(
    ("status", "owed", "uncollectible", "charged"),
    [("FINALIZED", "1", False, True), ("FINALIZED", "1", True, False), ("FINALIZED", "0", False, False),
     ("DRAFT", "1", False, False)],
)  # fmt: skip
def test_what_a_new_method_is_charged_for(status: str, owed: str, uncollectible: bool, charged: bool) -> None:
    assert charged_by_new_method(InvoiceStatus(status), Decimal(owed), uncollectible) is charged


def test_money_by_hand() -> None:
    finalized, void = InvoiceStatus.FINALIZED, InvoiceStatus.VOIDED
    assert split_payment(finalized, Decimal(15), Decimal(10)) == (Decimal(10), Decimal(5))
    assert split_payment(finalized, Decimal(3), Decimal(10)) == (Decimal(3), Decimal(0))
    assert split_payment(void, Decimal(15), Decimal(0)) == (Decimal(15), Decimal(0))  # held, to be refunded
    check_offline_payment(InvoiceStatus.FINALIZED, PaymentStatus.FAILED, Decimal("0.01"), "usd")
    for status, payment, amount, expected in (
        (InvoiceStatus.DRAFT, "PENDING", "1", Conflict),
        (InvoiceStatus.FINALIZED, "SUCCEEDED", "1", Conflict),
        (InvoiceStatus.FINALIZED, "PROCESSING", "1", Conflict),
        (InvoiceStatus.FINALIZED, "PENDING", "0", Invalid),
        (InvoiceStatus.FINALIZED, "PENDING", "0.001", Invalid),
    ):
        with pytest.raises(expected):
            check_offline_payment(status, PaymentStatus(payment), Decimal(amount), "usd")


@pytest.mark.parametrize(
    ("due", "payment", "payable", "at_once"),
    [
        ("0", PaymentStatus.SUCCEEDED, True, False),  # paid by itself: nobody is asked
        ("0", PaymentStatus.SUCCEEDED, False, False),
        ("0.01", PaymentStatus.PENDING, True, True),
        ("0.01", PaymentStatus.PENDING, False, False),  # it is sent, and waits
    ],
)
def test_an_invoice_that_has_just_been_finalized(
    due: str, payment: PaymentStatus, payable: bool, at_once: bool
) -> None:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    assert at_finalizing(Decimal(due)) is payment
    assert first_attempt_at(payment, payable, now) == (now if at_once else None)


def test_what_an_invoice_asks_for_and_what_is_beyond_it() -> None:
    assert asked_for(InvoiceStatus.FINALIZED, Decimal(10), Decimal(3)) == 7  # a credit note took 3 off
    assert asked_for(InvoiceStatus.VOIDED, Decimal(10), Decimal(3)) == 0
    assert [beyond_owed(Decimal(7), Decimal(paid)) for paid in (6, 7, 9)] == [0, 0, 2]


def test_giving_back() -> None:
    assert given_back_by_void(Decimal(10), Decimal(3), Decimal(4)) == 9


@pytest.mark.parametrize(
    ("due", "paid", "refunded", "status"),
    [
        ("10", "10", "4", PaymentStatus.PARTIALLY_REFUNDED),
        ("10", "10", "10", PaymentStatus.REFUNDED),
        ("10", "20", "10", PaymentStatus.SUCCEEDED),  # charged twice, one went back
        ("10", "20", "4", PaymentStatus.OVERPAID),
        ("10", "20", "14", PaymentStatus.PARTIALLY_REFUNDED),
        ("0", "10", "10", PaymentStatus.REFUNDED),  # it came after the invoice was voided
    ],
)
def test_a_refund_leaves_the_invoice(due: str, paid: str, refunded: str, status: PaymentStatus) -> None:
    assert after_refund(Decimal(due), Decimal(paid), Decimal(refunded)) is status


def test_no_more_is_refunded_than_is_left() -> None:
    check_refund(Decimal(10), Decimal(10), "usd")
    assert refundable(Decimal(10), Decimal(3), Decimal(2), Decimal(1)) == 4
    assert refundable(Decimal(10), Decimal(8), Decimal(2), Decimal(1)) == 0
    with pytest.raises(Conflict, match="nothing is left of the payment"):
        check_refund(Decimal(1), Decimal(0), "usd")
    for amount in ("0", "10.01", "0.001"):
        with pytest.raises(Invalid, match="at most 10 usd"):
            check_refund(Decimal(amount), Decimal(10), "usd")


def test_the_window_of_event_times() -> None:
    # 37 months before 31 March 2026 is 28 February 2023: that month has no 31st.
    received = datetime(2026, 3, 31, tzinfo=UTC)
    oldest = datetime(2023, 2, 28, tzinfo=UTC)
    assert months_before(received, 37) == oldest
    check_event_time(oldest, received)
    check_event_time(received + timedelta(hours=24), received)
    for timestamp, code in (
        (oldest - timedelta(milliseconds=1), "timestamp_too_old"),
        (received + timedelta(hours=24, milliseconds=1), "timestamp_ahead"),
    ):
        with pytest.raises(Invalid) as refusal:
            check_event_time(timestamp, received)
        assert refusal.value.code == code


def test_a_price_unit_is_exact() -> None:
    unit = PriceUnit("tok", "usd", Decimal("0.0000000001"))
    assert in_currency(Decimal("0.000000000000003"), unit) == Decimal("3E-25")
