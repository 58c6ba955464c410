"""Usage of a running period: the lines that will bill it, and that a look at it says what its close will say."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from billing.commitments import Commitment, CommitmentType, DueCommitment
from billing.coupons import Coupon, CouponAssociation, CouponType
from billing.entitlements import Allowance
from billing.invoice_lines import InvoiceInputs, PeriodCorrection
from billing.invoices import build_invoice, draft_inputs
from billing.prices import TierMode
from billing.running_usage import running_usage, usage_within
from billing.subscriptions import CancellationType, cancel, close_period, open_subscription
from billing.terms import BillingReason, LineItem, LineKind, Terms
from billing.wallet_balances import usage_of

from .builders import seat, snapshot, span, talk, tax, terms, tiered, utc

FEBRUARY = span("2025-02-01", "2025-03-01")
CALLS = tiered(TierMode.SLAB, ("100", "0.5", "0"), (None, "0.2", "0"))


def running(made: Terms, at: str = "") -> list[tuple[str, object]]:
    return [(line.line_item_id, line.period) for line in running_usage(made, open_subscription(made).state).lines]


def test_they_are_the_usage_lines_of_the_close() -> None:
    """Lines that came or went in the period count their own part of it; what is fixed is left out."""
    made = terms(talk(), seat(), start="2025-02-01")
    gone = LineItem("gone", talk(), Decimal(0), utc("2025-02-01"), utc("2025-02-10"))
    came = LineItem("came", talk(), Decimal(0), utc("2025-02-10"))
    made = replace(made, lines=(*made.lines, gone, came))
    state = open_subscription(made).state
    due = running_usage(made, state)
    assert (due.reason, due.at, due.period) == (BillingReason.SUBSCRIPTION_CYCLE, FEBRUARY.end, FEBRUARY)
    assert running(made) == [
        ("line_0", FEBRUARY), ("gone", span("2025-02-01", "2025-02-10")), ("came", span("2025-02-10", "2025-03-01")),
    ]  # fmt: skip
    closing = close_period(made, state).invoice
    assert closing is not None
    assert set(due.lines) == {line for line in closing.lines if line.kind is LineKind.usage}


def test_a_known_end_cuts_them_and_a_trial_has_none() -> None:
    ending = terms(talk(), start="2025-02-01", end_date="2025-02-15")
    assert running(ending) == [("line_0", span("2025-02-01", "2025-02-15"))]
    made = terms(talk(), start="2025-02-01")
    state = replace(open_subscription(made).state, cancel_at=utc("2025-02-20"))
    # the date of a cancellation ends the line, whether the period was cut by it yet or not
    assert [line.period for line in running_usage(made, state).lines] == [span("2025-02-01", "2025-02-20")]
    after = cancel(made, open_subscription(made).state, utc("2025-02-11"), CancellationType.immediate).state
    assert [line.period for line in running_usage(made, after).lines] == [span("2025-02-01", "2025-02-11")]
    lines = tuple(replace(line, start=utc("2025-02-15")) for line in made.lines)
    trial = replace(made, trial_end=utc("2025-02-15"), anchor=utc("2025-02-15"), lines=lines)
    assert running(trial) == []


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        ("2025-02-05", "2025-02-07", [("line_0", "2025-02-05", "2025-02-07")]),
        # it spans two periods of the subscription, and the day on which one line follows another
        ("2025-02-20", "2025-03-20", [("line_0", "2025-02-20", "2025-03-20"), ("new", "2025-03-10", "2025-03-20")]),
        ("2025-01-01", "2025-02-05", [("line_0", "2025-02-01", "2025-02-05")]),  # nothing before the start
        ("2025-03-10", "2025-03-10", [("line_0", "2025-03-10", "2025-03-10"), ("new", "2025-03-10", "2025-03-10")]),
        ("2025-04-02", "2025-04-03", [("new", "2025-04-02", "2025-04-03")]),  # line_0 has ended
        ("2025-01-01", "2025-01-31", []),
    ],
)
def test_any_other_span_counts_each_line_where_it_is_in_force(
    start: str, end: str, found: list[tuple[str, str, str]]
) -> None:
    made = terms(talk(), seat(), start="2025-02-01")
    first = replace(made.lines[0], end=utc("2025-04-01"))
    made = replace(made, lines=(first, made.lines[1], LineItem("new", talk(), Decimal(0), utc("2025-03-10"))))
    due = usage_within(made, span(start, end))
    assert due.period == span(start, end)
    assert [(line.line_item_id, line.period) for line in due.lines] == [
        (item, span(own, last)) for item, own, last in found
    ]
    own = {line.id: line.price for line in made.lines}
    assert all(
        (line.kind, line.price, line.quantity) == (LineKind.usage, own[line.line_item_id], Decimal(0))
        for line in due.lines
    )


def test_a_line_on_trial_counts_from_its_end() -> None:
    made = terms(talk(), start="2025-02-01")
    made = replace(made, lines=(replace(made.lines[0], trial_end=utc("2025-02-08")),))
    assert [line.period for line in usage_within(made, FEBRUARY).lines] == [span("2025-02-08", "2025-03-01")]


def test_a_draft_fixes_what_is_agreed_at_its_boundary() -> None:
    """Rates, also those of single lines, coupons and corrections as they are given; months are those of the anchor."""
    made = replace(terms(talk(), start="2025-02-01"), tax_rates=(tax("18"),))
    made = replace(made, lines=(replace(made.lines[0], tax_rates=(tax("5"),)),))
    due = running_usage(made, open_subscription(made).state)
    coupon = CouponAssociation("a", Coupon("c", "C", CouponType.percentage, percentage_off=Decimal(10)))
    late = PeriodCorrection("inv_1", draft_inputs(made, due), ())
    assert draft_inputs(made, due, (coupon,), (late,)) == InvoiceInputs(
        "usd", due, (tax("18"),), coupons=(coupon,), line_tax_rates=made.line_tax_rates, corrections=(late,),
        anchor=made.anchor,
    )  # fmt: skip


def test_looked_at_it_costs_what_the_close_will_charge() -> None:
    """150 used, 20 of them free: 130 are 100 x 0.50 + 30 x 0.20 = 56, which the price caps at 54.

    40 are committed at a factor of 1.5 beyond: usage of 40, overage of (54 - 40) x 1.5 = 21.
    """
    made = terms(replace(CALLS, maximum_amount=Decimal(54)), start="2025-02-01")
    state = open_subscription(made).state
    due, closing = running_usage(made, state), close_period(made, state).invoice
    assert closing is not None
    commitment = Commitment(CommitmentType.amount, Decimal(40), "line_0", Decimal("1.5"))
    seen, charged = (
        build_invoice(
            replace(
                draft_inputs(made, one),
                usage=(snapshot("meter_talk", FEBRUARY, "150"),),
                allowances=(Allowance("meter_talk", FEBRUARY, Fraction(20)),),
                commitments=(DueCommitment(commitment, FEBRUARY),),
            )
        )
        for one in (due, closing)
    )
    assert [(line.kind, line.amount) for line in seen.lines] == [
        (LineKind.usage, Decimal(40)), (LineKind.overage, Decimal(21)),
    ]  # fmt: skip
    assert seen.lines == charged.lines
    assert usage_of(seen) == 61
