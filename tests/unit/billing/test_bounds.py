"""Bounds: the last value that is allowed, what is just beyond it, and what stands beside the thing that is meant."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from billing.commitment_lines import commitment_counts, due_commitments
from billing.commitments import Commitment, CommitmentBuckets, CommitmentType, DueCommitment
from billing.coupons import Coupon, CouponAssociation, CouponCadence, CouponType, DiscountBase, discounts
from billing.credit_notes import CreditNoteType, InvoiceBalance, issue_credit_note
from billing.errors import Conflict, Invalid
from billing.invoice_states import InvoiceStatus
from billing.invoices import build_final_invoice
from billing.meters import UsagePart
from billing.periods import BillingPeriod, Cadence
from billing.prices import TierMode, TransformQuantity, rate
from billing.subscription_changes import daily_cost
from billing.terms import BilledLine
from billing.unused_time import with_unused_time
from billing.wallets import CreditLot, EntryReason, Wallet, WalletStatus, WalletType, debit, terminate
from billing.windows import WindowSize

from .builders import inputs, package, seat, snapshot, span, talk, terms, tiered, usage_due, utc

D = Decimal
USED = span("2025-01-31", "2025-02-28")
PER_UNIT = tiered(TierMode.SLAB, (None, "1", "0"))


def percent(value: str, **parts: object) -> Coupon:
    made = Coupon(value, f"{value} % off", CouponType.percentage, D(value), cadence=CouponCadence.forever)
    return replace(made, **parts)  # type: ignore[arg-type]


def test_one_is_enough() -> None:
    """One package of one unit, one redemption, one period."""
    once = percent("10", cadence=CouponCadence.repeated, duration_in_periods=1, max_redemptions=1)
    assert (once.invoices_max, once.max_redemptions) == (1, 1)
    assert rate(replace(package(), transform_quantity=TransformQuantity(1)), 3).amount == D("14.25")


def test_a_volume_price_says_which_tier_was_reached() -> None:
    price = tiered(TierMode.VOLUME, ("10", "2", "0"), (None, "1", "0"))
    assert [rate(price, quantity).steps[0].tier for quantity in (10, 11)] == [0, 1]


def test_a_coupon_that_is_used_up_does_not_hide_the_next() -> None:
    spent = CouponAssociation("spent", percent("50", cadence=CouponCadence.once), None, 1)
    found = discounts(
        [DiscountBase("a", D(100), utc("2025-02-01"))], [spent, CouponAssociation("b", percent("10"))], "usd"
    )
    assert [(one.association_id, one.amount) for one in found] == [("b", D(10))]


@pytest.mark.parametrize("line_item_id", [None, "a"])
def test_a_coupon_of_a_phase_is_for_lines_that_begin_in_it(line_item_id: str | None) -> None:
    association = CouponAssociation(
        "b", percent("10"), line_item_id, starts_at=utc("2025-02-01"), ends_at=utc("2025-03-01")
    )
    starts = ("2025-01-31", "2025-02-01", "2025-02-28", "2025-03-01")
    (found,) = discounts([DiscountBase("a", D(100), utc(start)) for start in starts], [association], "usd")
    assert [part != 0 for part in found.parts] == [False, True, True, False]
    assert found.base == D(200)


@pytest.mark.parametrize("amount", ["0", "-1", "10.01", "0.001"])
def test_a_credit_note_is_above_nothing_and_at_most_what_is_left(amount: str) -> None:
    balance = InvoiceBalance(D(10), D(0), D(0), D(0))
    with pytest.raises(Invalid, match=f"at most 10, with no more digits than usd has; got {amount}") as refusal:
        issue_credit_note(balance, InvoiceStatus.FINALIZED, CreditNoteType.ADJUSTMENT, D(amount), "usd")
    assert refusal.value.field == "amount"
    all_of_it = issue_credit_note(balance, InvoiceStatus.FINALIZED, CreditNoteType.ADJUSTMENT, D(10), "usd")
    with pytest.raises(Conflict, match="nothing is left to pay") as conflict:
        issue_credit_note(all_of_it, InvoiceStatus.FINALIZED, CreditNoteType.ADJUSTMENT, D(1), "usd")
    assert (conflict.value.state, conflict.value.field) == (InvoiceStatus.FINALIZED, "credit_note_type")


LOTS = (CreditLot("a", D(10), D(6), utc("2025-01-01")), CreditLot("b", D(5), D(5), utc("2025-01-02")))
WALLET = Wallet("w", WalletType.PRE_PAID, "usd", lots=LOTS)


def test_all_that_is_there_can_be_taken_out() -> None:
    taken = debit(WALLET, D(11), utc("2025-02-01"))
    assert [(entry.lot_id, entry.credits) for entry in taken.entries] == [("a", D(-6)), ("b", D(-5))]
    with pytest.raises(Conflict, match="at most 11") as refusal:
        debit(WALLET, D("11.01"), utc("2025-02-01"))
    assert (refusal.value.state, refusal.value.field) == (WalletStatus.active, "credits")


def test_what_is_left_when_a_wallet_ends_is_written_off_at_that_instant() -> None:
    at = utc("2025-02-01")
    ended = terminate(WALLET, at)
    assert [(entry.reason, entry.at) for entry in ended.entries] == [(EntryReason.terminated, at)] * 2
    assert ended.wallet.status is WalletStatus.closed


def test_costs_a_day_are_those_of_all_recurring_lines_whatever_their_length() -> None:
    weekly = replace(seat("21", Cadence(BillingPeriod.WEEKLY)), id="weekly")
    quarterly = replace(seat("1460.97", Cadence(BillingPeriod.QUARTERLY)), id="quarterly")
    # 21 / 7 = 3 a day, and 1460.97 over 3 months of 365.2425 / 12 = 30.436875 days: 16 a day
    lines = terms(weekly, quarterly, talk(), quantity="1").lines
    assert [daily_cost(lines[:count]) for count in range(4)] == [0, 3, 19, 19]


def billed_line(item: str, credited: str = "0") -> BilledLine:
    return BilledLine("inv", "li", item, seat(), D(1), USED, D(10), credited=D(credited))


def test_time_is_credited_of_lines_that_were_in_force_until_then_and_only_once() -> None:
    made = terms(seat(), replace(seat(), id="other"), replace(seat(), id="third"))
    ends = (utc("2025-02-09"), utc("2025-02-10"), None)
    made = replace(made, lines=tuple(replace(line, end=end) for line, end in zip(made.lines, ends, strict=True)))
    billed = [billed_line("line_0"), billed_line("line_1"), billed_line("line_2"), billed_line("line_2", credited="1")]
    assert with_unused_time(made, billed, utc("2025-02-10")) == (billed[1], billed[2])


def test_only_the_committed_line_counts_towards_its_commitment() -> None:
    other = replace(usage_due(package()), line_item_id="line_2")
    usage = (snapshot("meter_talk", USED, "30"), snapshot("meter_premium", USED, "100"))
    promised = DueCommitment(Commitment(CommitmentType.amount, D(50), "line_1", true_up=True), USED, price=PER_UNIT)
    invoice = build_final_invoice(replace(inputs(usage_due(PER_UNIT), other, usage=usage), commitments=(promised,)))
    # 30 of 50 are used: 20 are missing; the packages (2 x 4.75) count for nothing
    assert [(line.kind.value, str(line.amount)) for line in invoice.lines] == [
        ("usage", "30.00"), ("usage", "9.50"), ("true_up", "20.00"),
    ]  # fmt: skip
    counts = commitment_counts(invoice.lines)
    assert [(count.line_item_id, count.amount) for count in counts] == [("line_1", D(30))]
    true_up = invoice.lines[-1]
    assert (true_up.line_item_id, true_up.price_id) == ("line_1", PER_UNIT.id)
    derivation = true_up.derivation
    assert (derivation.quantity, derivation.share, derivation.price) == (Fraction(1), Fraction(1), PER_UNIT)
    part = derivation.commitment
    assert part is not None
    assert (part.line_item_id, part.whole, part.within) == ("line_1", Fraction(50), Fraction(30))
    assert (part.committed, part.counted, part.factor) == (D(50), D(30), D(1))


def test_units_that_are_promised_for_a_window_are_worth_what_they_cost() -> None:
    """2 a unit and 4 units promised a day: 3 and 10 units are 6 and 20, of which 6 and 8 count; 12 are beyond."""
    days = [span("2025-01-31", "2025-02-01"), span("2025-02-01", "2025-02-02")]
    price = tiered(TierMode.SLAB, (None, "2", "0"))
    due = usage_due(price, span("2025-01-31", "2025-02-02"))
    parts = tuple(UsagePart(day, Fraction(units)) for day, units in zip(days, (3, 10), strict=True))
    usage = replace(snapshot("meter_talk", due.period, "13"), parts=parts, bucketed=True)
    buckets = CommitmentBuckets(WindowSize.DAY, "UTC", utc("2025-01-31"))
    promised = Commitment(CommitmentType.quantity, D(4), "line_1", windowed=True)
    made = replace(
        inputs(due, usage=(usage,)), commitments=(DueCommitment(promised, due.period, price=price, buckets=buckets),)
    )
    invoice = build_final_invoice(made)
    assert [(line.kind.value, str(line.amount)) for line in invoice.lines] == [("usage", "14.00"), ("overage", "12.00")]


def test_a_missing_cent_is_trued_up() -> None:
    promised = DueCommitment(Commitment(CommitmentType.amount, D("30.01"), "line_1", true_up=True), USED)
    usage = (snapshot("meter_talk", USED, "30"),)
    invoice = build_final_invoice(replace(inputs(usage_due(PER_UNIT), usage=usage), commitments=(promised,)))
    assert [str(line.amount) for line in invoice.lines] == ["30.00", "0.01"]


def test_a_line_whose_usage_is_not_due_does_not_hide_the_next_commitment() -> None:
    made = terms(talk(), package())
    both = tuple(Commitment(CommitmentType.amount, D(5), name) for name in ("line_0", "line_1"))
    due = (replace(usage_due(package()), line_item_id="line_1"),)
    found = due_commitments(replace(made, commitments=both), USED, due)
    assert [one.commitment.line_item_id for one in found] == ["line_1"]
    assert found[0].share == Fraction(1)
