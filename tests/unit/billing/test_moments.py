"""Small rules about when: who acts first, how long a price is sold, by when an invoice is to be paid."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from billing.commitments import Commitment, CommitmentType, check_duration
from billing.errors import Invalid
from billing.invoice_states import PAID, InvoiceStatus, PaymentStatus, is_closed
from billing.invoice_timing import check_timing
from billing.invoices import payable_until
from billing.late_usage import look_back_invoice
from billing.line_trials import trial_end_of
from billing.order import act_first
from billing.periods import BillingPeriod, Cadence, to_milliseconds
from billing.price_versions import check_sold, end_of_sale
from billing.terms import BillingReason

from .builders import span, talk, terms, utc

DAILY, WEEKLY, MONTHLY, QUARTERLY = (
    BillingPeriod.DAILY, BillingPeriod.WEEKLY, BillingPeriod.MONTHLY, BillingPeriod.QUARTERLY,
)  # fmt: skip

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
        with pytest.raises(Invalid, match=r"^end_date must lie after start_date$") as refused:
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


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        (Cadence(MONTHLY), Cadence(MONTHLY), True),
        (Cadence(QUARTERLY), Cadence(MONTHLY, 3), True),
        (Cadence(MONTHLY, 2), Cadence(QUARTERLY), False),
        (Cadence(DAILY, 7), Cadence(WEEKLY), True),
        (Cadence(DAILY, 6), Cadence(WEEKLY), False),
        (Cadence(MONTHLY), Cadence(WEEKLY, 4), True),  # February has 28 days
        (Cadence(MONTHLY), Cadence(DAILY, 29), False),
        (Cadence(DAILY, 31), Cadence(MONTHLY), True),
        (Cadence(DAILY, 30), Cadence(MONTHLY), False),  # January has 31
    ],
)
def test_whether_one_period_is_never_shorter_than_another(one: Cadence, other: Cadence, covers: bool) -> None:
    assert one.covers(other) is covers


def test_a_commitment_lasts_at_least_as_long_as_what_is_billed_at_once() -> None:
    """Else usage of weeks that are over would count towards one week's promise."""
    quarterly = Cadence(QUARTERLY)
    check_duration(None, [quarterly])
    check_duration(QUARTERLY, [Cadence(MONTHLY), quarterly])
    check_duration(BillingPeriod.ANNUAL, [quarterly])
    for cadences in ([quarterly], [Cadence(MONTHLY), quarterly]):  # the subscription's, or the line's
        with pytest.raises(Invalid, match="shorter than what is billed at once, 1 x QUARTERLY; got MONTHLY"):
            check_duration(MONTHLY, cadences)
    made = terms(talk(), start="2025-02-01")
    for line in ("line_0", None):
        weekly = Commitment(CommitmentType.amount, Decimal(5), line, duration=WEEKLY)
        with pytest.raises(Invalid) as refused:
            replace(made, commitments=(weekly,))
        assert refused.value.field == "commitment_duration"
    yearly = replace(made.lines[0], price=talk(Cadence(BillingPeriod.ANNUAL)))
    with pytest.raises(Invalid, match="1 x ANNUAL"):
        replace(
            made,
            lines=(yearly,),
            commitments=(Commitment(CommitmentType.amount, Decimal(5), "line_0", duration=MONTHLY),),
        )


def test_the_bounds_of_grace_trial_and_terms_of_payment() -> None:
    for grace, days in ((0, 0), (31 * 86_400, 365)):
        check_timing(grace, days)
    for grace, days, field in (
        (-1, 0, "finalization_delay_seconds"), (31 * 86_400 + 1, 0, "finalization_delay_seconds"),
        (0, -1, "due_date_days"), (0, 366, "due_date_days"),
    ):  # fmt: skip
        with pytest.raises(Invalid) as refused:
            check_timing(grace, days)
        assert refused.value.field == field
    assert trial_end_of(MONDAY, "UTC", 0) is None
    assert trial_end_of(MONDAY, "UTC", 4) == FRIDAY
    assert trial_end_of(MONDAY, "UTC", 3650) == utc("2035-03-01")  # ten years with two leap days
    for days in (-1, 3651):
        with pytest.raises(Invalid, match="trial_period_days must be from 0 to 3650"):
            trial_end_of(MONDAY, "UTC", days)
