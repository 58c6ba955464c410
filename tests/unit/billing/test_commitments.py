"""Commitments: splits at the exact amount, overage, true-ups, durations, windows and periods cut short, by hand."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.codec import from_json, to_json
from billing.commitment_lines import commitment_counts, due_commitments
from billing.commitments import (
    Commitment,
    CommitmentBuckets,
    CommitmentCount,
    CommitmentType,
    DueCommitment,
)
from billing.coupons import Coupon, CouponAssociation, CouponCadence, CouponType
from billing.entitlements import Allowance
from billing.errors import Invalid, InvariantBroken
from billing.explain import explain_line, explanations
from billing.invoices import Invoice, InvoiceInputs, build_final_invoice, build_invoice
from billing.meters import UsagePart, UsageSnapshot
from billing.money import minus, total
from billing.periods import BillingCycle, BillingPeriod, Cadence, Period
from billing.prices import Price, TierMode
from billing.terms import DueLine, LineKind, Terms
from billing.usage_lines import allowance_draws
from billing.windows import WindowSize

from .builders import MONTHLY, inputs, package, seat, snapshot, span, talk, terms, tiered, usage_due, utc

USED = span("2025-01-31", "2025-02-28")
PER_UNIT = tiered(TierMode.SLAB, (None, "0.333", "0"))


def promise(value: str, line: str | None = None, **changes: object) -> Commitment:
    made = Commitment(CommitmentType.amount, Decimal(value), line)
    return replace(made, **changes)  # type: ignore[arg-type]


def lines_of(invoice: Invoice) -> list[tuple[str, str]]:
    return [(line.kind.value, str(line.amount)) for line in invoice.lines]


def two_lines(first: str, second: str) -> InvoiceInputs:
    """Two usage lines of 0.333 a unit and 4.75 a package of 50, the items line_1 and line_2."""
    packages = replace(usage_due(package()), line_item_id="line_2")
    usage = (snapshot("meter_talk", USED, first), snapshot("meter_premium", USED, second))
    return inputs(usage_due(PER_UNIT), packages, usage=usage)


def billed(made: InvoiceInputs, *due: DueCommitment) -> Invoice:
    invoice = build_final_invoice(replace(made, commitments=due))
    assert from_json(Invoice, to_json(invoice)) == invoice
    return invoice


ABOVE_0 = "a commitment must be above 0; got 0"
FOR_LINES = "is_window_commitment is for lines, without a commitment_duration"
REFUSED: list[tuple[Callable[[], object], str, str]] = [
    (lambda: promise("0"), "commitment_amount", ABOVE_0),
    (lambda: Commitment(CommitmentType.quantity, Decimal(0), "line_1"), "commitment_quantity", ABOVE_0),
    (
        lambda: promise("5", type=CommitmentType.quantity),
        "commitment_quantity",
        "a subscription's commitment must be an amount",
    ),
    (
        lambda: promise("5", overage_factor=Decimal("0.9")),
        "overage_factor",
        "overage_factor must be 1 or more; got 0.9",
    ),
    (
        lambda: promise("5", duration=BillingPeriod.ONETIME),
        "commitment_duration",
        "commitment_duration must recur; ONETIME is for prices",
    ),
    (lambda: promise("5", windowed=True), "is_window_commitment", FOR_LINES),
    (
        lambda: promise("5", "line_1", windowed=True, duration=BillingPeriod.ANNUAL),
        "is_window_commitment",
        FOR_LINES,
    ),
    # the seat has no usage
    (lambda: agreed(promise("5", "line_0")), "line_item_commitments", "line line_0 has no usage to commit to"),
    (lambda: agreed(promise("5", "line_9")), "line_item_commitments", "line line_9 has no usage to commit to"),
    (
        lambda: agreed(promise("5", "line_1"), promise("6", "line_1")),
        "line_item_commitments",
        "there must be one commitment a line or subscription",
    ),
    (
        lambda: agreed(promise("5"), promise("6", "line_1")),
        "commitment_amount",
        "commit to the whole subscription (commitment_amount) or to lines (line_item_commitments), not to both",
    ),
]


def agreed(*commitments: Commitment, made: Terms | None = None) -> Terms:
    return replace(made or terms(seat(), talk(), package()), commitments=commitments)


@pytest.mark.parametrize(("make", "field", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], field: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        make()
    assert (refused.value.field, refused.value.message) == (field, message)


@pytest.mark.parametrize(
    ("commitment", "counted", "ends", "expected"),
    [
        # 100 x 0.333 = 33.30 and 3 x 4.75 = 14.25: 47.55 in all
        (promise("60"), "0", True, [("usage", "33.30"), ("usage", "14.25")]),
        (promise("60", true_up=True), "0", True, [("usage", "33.30"), ("usage", "14.25"), ("true_up", "12.45")]),
        # the second line crosses at 40: 6.70 counts, 7.55 x 1.5 = 11.325 beyond
        (
            promise("40", overage_factor=Decimal("1.5"), true_up=True), "0", True,
            [("usage", "33.30"), ("usage", "6.70"), ("overage", "11.33")],
        ),
        # factor 1 is a plain commitment, not "off"
        (promise("40"), "0", True, [("usage", "33.30"), ("usage", "6.70"), ("overage", "7.55")]),
        # reached by the first line to the cent: the second is beyond it as a whole
        (promise("33.30"), "0", True, [("usage", "33.30"), ("overage", "14.25")]),
        # 30 of 50 were counted on earlier invoices: 13.30 x 2 and 14.25 x 2 beyond
        (
            promise("50", overage_factor=Decimal(2), duration=BillingPeriod.ANNUAL), "30", True,
            [("usage", "20.00"), ("overage", "26.60"), ("overage", "28.50")],
        ),
        (
            promise("100", true_up=True, duration=BillingPeriod.ANNUAL), "30", False,
            [("usage", "33.30"), ("usage", "14.25")],
        ),
        (
            promise("100", true_up=True, duration=BillingPeriod.ANNUAL), "30", True,
            [("usage", "33.30"), ("usage", "14.25"), ("true_up", "22.45")],
        ),
        # a commitment that shrank below what was counted gives nothing back
        (promise("20", true_up=True), "30", True, [("overage", "33.30"), ("overage", "14.25")]),
    ],
)  # fmt: skip
def test_a_subscriptions_commitment(
    commitment: Commitment, counted: str, ends: bool, expected: list[tuple[str, str]]
) -> None:
    due = DueCommitment(commitment, USED, counted=Decimal(counted), ends=ends)
    assert lines_of(billed(two_lines("100", "101"), due)) == expected


def test_the_split_is_exact_and_conserves_the_quantity() -> None:
    (first, second, over) = billed(
        two_lines("100", "101"), DueCommitment(promise("40", overage_factor=Decimal(2)), USED)
    ).lines
    assert (second.derivation.exact, over.derivation.exact) == (Fraction("6.7"), Fraction("15.1"))
    # 101 units in the ratio of 6.70 to 7.55
    assert second.derivation.quantity + over.derivation.quantity == 101
    assert second.derivation.quantity == 101 * Fraction("6.7") / Fraction("14.25")
    assert explain_line(over)[-3:] == [
        "6.7 of 14.25 counts towards the commitment of 40, after 33.3 before",
        "beyond it: (14.25 - 6.7) x 2 = 15.1",
        "rounded once, half away from zero, to 2 digits: 15.1 -> 15.10 usd",
    ]
    counts = commitment_counts((first, second, over))
    assert [(one.line_item_id, one.period, str(one.amount)) for one in counts] == [
        (None, USED, "33.30"),
        (None, USED, "6.70"),
    ]


def test_a_lines_commitment_in_money_and_in_units() -> None:
    price = usage_due(PER_UNIT).price
    money = DueCommitment(promise("30", "line_1", overage_factor=Decimal(2)), USED, price=price)
    assert lines_of(billed(two_lines("100", "101"), money)) == [
        ("usage", "30.00"), ("overage", "6.60"), ("usage", "14.25"),  # 3.30 x 2
    ]  # fmt: skip
    units = replace(promise("200", "line_1", true_up=True), type=CommitmentType.quantity)
    invoice = billed(two_lines("100", "101"), DueCommitment(units, USED, price=price))
    assert lines_of(invoice) == [("usage", "33.30"), ("usage", "14.25"), ("true_up", "33.30")]  # 66.60 - 33.30
    true_up = invoice.lines[-1]
    assert (true_up.line_item_id, true_up.price_id, true_up.period) == ("line_1", "price_talk", USED)
    assert explain_line(true_up) == [
        "Talk time: true-up to the commitment, 2025-01-31 to 2025-02-28: 33.30 usd",
        "commitment 66.6, counted 33.3: 33.3 is missing",
        "rounded once, half away from zero, to 2 digits: 33.3 -> 33.30 usd",
    ]


def test_no_usage_is_trued_up_as_a_whole_and_a_draft_shows_it() -> None:
    due = DueCommitment(promise("40", true_up=True), USED)
    assert lines_of(billed(two_lines("0", "0"), due)) == [("usage", "0.00"), ("usage", "0.00"), ("true_up", "40.00")]
    assert lines_of(billed(inputs(), due)) == [("true_up", "40.00")]
    assert lines_of(build_invoice(replace(inputs(usage_due(talk())), commitments=(due,))))[-1] == ("true_up", "40.00")


def test_usage_counts_after_its_allowance_and_before_discounts() -> None:
    made = replace(
        two_lines("100", "0"),
        allowances=(Allowance("meter_talk", USED, Fraction(40)),),
        coupons=(
            CouponAssociation(
                "a", Coupon("c", "Ten", CouponType.percentage, Decimal(10), cadence=CouponCadence.forever)
            ),
        ),
    )
    invoice = billed(made, DueCommitment(promise("10"), USED))
    # 60 x 0.333 = 19.98: 10 and 9.98; 10 % of 19.98 = 2.00 off both
    assert lines_of(invoice) == [("usage", "10.00"), ("overage", "9.98"), ("usage", "0.00")]
    assert [str(line.discount) for line in invoice.lines] == ["1.00", "1.00", "0"]
    # the free units are told once
    assert [draw.quantity for draw in allowance_draws(invoice.lines)] == [40]


def daily_usage(*amounts: int) -> tuple[DueLine, UsageSnapshot]:
    """1 a unit in day buckets from noon of 1 February to noon of 5 February, the days without usage left out."""
    line = span("2025-02-01T12:00", "2025-02-05T12:00")
    cuts = ["2025-02-01T12:00", "2025-02-02", "2025-02-03", "2025-02-04", "2025-02-05", "2025-02-05T12:00"]
    parts = tuple(
        UsagePart(span(start, end), Fraction(amount))
        for start, end, amount in zip(cuts, cuts[1:], amounts, strict=False)
        if amount
    )
    price = tiered(TierMode.SLAB, (None, "1", "0"))
    usage = replace(snapshot("meter_talk", line, str(sum(amounts))), parts=parts, bucketed=True)
    return usage_due(price, line), usage


def windowed(due: DueLine, commitment: Commitment) -> DueCommitment:
    buckets = CommitmentBuckets(WindowSize.DAY, "UTC", utc("2025-02-01T12:00"))
    return DueCommitment(commitment, due.period, price=due.price, buckets=buckets)


def test_a_windowed_commitment_is_met_window_by_window() -> None:
    due, usage = daily_usage(3, 10, 0, 25, 7)
    commitment = promise("10", "line_1", windowed=True, true_up=True, overage_factor=Decimal(2))
    # half days promise 5: 3 + 10 + 0 + 10 + 5 count; 15 and 2 are beyond, x 2; 2 and 10 are missing
    assert lines_of(billed(inputs(due, usage=(usage,)), windowed(due, commitment))) == [
        ("usage", "28.00"), ("overage", "34.00"), ("true_up", "12.00"),
    ]  # fmt: skip
    calm, usage = daily_usage(5, 10, 10, 10, 5)
    assert lines_of(billed(inputs(calm, usage=(usage,)), windowed(calm, commitment))) == [("usage", "40.00")]
    plain = replace(commitment, true_up=False)
    quiet, usage = daily_usage(0, 0, 0, 0, 0)
    assert lines_of(billed(inputs(quiet, usage=(usage,)), windowed(quiet, plain))) == [("usage", "0.00")]
    # a draft knows no usage; a capped price leaves less than its windows
    assert lines_of(build_invoice(replace(inputs(quiet), commitments=(windowed(quiet, plain),)))) == [("usage", "0.00")]
    capped = replace(due, price=replace(due.price, maximum_amount=Decimal(20)))
    _, usage = daily_usage(3, 10, 0, 25, 7)
    assert lines_of(billed(inputs(capped, usage=(usage,)), windowed(capped, plain))) == [("usage", "20.00")]


def test_windows_that_were_all_used_are_told_one_by_one() -> None:
    due, usage = daily_usage(5, 10, 10, 10, 5)
    made = replace(inputs(due, usage=(usage,)), commitments=(windowed(due, promise("10", "line_1", windowed=True)),))
    (line,) = explanations(build_final_invoice(made), made)
    assert not [words for words in line.text if "windows without usage" in words]


def test_windows_in_units_and_wrong_windows() -> None:
    due, usage = daily_usage(3, 10, 0, 25, 7)
    units = replace(promise("4", "line_1", windowed=True), type=CommitmentType.quantity)
    assert lines_of(billed(inputs(due, usage=(usage,)), windowed(due, units))) == [
        ("usage", "12.00"), ("overage", "33.00"),  # 2 + 4 + 0 + 4 + 2 of 45
    ]  # fmt: skip
    wrong = replace(usage, parts=(UsagePart(span("2025-02-02T01:00", "2025-02-03"), Fraction(45)),))
    with pytest.raises(InvariantBroken, match="not read in the windows"):
        billed(inputs(due, usage=(wrong,)), windowed(due, units))


def test_lines_of_one_item_are_met_by_the_windows_of_their_own_period() -> None:
    """A shorter cadence, or a price that changes: one invoice has the item's line twice, and the promise with each."""
    days = ("2025-02-01", "2025-02-02", "2025-02-03", "2025-02-04", "2025-02-05")
    first, second = span(days[0], days[2]), span(days[2], days[4])
    amounts = {first: (3, 12), second: (25, 4)}
    usage = tuple(
        replace(
            snapshot("meter_talk", period, str(sum(read))),
            parts=tuple(
                UsagePart(span(start, end), Fraction(amount))
                for start, end, amount in zip(days[place:], days[place + 1 :], read, strict=False)
            ),
            bucketed=True,
        )
        for place, (period, read) in zip((0, 2), amounts.items(), strict=True)
    )
    lines = tuple(usage_due(tiered(TierMode.SLAB, (None, "1", "0")), period) for period in amounts)
    by_window = promise("10", "line_1", windowed=True, true_up=True, overage_factor=Decimal(2))
    made, packages = agreed(promise("5", "line_2"), by_window), replace(usage_due(package()), line_item_id="line_2")
    due = due_commitments(made, USED, (*lines, packages), None, (), (("meter_talk", WindowSize.DAY),))
    assert [(one.commitment.line_item_id, one.period) for one in due] == [
        ("line_2", USED), ("line_1", first), ("line_1", second),
    ]  # fmt: skip
    # of 3 and 12 count 3 + 10, of 25 and 4 count 10 + 4; 2 and 15 are beyond, x 2; 7 and 6 are missing
    assert lines_of(billed(inputs(*lines, usage=usage), *due[1:])) == [
        ("usage", "13.00"), ("overage", "4.00"), ("usage", "14.00"), ("overage", "30.00"),
        ("true_up", "7.00"), ("true_up", "6.00"),
    ]  # fmt: skip


# Which commitments are due.


def closing(made: Terms, closed: Period, end: datetime | None = None, *counts: CommitmentCount) -> list[DueCommitment]:
    lines = tuple(
        replace(usage_due(item.price, closed), line_item_id=item.id) for item in made.lines if item.price.meter_id
    )
    return list(due_commitments(made, closed, lines, end, counts))


@pytest.mark.parametrize(
    ("made", "closed", "share"),
    [
        (terms(talk()), USED, Fraction(1)),
        # cancelled after 14 of 28 days; a calendar start on the 15th of February
        (terms(talk()), span("2025-01-31", "2025-02-14"), Fraction(1, 2)),
        (
            terms(talk(), start="2025-02-15", cycle=BillingCycle.calendar),
            span("2025-02-15", "2025-03-01"),
            Fraction(1, 2),
        ),
    ],
)
def test_a_period_cut_short_commits_to_its_share(made: Terms, closed: Period, share: Fraction) -> None:
    (due,) = closing(agreed(promise("60", true_up=True), made=made), closed)
    assert (due.share, due.period, due.ends) == (share, closed, True)
    assert lines_of(billed(inputs(), due)) == [("true_up", str(60 * share) + ".00")]


def test_a_lasting_commitment_counts_from_the_start_and_renews() -> None:
    made = agreed(promise("1000", true_up=True, duration=BillingPeriod.QUARTERLY))
    quarter = span("2025-01-31", "2025-04-30")
    count = CommitmentCount(None, quarter, Decimal(300))
    (first,) = closing(made, USED)
    assert (first.period, first.counted, first.ends, first.share) == (quarter, Decimal(0), False, Fraction(1))
    (third,) = closing(made, span("2025-03-31", "2025-04-30"), None, count, count)
    assert (third.counted, third.ends) == (Decimal(600), True)
    (fourth,) = closing(made, span("2025-04-30", "2025-05-31"), None, count)
    assert (fourth.period, fourth.counted) == (span("2025-04-30", "2025-07-31"), Decimal(0))
    # cancelled on 28 February: 28 of 89 days of the quarter
    (last,) = closing(made, USED, utc("2025-02-28"), count)
    assert (last.ends, last.share, last.counted) == (True, Fraction(28, 89), Decimal(300))


def test_lines_that_are_not_due_commit_to_nothing_yet() -> None:
    yearly = Cadence(BillingPeriod.ANNUAL)
    made = agreed(promise("100", "line_1"), made=terms(seat(), talk(yearly)))
    assert due_commitments(made, USED, ()) == ()
    year = span("2025-01-31", "2026-01-31")
    line = replace(usage_due(talk(yearly), year), nominal=year)
    (due,) = due_commitments(made, span("2025-12-31", "2026-01-31"), (line,))
    assert (due.period, due.share, due.price) == (year, Fraction(1), line.price)
    gone = replace(made, lines=made.lines[:1], commitments=())
    assert due_commitments(gone, USED, ()) == ()


def test_a_line_may_commit_for_a_duration_or_by_windows() -> None:
    lasting = agreed(promise("100", "line_1", duration=BillingPeriod.ANNUAL))
    (due,) = closing(lasting, USED)
    assert (due.period, due.price) == (span("2025-01-31", "2026-01-31"), lasting.lines[1].price)
    by_window = agreed(promise("100", "line_1", windowed=True))
    (due,) = due_commitments(by_window, USED, (usage_due(talk()),), None, (), (("meter_talk", WindowSize.DAY),))
    assert due.buckets == CommitmentBuckets(WindowSize.DAY, "UTC", by_window.anchor)
    with pytest.raises(InvariantBroken, match="has no buckets"):
        due_commitments(by_window, USED, (usage_due(talk()),))


def per_unit(amount: str) -> Price:
    return tiered(TierMode.SLAB, (None, amount, "0"), cadence=MONTHLY)


@given(
    st.lists(st.tuples(st.integers(0, 500), st.decimals(0, 5, places=3)), min_size=1, max_size=5),
    st.decimals("0.01", 2000, places=2),
    st.booleans(),
)
def test_commitment_laws(rows: list[tuple[int, Decimal]], value: Decimal, true_up: bool) -> None:
    lines, usage = [], []
    for index, (units, amount) in enumerate(rows):
        price = replace(per_unit(str(amount)), meter_id=f"m{index}")
        lines.append(replace(usage_due(price), line_item_id=f"line_{index}"))
        usage.append(snapshot(f"m{index}", USED, str(units)))
    made = inputs(*lines, usage=tuple(usage))
    plain = build_final_invoice(made).subtotal
    invoice = billed(made, DueCommitment(promise(str(value), true_up=true_up), USED))
    counted = total(line.amount for line in invoice.lines if line.kind is LineKind.usage)
    overage = [line for line in invoice.lines if line.kind is LineKind.overage]
    missing = total(line.amount for line in invoice.lines if line.kind is LineKind.true_up)
    # usage counts up to the commitment to the cent; there is overage or something missing, never both
    assert counted <= value
    assert not overage or counted == value
    assert missing == (minus(value, counted) if true_up else 0)
    # with factor 1 nothing changes but the roundings of the one split line
    assert abs(Fraction(counted) + sum(Fraction(line.amount) for line in overage) - Fraction(plain)) <= Fraction(1, 100)
