"""When a failed payment is tried again, and the tables of states."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from billing.collection import check_offline_payment
from billing.dunning import DunningSettings, ExhaustedInvoice, ExhaustedSubscription, gives_up_at, next_attempt
from billing.errors import Conflict, Invalid
from billing.invoice_states import (
    INVOICE_TRANSITIONS,
    PAYMENT_TRANSITIONS,
    InvoiceCommand,
    InvoiceStatus,
    PaymentCommand,
    PaymentStatus,
    next_invoice_status,
    next_payment_status,
    possible_now,
    require_draft,
    require_finalized,
    require_unpaid,
)
from billing.subscriptions import SubscriptionStatus
from billing.voids import after_void

from .builders import utc


def test_default_schedule_counts_days_from_the_first_failure() -> None:
    first = utc("2025-03-01T07:00")
    dates = [next_attempt(DunningSettings(), failures, first) for failures in range(1, 7)]
    assert dates[:5] == [utc(f"2025-03-{day:02}T07:00") for day in (2, 4, 6, 8, 15)]
    assert dates[5] is None
    assert gives_up_at(DunningSettings(), first) == utc("2025-03-15T07:00")


def test_retries_keep_the_local_clock_over_daylight_saving() -> None:
    # 8 March 12:00 in New York is 17:00 UTC; on 9 March it is 16:00 UTC.
    settings = DunningSettings(zone="America/New_York")
    assert next_attempt(settings, 1, utc("2025-03-08T17:00")) == utc("2025-03-09T16:00")


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("2025-03-01T20:00", "2025-03-03T03:30"),  # 2 March 01:30 in Kolkata; a day later at 09:00
        ("2025-03-01T02:00", "2025-03-02T03:30"),
    ],
)
def test_retries_at_the_hour_that_the_tenant_chose(first: str, expected: str) -> None:
    settings = DunningSettings(zone="Asia/Kolkata", hour=9)
    assert next_attempt(settings, 1, utc(first)) == utc(expected)


def test_an_empty_schedule_gives_up_at_once() -> None:
    settings = DunningSettings(schedule_days=(), hour=0)
    assert next_attempt(settings, 1, utc("2025-03-01T07:00")) is None
    assert gives_up_at(settings, utc("2025-03-01T07:00")) == utc("2025-03-01T07:00")


@pytest.mark.parametrize(
    ("days", "hour", "zone", "field"),
    [
        ((3, 1), None, "UTC", "dunning_days"),
        ((0,), None, "UTC", "dunning_days"),
        ((1, 1), None, "UTC", "dunning_days"),
        ((400,), None, "UTC", "dunning_days"),
        ((1,), 24, "UTC", "dunning_hour"),
        ((1,), 9, "Nowhere", "timezone"),
    ],
)
def test_bad_settings(days: tuple[int, ...], hour: int | None, zone: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        DunningSettings(schedule_days=days, hour=hour, zone=zone)
    assert caught.value.field == field
    words = {
        "dunning_days": f"dunning_days must be rising, each from 1 to 365; got {list(days)}",
        "dunning_hour": "dunning_hour must be between 0 and 23; got 24",
        "timezone": "timezone 'Nowhere' is not an IANA time zone; write it like 'Asia/Kolkata' or 'UTC'",
    }
    assert caught.value.message == words[field]


def test_next_attempt_needs_a_failure() -> None:
    with pytest.raises(Invalid, match=r"^failures must be at least 1; got 0$"):
        next_attempt(DunningSettings(), 0, utc("2025-03-01"))


def test_every_pair_of_status_and_command_is_decided() -> None:
    for status in InvoiceStatus:
        for command in InvoiceCommand:
            if (status, command) in INVOICE_TRANSITIONS:
                assert next_invoice_status(status, command) is INVOICE_TRANSITIONS[status, command]
            else:
                with pytest.raises(Conflict) as caught:
                    next_invoice_status(status, command)
                assert caught.value.details["state"] == status.value
    for payment in PaymentStatus:
        for happening in PaymentCommand:
            if (payment, happening) not in PAYMENT_TRANSITIONS:
                with pytest.raises(Conflict):
                    next_payment_status(payment, happening)


def test_a_conflict_names_the_state_and_what_is_possible() -> None:
    with pytest.raises(Conflict) as caught:
        next_invoice_status(InvoiceStatus.FINALIZED, InvoiceCommand.finalize)
    assert caught.value.state == "FINALIZED"
    assert caught.value.possible == ("void",)
    assert "possible now: void" in caught.value.message
    with pytest.raises(Conflict) as nothing:
        next_invoice_status(InvoiceStatus.VOIDED, InvoiceCommand.void)
    assert nothing.value.possible == ()


def test_nothing_follows_a_void_and_a_charge_in_flight_blocks_it() -> None:
    assert not [status for status, _ in INVOICE_TRANSITIONS if status is InvoiceStatus.VOIDED]
    with pytest.raises(Conflict):
        next_payment_status(PaymentStatus.PROCESSING, PaymentCommand.void)
    assert next_payment_status(PaymentStatus.SUCCEEDED, PaymentCommand.void) is PaymentStatus.REFUNDED


def test_only_a_finalized_invoice_is_paid() -> None:
    require_finalized(InvoiceStatus.FINALIZED, "attempt payment")
    with pytest.raises(Conflict, match="it must be FINALIZED") as caught:
        require_finalized(InvoiceStatus.DRAFT, "attempt payment")
    assert caught.value.possible == ("finalize", "void")


@pytest.mark.parametrize(
    ("status", "payment", "possible"),
    [
        ("DRAFT", "PENDING", ("finalize", "void")),
        ("SKIPPED", "PENDING", ("void",)),
        ("VOIDED", "VOIDED", ()),
        ("FINALIZED", "PENDING", ("attempt_payment", "pay", "void")),
        ("FINALIZED", "FAILED", ("attempt_payment", "pay", "void")),
        ("FINALIZED", "PROCESSING", ()),
        ("FINALIZED", "SUCCEEDED", ("void",)),
        ("FINALIZED", "OVERPAID", ("void",)),
        ("FINALIZED", "PARTIALLY_REFUNDED", ("void",)),
        ("FINALIZED", "REFUNDED", ("void",)),
    ],
)
def test_what_is_named_as_possible_is(status: str, payment: str, possible: tuple[str, ...]) -> None:
    """And what is not named is refused, with the same names."""
    at = InvoiceStatus(status), PaymentStatus(payment)
    assert possible_now(*at) == possible
    checks: dict[str, Callable[[], object]] = {
        "finalize": lambda: require_draft(*at, "finalize"),
        "void": lambda: after_void(*at),
        "attempt_payment": lambda: require_unpaid(*at, "attempt_payment"),
        "pay": lambda: check_offline_payment(*at, Decimal(1), "usd"),
    }
    for name, check in checks.items():
        if name in possible:
            check()
        elif not (name == "attempt_payment" and payment == "PROCESSING"):  # that one only looks at the open attempt
            with pytest.raises(Conflict) as refused:
                check()
            assert refused.value.state in (status, payment)
            assert refused.value.possible == possible


def test_what_is_being_paid_is_not_voided() -> None:
    """Its outcome decides what the void has to give back."""
    with pytest.raises(Conflict, match="the invoice is being paid; once the provider has answered it is") as caught:
        after_void(InvoiceStatus.FINALIZED, PaymentStatus.PROCESSING)
    assert caught.value.state == "PROCESSING"


@pytest.mark.parametrize("paid", ["SUCCEEDED", "OVERPAID", "PARTIALLY_REFUNDED", "REFUNDED"])
def test_what_was_paid_is_refunded_by_a_void(paid: str) -> None:
    after = after_void(InvoiceStatus.FINALIZED, PaymentStatus(paid))
    assert after == (InvoiceStatus.VOIDED, PaymentStatus.REFUNDED)


@pytest.mark.parametrize(
    ("wanted", "status", "ends"),
    [
        (ExhaustedSubscription.cancel, SubscriptionStatus.past_due, True),
        (ExhaustedSubscription.keep, SubscriptionStatus.past_due, False),
        (ExhaustedSubscription.cancel, SubscriptionStatus.paused, False),  # it accrues nothing that could be unpaid
        (ExhaustedSubscription.cancel, SubscriptionStatus.cancelled, False),
        (ExhaustedSubscription.cancel, SubscriptionStatus.trialing, False),
    ],
)
def test_which_subscription_exhausted_dunning_ends(
    wanted: ExhaustedSubscription, status: SubscriptionStatus, ends: bool
) -> None:
    assert DunningSettings(on_exhausted_subscription=wanted).ends(status) is ends


def test_what_becomes_of_the_invoice_is_the_tenants_choice() -> None:
    assert DunningSettings(on_exhausted_invoice=ExhaustedInvoice.uncollectible).writes_off
    assert not DunningSettings(on_exhausted_invoice=ExhaustedInvoice.open).writes_off
