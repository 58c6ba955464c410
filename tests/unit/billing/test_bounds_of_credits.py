"""Credits, coupons and promises at their bounds: what is told, what is kept, and the sums that only two parts show."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from msgspec import structs

from billing.commitments import Commitment, CommitmentType, DueCommitment, TimeBucket, check_aligned
from billing.coupons import Coupon, CouponAssociation, CouponCadence, CouponType, check_redeemable
from billing.errors import Conflict, Invalid
from billing.invoices import build_final_invoice, build_invoice, verify
from billing.ledger import ACCOUNTS_RECEIVABLE, CUSTOMER_CREDIT, PostingKind, post_recovered, post_written_off
from billing.periods import BillingPeriod, Cadence, Period
from billing.prices import InvoiceCadence, PriceType, TierMode
from billing.scheduled_cancellation import schedule_cancellation
from billing.subscriptions import open_subscription
from billing.terms import BillingReason, LineKind
from billing.top_ups import TopUp, TopUpKind, invoice_for
from billing.wallet_balances import asked_of
from billing.wallet_postings import post_paid_by_wallet, post_taken_for_refund
from billing.wallets import (
    AllowedPriceTypes,
    CreditLot,
    EntryReason,
    Wallet,
    WalletStatus,
    WalletType,
    take_back,
    terminate,
)
from billing.windows import WindowSize

from .builders import credit_due, fixed_due, inputs, seat, snapshot, span, talk, tax, terms, tiered, usage_due, utc

D = Decimal
MONTH = span("2025-01-31", "2025-02-28")
PER_UNIT = tiered(TierMode.SLAB, (None, "1", "0"))
AT = utc("2025-02-10")


def percent(off: str) -> Coupon:
    return Coupon("c", "C", CouponType.percentage, percentage_off=D(off), cadence=CouponCadence.forever)


def test_a_coupon_of_half_a_percent_takes_half_a_percent() -> None:
    """62.50 of seats: 0.5 % are 0.3125, rounded 0.31."""
    made = replace(inputs(fixed_due(seat())), coupons=(CouponAssociation("a", percent("0.5")),))
    assert build_final_invoice(made).total_discount == D("0.31")


def test_a_coupon_of_a_phase_is_for_what_begins_in_it() -> None:
    """Of two months of 62.50 in one invoice the first has 10 % off."""
    first, second = span("2025-02-01", "2025-03-01"), span("2025-03-01", "2025-04-01")
    phase = CouponAssociation("a", percent("10"), starts_at=first.start, ends_at=second.start)
    made = replace(inputs(fixed_due(seat(), period=first), fixed_due(seat(), period=second)), coupons=(phase,))
    assert [line.discount for line in build_final_invoice(made).lines] == [D("6.25"), D(0)]


@pytest.mark.parametrize(
    ("change", "redemptions", "error", "words", "field", "state"),
    [
        ({"type": CouponType.fixed, "percentage_off": None, "amount_off": D(1), "currency": "eur"}, 0, Invalid,
         "coupon c is in eur, the subscription in usd", "currency", None),
        ({"redeem_after": AT + timedelta(seconds=1)}, 0, Conflict,
         "coupon c can be redeemed from 2025-02-10T00:00:01+00:00 on", None, "not_yet"),
        ({"redeem_before": AT}, 0, Conflict, "coupon c could be redeemed before 2025-02-10T00:00:00+00:00", None,
         "expired"),
        ({"max_redemptions": 3}, 3, Conflict, "all 3 redemptions of coupon c are taken", None, "exhausted"),
    ],
)  # fmt: skip
def test_why_a_coupon_cannot_be_taken(
    change: dict[str, Any],
    redemptions: int,
    error: type[Exception],
    words: str,
    field: str | None,
    state: str | None,
) -> None:
    coupon = replace(percent("10"), **change)
    with pytest.raises(error) as refused:
        check_redeemable(coupon, "usd", AT, redemptions)
    told = refused.value
    assert isinstance(told, Invalid | Conflict)
    assert (told.message, told.field, told.details.get("state")) == (words, field, state)


def test_carried_credit_has_the_tax_of_each_credit() -> None:
    """40 with 4 of tax and 20 with 1 of tax are credited, 1 is charged: 59 are carried, of 60 that were billed.

    The charge takes its part of both: 59/60 x (4 + 1) = 4.9166, 4.92 of tax.
    """
    made = inputs(
        fixed_due(seat("1"), "1"),
        credit_due("40", Fraction(1), exclusive_tax="4"),
        credit_due("20", Fraction(1), exclusive_tax="1"),
        taxes=(tax("10"),),
    )
    carried = build_final_invoice(made).carried
    # the 1 lowers both credits in proportion: 39.33 and 19.67, with 3.933 and 0.9835 of tax
    assert (carried.amount, carried.exclusive_tax) == (D("59.00"), D("4.92"))


def test_only_the_right_wallet_pays() -> None:
    for wallet in (Wallet("w", WalletType.POST_PAID, "usd"), Wallet("w", WalletType.PRE_PAID, "eur")):
        with pytest.raises(Invalid, match="wallet w must be PRE_PAID and in usd") as refused:
            build_invoice(replace(inputs(fixed_due(seat())), wallet=wallet))
        assert refused.value.field == "wallet"


def test_what_is_stored_beyond_or_short_of_an_invoice_is_told() -> None:
    made = inputs(fixed_due(seat()), taxes=(tax(),))
    invoice = build_final_invoice(made)
    line = structs.replace(invoice.lines[0], line_item_id=None)
    assert verify(made, structs.replace(invoice, lines=(line,))) == (
        "lines[0].line_item_id: expected 'line_0', stored None",
    )


def test_two_promises_are_trued_up_each() -> None:
    """10 of 40 and 5 of 12 were used: 30 and 7 are missing."""
    other = replace(PER_UNIT, id="price_other", meter_id="meter_other")
    second = replace(usage_due(other), line_item_id="line_2")
    promises = tuple(
        DueCommitment(Commitment(CommitmentType.amount, D(value), line, true_up=True), MONTH, price=price)
        for value, line, price in ((40, "line_1", PER_UNIT), (12, "line_2", other))
    )
    usage = (snapshot("meter_talk", MONTH, "10"), snapshot("meter_other", MONTH, "5"))
    invoice = build_final_invoice(replace(inputs(usage_due(PER_UNIT), second, usage=usage), commitments=promises))
    assert [(line.kind, line.line_item_id, line.amount) for line in invoice.lines] == [
        (LineKind.usage, "line_1", D(10)), (LineKind.usage, "line_2", D(5)),
        (LineKind.true_up, "line_1", D(30)), (LineKind.true_up, "line_2", D(7)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "end", "inside", "outside"),
    [
        (600, 660, [600, 659], [599, 660]),
        (1320, 360, [1320, 1439, 0, 359], [360, 1319]),  # over midnight
    ],
)
def test_a_time_of_day(start: int, end: int, inside: list[int], outside: list[int]) -> None:
    bucket = TimeBucket(start, end, CommitmentType.amount, D("0.5"))
    assert all(bucket.contains(minutes) for minutes in inside)
    assert not any(bucket.contains(minutes) for minutes in outside)
    with pytest.raises(Invalid):
        TimeBucket(start, end, CommitmentType.amount, D(0))


def test_a_window_at_half_past_has_the_promise_of_its_minute() -> None:
    early = TimeBucket(0, 30, CommitmentType.amount, D(1))
    late = TimeBucket(30, 60, CommitmentType.amount, D(2))
    one = Commitment(CommitmentType.amount, D(0), "line_1", windowed=True, time_buckets=(early, late))
    found = [one.bucket_at(utc(f"2025-02-01T{clock}")) for clock in ("00:00", "00:29", "00:30", "00:59", "01:00")]
    assert found == [0, 0, 1, 1, None]


def test_a_time_of_day_is_aligned_whatever_the_clock_of_the_start() -> None:
    """The subscription starts at 10:17:30; buckets of an hour are cut at full hours all the same."""
    start = utc("2025-02-01T10:17:30").replace(microsecond=5)
    check_aligned(TimeBucket(6 * 60, 9 * 60, CommitmentType.amount, D(1)), WindowSize("HOUR"), "UTC", start)
    with pytest.raises(Invalid):
        check_aligned(TimeBucket(6 * 60 + 15, 9 * 60, CommitmentType.amount, D(1)), WindowSize("HOUR"), "UTC", start)


def test_a_date_of_cancellation_may_be_the_end_that_was_agreed() -> None:
    made = terms(talk(), start="2025-02-01", end_date="2025-02-20")
    state = open_subscription(made).state
    at = utc("2025-02-20")
    assert schedule_cancellation(made, state, AT, at).cancel_at == at
    with pytest.raises(Invalid, match="not be after the end_date"):
        schedule_cancellation(made, state, AT, at + timedelta(microseconds=1))


def test_the_invoice_for_bought_credits() -> None:
    wallet = Wallet("w", WalletType.PRE_PAID, "usd", topup_conversion_rate=D("0.8"))
    due = invoice_for(wallet, TopUp("t1", TopUpKind.by_invoice, D(50)), AT, BillingReason.MANUAL)
    assert (due.reason, due.at, due.period) == (BillingReason.MANUAL, AT, Period(AT, AT))
    (line,) = due.lines
    assert (line.kind, line.line_item_id, line.quantity) == (LineKind.credits, "t1", D(50))
    assert (line.price.id, line.price.type, line.price.amount) == ("t1", PriceType.FIXED, D("0.8"))
    assert (line.price.cadence, line.price.invoice_cadence) == (Cadence(BillingPeriod.ONETIME), InvoiceCadence.ADVANCE)
    assert build_final_invoice(replace(inputs(), due=due)).total == D(40)


@pytest.mark.parametrize(
    ("kind", "allowed", "is_draft", "asked"),
    [
        # 62.50 of seats and 30 of usage with 18 % on top are 109.15, of which 50 were paid
        (WalletType.PRE_PAID, AllowedPriceTypes.ALL, True, "92.50"),  # a draft's lines, without tax
        (WalletType.PRE_PAID, AllowedPriceTypes.USAGE, True, "30.00"),
        (WalletType.PRE_PAID, AllowedPriceTypes.ALL, False, "59.15"),  # what is left of the invoice
        (WalletType.PRE_PAID, AllowedPriceTypes.USAGE, False, "0"),  # 50 paid the usage first
        (WalletType.POST_PAID, AllowedPriceTypes.ALL, False, "59.15"),
        (WalletType.POST_PAID, AllowedPriceTypes.USAGE, False, "30.40"),  # 35.40 with tax, 5 of it paid by the wallet
    ],
)
def test_what_an_invoice_asks_of_a_wallet(
    kind: WalletType, allowed: AllowedPriceTypes, is_draft: bool, asked: str
) -> None:
    made = inputs(fixed_due(seat()), usage_due(PER_UNIT), taxes=(tax(),), usage=(snapshot("meter_talk", MONTH, "30"),))
    wallet = Wallet("w", kind, "usd", allowed_price_types=allowed)
    found = asked_of(wallet, build_final_invoice(made), is_draft, owed=D("59.15"), paid=D(50), by_wallet=D(5))
    assert found == D(asked)


def test_what_wallets_post() -> None:
    paid = post_paid_by_wallet("pay_1", D(7), "usd")
    assert (paid.kind, paid.reference) == (PostingKind.payment_succeeded, "pay_1")
    assert [(entry.account, entry.debit, entry.credit) for entry in paid.entries] == [
        (CUSTOMER_CREDIT, D(7), D(0)), (ACCOUNTS_RECEIVABLE, D(0), D(7)),
    ]  # fmt: skip
    taken = post_taken_for_refund("refund_1", D("0.5"), "usd")
    assert (taken.kind, taken.reference) == (PostingKind.wallet_debited, "refund_1")
    back = post_taken_for_refund("refund_1/cancelled", D("-0.5"), "usd")
    assert (back.kind, back.reference) == (PostingKind.wallet_credited, "refund_1/cancelled")


def test_what_is_written_off_and_recovered_is_posted_by_its_own_name() -> None:
    lost, back = post_written_off("inv_1", D(7), "usd"), post_recovered("pay_1", D(2), "usd")
    assert (lost.kind, lost.reference) == (PostingKind.written_off, "inv_1")
    assert (back.kind, back.reference) == (PostingKind.recovered, "pay_1")


def test_a_closed_wallet_stays_closed_and_what_is_taken_has_its_time() -> None:
    lots = (CreditLot("lot", D(10), D(10), utc("2025-01-01")),)
    wallet = Wallet("w", WalletType.PRE_PAID, "usd", lots=lots)
    (entry,) = take_back(wallet, {"lot"}, D(4), AT, "refund_1").entries
    assert (entry.at, entry.credits, entry.reason, entry.reference) == (AT, D(-4), EntryReason.adjustment, "refund_1")
    closed = terminate(wallet, AT).wallet
    with pytest.raises(Conflict, match="wallet w is closed already") as refused:
        terminate(closed, AT)
    assert refused.value.details["state"] == WalletStatus.closed
