"""Windowed commitments: groups and free usage in a window, sums over windows, and windows of billing months."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from billing.commitments import Commitment, CommitmentBuckets, CommitmentType, DueCommitment
from billing.entitlements import Allowance
from billing.invoices import Invoice, build_final_invoice
from billing.meters import UsagePart
from billing.prices import TierMode
from billing.windows import WindowSize

from .builders import inputs, snapshot, span, tiered, usage_due, utc

D = Decimal
PER_UNIT = tiered(TierMode.SLAB, (None, "1", "0"))
DAYS = (span("2025-02-01", "2025-02-02"), span("2025-02-02", "2025-02-03"), span("2025-02-03", "2025-02-04"))
PERIOD = span("2025-02-01", "2025-02-04")
PROMISED = Commitment(CommitmentType.amount, D(10), "line_1", overage_factor=D(2), true_up=True, windowed=True)


def billed(*rows: tuple[int, str, int], allowances: tuple[Allowance, ...] = ()) -> Invoice:
    """(day, group, quantity) of usage at 1 a unit, of which 10 are promised a day."""
    parts = tuple(UsagePart(DAYS[day], Fraction(quantity), group) for day, group, quantity in rows)
    usage = replace(snapshot("meter_talk", PERIOD, str(sum(row[2] for row in rows))), parts=parts, bucketed=True)
    buckets = CommitmentBuckets(WindowSize.DAY, "UTC", utc("2025-02-01"))
    promised = DueCommitment(PROMISED, PERIOD, price=PER_UNIT, buckets=buckets)
    due = inputs(usage_due(PER_UNIT, PERIOD), usage=(usage,))
    return build_final_invoice(replace(due, commitments=(promised,), allowances=allowances))


def shown(invoice: Invoice) -> list[tuple[str, str, Decimal]]:
    return [(line.kind.value, str(line.amount), line.quantity) for line in invoice.lines]


def test_all_groups_of_a_window_count_together_and_windows_do_not() -> None:
    """3 and 10 are 13, 3 beyond; 8 and 8 are 16, 6 beyond; 4 leave 6 missing. Beyond costs double."""
    invoice = billed((0, "a", 3), (0, "b", 10), (1, "a", 8), (1, "b", 8), (2, "a", 4))
    assert shown(invoice) == [
        ("usage", "24.00", D(24)),  # 10 + 10 + 4
        ("overage", "18.00", D(9)),
        ("true_up", "6.00", D(1)),
    ]
    whole = invoice.lines[-1].derivation.commitment
    assert whole is not None
    assert (whole.whole, whole.within) == (Fraction(30), Fraction(24))


def test_free_usage_is_not_used_of_a_promise() -> None:
    """4 of the second day's 16 are free: 12, of which 2 are beyond."""
    invoice = billed((0, "a", 10), (1, "a", 8), (1, "b", 8), (2, "a", 10),
                     allowances=tuple(Allowance("meter_talk", day, Fraction(4 * place)) for place, day in
                                      ((0, DAYS[0]), (1, DAYS[1]), (0, DAYS[2]))))  # fmt: skip
    assert shown(invoice) == [("usage", "30.00", D(30)), ("overage", "4.00", D(2))]


def test_a_window_without_usage_misses_all_of_it() -> None:
    assert shown(billed((1, "a", 10))) == [("usage", "10.00", D(10)), ("true_up", "20.00", D(1))]


def test_windows_of_billing_months_are_those_of_the_anchor() -> None:
    """100 a month from the 16th on: 15 of 31 days of one and 13 of 28 of the next are 48.387... and 46.428..."""
    february = span("2025-02-01", "2025-03-01")
    empty = replace(snapshot("meter_talk", february, "0", 0), bucketed=True)
    buckets = CommitmentBuckets(WindowSize.MONTH, "UTC", utc("2025-01-16"))
    promised = DueCommitment(replace(PROMISED, value=D(100)), february, price=PER_UNIT, buckets=buckets)
    due = inputs(usage_due(PER_UNIT, february), usage=(empty,))
    invoice = build_final_invoice(replace(due, commitments=(promised,)))
    assert shown(invoice) == [("usage", "0.00", D(0)), ("true_up", "94.82", D(1))]
