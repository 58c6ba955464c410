"""What is not possible now, or not any more: the words, the field, the present state and what would be possible."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.collection import check_offline_payment, check_refund
from billing.commitments import Commitment, CommitmentType
from billing.coupons import Coupon, CouponAssociation, CouponType, discounts
from billing.credit_notes import CreditNoteType, InvoiceBalance, issue_credit_note
from billing.dunning import DunningSettings, next_attempt
from billing.errors import Conflict, Invalid, InvariantBroken
from billing.event_times import check_event_time
from billing.invoice_states import (
    InvoiceCommand,
    InvoiceStatus,
    PaymentCommand,
    PaymentStatus,
    next_invoice_status,
    next_payment_status,
    require_draft,
    require_finalized,
)
from billing.invoices import build_invoice
from billing.ledger import Entry, Posting, PostingKind, release_deferred
from billing.periods import BillingPeriod
from billing.price_units import PriceUnit
from billing.price_versions import PriceVersion, sync_prices
from billing.scheduled_cancellation import schedule_cancellation
from billing.subscriptions import SubscriptionStatus, open_subscription
from billing.voids import after_void

from .builders import fixed_due, inputs, seat, span, talk, terms, utc

D = Decimal
FEBRUARY = terms(seat(), talk(), start="2025-02-01")
STATE = open_subscription(FEBRUARY).state
PAUSED = replace(STATE, status=SubscriptionStatus.paused)
RECEIVED = utc("2025-03-31")
COMMITTED = replace(
    FEBRUARY, commitments=(Commitment(CommitmentType.amount, D(9), "line_1", duration=BillingPeriod.QUARTERLY),)
)
OWED = (InvoiceStatus.FINALIZED, PaymentStatus.PENDING)
OFFLINE = "amount must be above 0, with no more decimals than usd has"
MARCH = build_invoice(inputs(fixed_due(seat()))).lines[0]
NOTHING_LEFT = InvoiceBalance(D(0))
FIVE_EUROS = Coupon("c", "Five", CouponType.fixed, None, D(5), "eur")
NEWER = [PriceVersion(talk(), replace(talk(), id="newer"))]
REFUND = (
    "amount must be above 0 and at most 10 usd, what is left of the payment, with no more decimals than the currency"
)


@pytest.mark.parametrize(
    ("make", "field", "message"),
    [
        (
            lambda: check_event_time(utc("2022-02-27"), RECEIVED),
            "timestamp",
            "timestamp must not be older than 37 months, that is before 2022-02-28T00:00:00+00:00",
        ),
        (
            lambda: check_event_time(RECEIVED + timedelta(hours=25), RECEIVED),
            "timestamp",
            "timestamp must not be more than 24 hours ahead, that is after 2025-04-01T00:00:00+00:00",
        ),
        (lambda: check_refund(D("10.01"), D(10), "usd"), "amount", f"{REFUND} has; got 10.01"),
        (lambda: check_refund(D("0.001"), D(10), "usd"), "amount", f"{REFUND} has; got 0.001"),
        (lambda: check_refund(D(0), D(10), "usd"), "amount", f"{REFUND} has; got 0"),
        (lambda: check_offline_payment(*OWED, D(0), "usd"), "amount", f"{OFFLINE}; got 0"),
        (
            lambda: check_offline_payment(*OWED, D("0.001"), "usd"),
            "amount",
            f"{OFFLINE}; got 0.001",
        ),
        (
            lambda: schedule_cancellation(FEBRUARY, STATE, utc("2025-02-10"), utc("2025-02-10")),
            "cancel_at",
            "cancel_at must be after 2025-02-10T00:00:00+00:00, the time of the command",
        ),
        (
            lambda: schedule_cancellation(FEBRUARY, STATE, utc("2025-02-10"), datetime(9999, 1, 1, tzinfo=UTC)),
            "cancel_at",
            "cancel_at must lie between the years 1970 and 9990; got 9999",
        ),
        (
            lambda: schedule_cancellation(
                replace(FEBRUARY, end_date=utc("2025-06-01")), STATE, utc("2025-02-10"), utc("2025-06-02")
            ),
            "cancel_at",
            "cancel_at must not be after the end_date 2025-06-01T00:00:00+00:00",
        ),
        (
            lambda: next_attempt(DunningSettings(), 0, utc("2025-03-01")),
            "failures",
            "failures must be at least 1; got 0",
        ),
        (
            lambda: next_attempt(DunningSettings(), 1, datetime(1901, 1, 1, tzinfo=UTC)),
            "first_failed_at",
            "first_failed_at must lie between the years 1970 and 9990; got 1901",
        ),
        (
            lambda: discounts([], [CouponAssociation("a", FIVE_EUROS)], "usd"),
            "currency",
            "coupon c is in eur, the invoice in usd",
        ),
        (lambda: PriceUnit("tok", "usd", D(0)), "conversion_rate", "conversion_rate must be above 0; got 0"),
    ],
)
def test_a_refusal_names_the_field_and_what_would_be_right(
    make: Callable[[], object], field: str, message: str
) -> None:
    with pytest.raises(Invalid) as refused:
        make()
    assert (refused.value.field, refused.value.message) == (field, message)


@pytest.mark.parametrize(
    ("make", "state", "possible", "field", "message"),
    [
        (
            lambda: next_invoice_status(InvoiceStatus.FINALIZED, InvoiceCommand.finalize),
            "FINALIZED",
            ("void",),
            "invoice_status",
            "finalize is not possible: invoice_status is FINALIZED; possible now: void",
        ),
        (
            lambda: next_invoice_status(InvoiceStatus.VOIDED, InvoiceCommand.void),
            "VOIDED",
            (),
            "invoice_status",
            "void is not possible: invoice_status is VOIDED; possible now: nothing",
        ),
        (
            lambda: next_payment_status(PaymentStatus.PROCESSING, PaymentCommand.attempt),
            "PROCESSING",
            ("succeed", "decline", "require_action"),
            "payment_status",
            "attempt is not possible: payment_status is PROCESSING; possible now: succeed, decline, require_action",
        ),
        (
            lambda: require_finalized(InvoiceStatus.DRAFT, "pay"),
            "DRAFT",
            ("finalize", "void"),
            "invoice_status",
            "pay is not possible: the invoice is DRAFT, it must be FINALIZED",
        ),
        (
            lambda: after_void(InvoiceStatus.FINALIZED, PaymentStatus.PROCESSING),
            "PROCESSING",
            (),
            None,
            "void is not possible: the invoice is being paid; once the provider has answered it is, and what was paid"
            " goes to the customer's wallet",
        ),
        (
            lambda: check_refund(D(1), D(0), "usd"),
            "REFUNDED",
            (),
            None,
            "refund is not possible: nothing is left of the payment: it has gone back, or to the customer's wallet",
        ),
        (
            lambda: check_offline_payment(InvoiceStatus.FINALIZED, PaymentStatus.SUCCEEDED, D(1), "usd"),
            "SUCCEEDED",
            ("void",),
            "invoice_status",
            "pay is not possible: the invoice is paid; it must be FINALIZED and unpaid; possible now: void",
        ),
        (
            lambda: check_offline_payment(InvoiceStatus.FINALIZED, PaymentStatus.PROCESSING, D(1), "usd"),
            "PROCESSING",
            (),
            None,
            "pay is not possible while an attempt at the provider is under way: its outcome comes first",
        ),
        (
            lambda: require_draft(InvoiceStatus.VOIDED, PaymentStatus.VOIDED, "finalize"),
            "VOIDED",
            (),
            "invoice_status",
            "finalize is not possible: the invoice is VOIDED; it must be a DRAFT; possible now: nothing",
        ),
        (
            lambda: schedule_cancellation(FEBRUARY, PAUSED, utc("2025-02-10"), utc("2025-02-20")),
            "paused",
            (),
            None,
            "cancel is not possible: the subscription is paused",
        ),
        (
            lambda: sync_prices(COMMITTED, STATE, NEWER, {"line_1": "b"}),
            "active",
            (),
            "commitment_duration",
            "sync is not possible: line line_1 is committed to for a QUARTERLY period at one price",
        ),
        (
            lambda: issue_credit_note(NOTHING_LEFT, InvoiceStatus.DRAFT, CreditNoteType.REFUND, D(1), "usd"),
            "DRAFT",
            ("finalize", "void"),
            "invoice_status",
            "credit_note is not possible: the invoice is DRAFT, it must be FINALIZED",
        ),
        (
            lambda: issue_credit_note(NOTHING_LEFT, InvoiceStatus.FINALIZED, CreditNoteType.REFUND, D(1), "usd"),
            "FINALIZED",
            (),
            "credit_note_type",
            "REFUND is not possible: nothing is left of what was paid",
        ),
        (
            lambda: issue_credit_note(NOTHING_LEFT, InvoiceStatus.FINALIZED, CreditNoteType.ADJUSTMENT, D(1), "usd"),
            "FINALIZED",
            (),
            "credit_note_type",
            "ADJUSTMENT is not possible: nothing is left to pay",
        ),
        (
            lambda: release_deferred("li_1", MARCH, D(0), RECEIVED - timedelta(microseconds=1)),
            "deferred",
            (),
            None,
            "the period of line li_1 ends only at 2025-03-31T00:00:00+00:00",
        ),
    ],
)  # fmt: skip
def test_a_conflict_names_the_state_and_what_is_possible(
    make: Callable[[], object], state: str, possible: tuple[str, ...], field: str | None, message: str
) -> None:
    with pytest.raises(Conflict) as refused:
        make()
    error = refused.value
    assert (error.state, error.possible, error.field, error.message) == (state, possible, field, message)
    assert error.details == {"state": state, "possible": list(possible)}


def entry(debit: str, credit: str, currency: str = "usd") -> Entry:
    return Entry("cash", D(debit), D(credit), currency)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: entry("1", "1"), "one side above 0"),
        (lambda: entry("0", "0"), "one side above 0"),
        (lambda: entry("-1", "0"), "one side above 0"),
        (lambda: entry("0.001", "0"), "no more digits than its currency"),
        (lambda: entry("0.5", "0", "jpy"), "no more digits than its currency"),
        (
            lambda: Posting(PostingKind.invoice_finalized, "inv_1", (entry("2", "0"), entry("0", "1"))),
            "posting invoice_finalized of inv_1 does not balance in usd",
        ),
        (
            lambda: Posting(
                PostingKind.invoice_finalized,
                "inv_1",
                (entry("2", "0"), entry("0", "2"), entry("1", "0", "eur"), entry("0", "1", "jpy")),
            ),
            "posting invoice_finalized of inv_1 does not balance in ",
        ),
    ],
)
def test_a_ledger_that_does_not_balance_is_never_written(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InvariantBroken, match=message):
        make()


def test_deferred_revenue_is_released_when_the_period_is_over() -> None:
    (line,) = build_invoice(inputs(fixed_due(seat(), period=span("2025-02-01", "2025-03-01")))).lines
    posting = release_deferred("li_1", line, D("12.50"), utc("2025-03-01"))
    assert posting is not None
    assert [(one.account, one.debit, one.credit) for one in posting.entries] == [
        ("deferred_revenue", D("50.00"), D(0)),
        ("revenue", D(0), D("50.00")),
    ]
