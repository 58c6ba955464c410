"""Late usage at its bounds: how far back is looked, what periods share, and cents that are credited or open again."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from billing.commitments import Commitment, CommitmentType, DueCommitment
from billing.coupons import Coupon, CouponAssociation, CouponType
from billing.credit_notes import InvoiceBalance
from billing.entitlements import Allowance
from billing.invoice_lines import PeriodCorrection
from billing.invoices import InvoiceInputs, build_final_invoice
from billing.late_usage import (
    ClosedPeriod,
    LateUsagePolicy,
    LateUsageSettings,
    SettledCorrection,
    closed_period,
    correction_lines,
    corrections,
    credit_notes_for,
    read_anew,
)
from billing.meters import UsageSnapshot
from billing.periods import BillingPeriod
from billing.prices import TierMode
from billing.taxes import LineTaxRates
from billing.wallets import CreditLot, Wallet, WalletType

from .builders import inputs, package, snapshot, span, tax, tiered, usage_due, utc

D = Decimal
FEBRUARY = span("2025-01-31", "2025-02-28")
MARCH = span("2025-02-28", "2025-03-31")
QUARTER = span("2025-01-31", "2025-04-30")
PER_UNIT = tiered(TierMode.SLAB, (None, "1", "0"))
HALVES = tiered(TierMode.SLAB, (None, "0.5", "0"))
PAID = InvoiceBalance(D(1000), paid=D(1000))


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, ("february", "march")),
        ({"periods": 24, "days": 1000}, ("january", "february", "march")),  # the most that there is
        ({"periods": 1, "days": 0}, ("march",)),
        ({"periods": 0}, ()),
        ({"policy": LateUsagePolicy.ignore}, ()),
    ],
)
def test_how_many_periods_are_read_anew(settings: dict[str, Any], found: tuple[str, ...]) -> None:
    assert tuple(read_anew(LateUsageSettings(**settings), ("january", "february", "march"))) == found


def closed(name: str, own: InvoiceInputs, *settled: SettledCorrection) -> ClosedPeriod:
    return closed_period(name, own, build_final_invoice(own).lines, settled)


def amounts(found: tuple[PeriodCorrection, ...]) -> list[tuple[str, str]]:
    return [(one.invoice_id, str(line.amount)) for one in found for line in correction_lines(one)]


def talked(quantity: str, over: str = "february") -> UsageSnapshot:
    return snapshot("meter_talk", FEBRUARY if over == "february" else MARCH, quantity)


def test_what_is_counted_keeps_nothing_of_an_invoice_but_its_usage() -> None:
    lot = CreditLot("lot", D(5), D(5), utc("2025-01-01"))
    coupon = CouponAssociation("c", Coupon("c", "Ten", CouponType.percentage, D(10)))
    bare = inputs(usage_due(PER_UNIT), usage=(talked("80"),))
    own = replace(
        bare,
        coupons=(coupon,),
        tax_rates=(tax(),),
        line_tax_rates=(LineTaxRates("line_1", (tax("5"),)),),
        wallet=Wallet("w", WalletType.PRE_PAID, "usd", lots=(lot,)),
        corrections=corrections([closed("inv_0", bare)], {"inv_0": (talked("90"),)}),
    )
    assert closed("inv_1", own).inputs == bare


def test_a_correction_line_knows_its_price() -> None:
    (found,) = corrections([closed("inv_1", inputs(usage_due(PER_UNIT), usage=(talked("80"),)))],
                           {"inv_1": (talked("90"),)})  # fmt: skip
    assert [line.derivation.price for line in correction_lines(found)] == [PER_UNIT]


def test_what_a_month_counts_late_towards_a_quarters_commitment_is_not_left_for_the_next() -> None:
    """100 are promised for the quarter; beyond it usage costs double. February 60, March 50: 40, and 10 x 2."""
    promised = Commitment(
        CommitmentType.amount, D(100), "line_1", overage_factor=D(2), duration=BillingPeriod.QUARTERLY
    )
    february = replace(
        inputs(usage_due(PER_UNIT), usage=(talked("60"),)),
        commitments=(DueCommitment(promised, QUARTER, ends=False, price=PER_UNIT),),
    )
    march = replace(
        inputs(usage_due(PER_UNIT, MARCH), usage=(talked("50", "march"),)),
        commitments=(DueCommitment(promised, QUARTER, counted=D(60), ends=False, price=PER_UNIT),),
    )
    periods = [closed("feb", february), closed("mar", march)]
    # 20 more in February leave 20 for March: 20 and 30 x 2 are 80, where 60 were charged
    assert amounts(corrections(periods, {"feb": (talked("80"),)})) == [("feb", "20.00"), ("mar", "20.00")]
    # 15 less leave 15 more: 50 x 1
    assert amounts(corrections(periods, {"feb": (talked("45"),)})) == [("feb", "-15.00"), ("mar", "-10.00")]


def test_a_months_commitment_of_its_own_does_not_move() -> None:
    def month(quantity: str, over: str) -> InvoiceInputs:
        period = FEBRUARY if over == "february" else MARCH
        promised = Commitment(CommitmentType.amount, D(60), "line_1", overage_factor=D(2))
        due = DueCommitment(promised, QUARTER, price=PER_UNIT)  # the same start, which no month has by itself
        return replace(inputs(usage_due(PER_UNIT, period), usage=(talked(quantity, over),)), commitments=(due,))

    periods = [closed("feb", month("50", "february")), closed("mar", month("50", "march"))]
    # 60 and 20 x 2 where 50 were charged; March has its own 60
    assert amounts(corrections(periods, {"feb": (talked("80"),)})) == [("feb", "50.00")]


def test_what_a_month_draws_late_of_a_years_allowance_is_gone_for_the_next() -> None:
    """100 are free in the year: February took 60, so March paid 10 of its 50."""
    year = span("2025-01-31", "2026-01-31")

    def month(quantity: str, over: str, used: int) -> InvoiceInputs:
        period = FEBRUARY if over == "february" else MARCH
        free = Allowance("meter_talk", year, Fraction(100), Fraction(used))
        return replace(inputs(usage_due(PER_UNIT, period), usage=(talked(quantity, over),)), allowances=(free,))

    periods = [closed("feb", month("60", "february", 0)), closed("mar", month("50", "march", 60))]
    # 80 in February are still free; of March's 50 only 20 are then
    assert amounts(corrections(periods, {"feb": (talked("80"),)})) == [("mar", "20.00")]


@pytest.mark.parametrize(("known", "open_again"), [("81", ["0.50"]), ("80", []), ("79", [])])
def test_half_a_dollar_that_a_voided_invoice_charged_is_open_again(known: str, open_again: list[str]) -> None:
    own = inputs(usage_due(HALVES), usage=(talked("80"),))
    usage = {"inv_1": (talked(known),)}
    made = corrections([closed("inv_1", own)], usage)
    settled = [SettledCorrection(one, correction_lines(one), voided=True) for one in made]
    assert [amount for _, amount in amounts(corrections([closed("inv_1", own, *settled)], usage))] == open_again


def test_a_credit_note_is_for_half_a_dollar_too() -> None:
    own = inputs(usage_due(HALVES), usage=(talked("80"),))
    (less,) = corrections([closed("inv_1", own)], {"inv_1": (talked("79"),)})
    assert [str(amount) for _, amount in credit_notes_for(less, PAID)] == ["0.50"]
    # but for none that a later invoice charged
    (more,) = corrections([closed("inv_1", own)], {"inv_1": (talked("81"),)})
    after = closed("inv_1", own, SettledCorrection(more, correction_lines(more)))
    (again,) = corrections([after], {"inv_1": (talked("70"),)})
    assert credit_notes_for(again, PAID) == ()


def test_a_credit_note_gives_each_line_its_own_tax() -> None:
    """Talk is taxed with 18 %, packages (4.75 for 50) are not; what has been charged nothing has the tax of all."""
    calls = replace(usage_due(package()), line_item_id="line_2")
    texts = replace(usage_due(replace(package("1"), id="texts", meter_id="meter_texts")), line_item_id="line_3")

    def usage(talk: str, packages: str, sent: str = "0") -> tuple[UsageSnapshot, ...]:
        found = (("meter_talk", talk), ("meter_premium", packages), ("meter_texts", sent))
        return tuple(snapshot(meter, FEBRUARY, quantity) for meter, quantity in found)

    own = replace(
        inputs(usage_due(PER_UNIT), calls, texts, taxes=(tax(),), usage=usage("81", "200")),
        line_tax_rates=(LineTaxRates("line_2", ()),),
    )
    period = closed("inv_1", own)
    # 10 less and their 1.80; two packages less, 9.50 without tax
    (less,) = corrections([period], {"inv_1": usage("71", "100")})
    assert [str(amount) for _, amount in credit_notes_for(less, PAID)] == ["21.30"]
    # 81 + 19 were charged, 14.58 of tax on them: the 2 of the texts come with 0.2916. 11.80 less 2.2916 is 9.5084
    (both,) = corrections([period], {"inv_1": usage("71", "200", "100")})
    assert [str(amount) for _, amount in credit_notes_for(both, PAID)] == ["9.51"]


def test_what_a_period_charges_for_usage() -> None:
    """118.00 with 18 % inside is 18.00 of tax; half a dollar more on a later invoice belongs to it, with its tax."""
    inside = tax(inclusive=True)
    own = inputs(usage_due(HALVES), taxes=(inside,), usage=(talked("236"),))
    (charge,) = closed("inv_1", own).charges
    assert charge.quantity == 236
    assert (charge.gross, charge.charged, charge.inclusive_tax) == (D(118), D(118), D(18))
    (more,) = corrections([closed("inv_1", own)], {"inv_1": (talked("237"),)})
    (line,) = correction_lines(more)
    assert (line.derivation.quantity, line.derivation.share) == (Fraction(1), Fraction(1))
    carrier = build_final_invoice(replace(inputs(taxes=(inside,)), corrections=(more,)))
    (after,) = closed("inv_1", own, SettledCorrection(more, carrier.lines)).charges
    # 0.50 - 0.50 / 1.18 = 0.076
    assert (after.charged, after.inclusive_tax) == (D("118.50"), D("18.08"))


def test_a_true_up_that_late_usage_takes_back_and_brings_again_keeps_its_name() -> None:
    """100 are promised for all usage; 120 were used, 80 are by now, and 120 after all."""
    promised = DueCommitment(Commitment(CommitmentType.amount, D(100), true_up=True), FEBRUARY)
    own = replace(inputs(usage_due(PER_UNIT), usage=(talked("120"),)), commitments=(promised,))
    (less,) = corrections([closed("inv_1", own)], {"inv_1": (talked("80"),)})
    named = [(line.display_name, line.line_item_id, str(line.amount)) for line in correction_lines(less)]
    assert named == [
        ("Correction: Talk time", "line_1", "-40.00"),
        ("Correction: True-up to the commitment", None, "20.00"),
    ]
    settled = SettledCorrection(less, correction_lines(less))
    (again,) = corrections([closed("inv_1", own, settled)], {"inv_1": (talked("120"),)})
    back = {line.display_name: line for line in correction_lines(again)}
    assert str(back["Correction: True-up to the commitment"].amount) == "-20.00"
    assert back["Correction: True-up to the commitment"].price_id is None


def test_a_correction_is_named_by_the_price_and_a_true_up_by_itself() -> None:
    """All of March is beyond the quarter's 100, and of April 30 are missing when the quarter ends."""
    promised = Commitment(
        CommitmentType.amount, D(100), "line_1", overage_factor=D(2), true_up=True, duration=BillingPeriod.QUARTERLY
    )
    beyond = DueCommitment(promised, QUARTER, counted=D(100), ends=False, price=PER_UNIT)
    march = replace(inputs(usage_due(PER_UNIT, MARCH), usage=(talked("50", "march"),)), commitments=(beyond,))
    (found,) = corrections([closed("mar", march)], {"mar": (talked("60", "march"),)})
    assert [(line.display_name, str(line.amount)) for line in correction_lines(found)] == [
        ("Correction: Talk time", "20.00")
    ]
    ending = DueCommitment(promised, QUARTER, counted=D(50), price=PER_UNIT)
    last = replace(inputs(usage_due(PER_UNIT, MARCH), usage=(talked("20", "march"),)), commitments=(ending,))
    (found,) = corrections([closed("last", last)], {"last": (talked("25", "march"),)})
    assert [(line.display_name, line.period, str(line.amount)) for line in correction_lines(found)] == [
        ("Correction: Talk time", MARCH, "5.00"),
        ("Correction: Talk time: true-up to the commitment", QUARTER, "-5.00"),
    ]


def test_a_true_up_of_a_line_that_a_correction_brings_keeps_its_line_and_price() -> None:
    """50 were counted before and 60 are used of 100: late voids leave 20, so 30 are missing, and then 10."""
    promised = Commitment(CommitmentType.amount, D(100), "line_1", true_up=True, duration=BillingPeriod.QUARTERLY)
    ending = DueCommitment(promised, QUARTER, counted=D(50), price=PER_UNIT)
    own = replace(inputs(usage_due(PER_UNIT, MARCH), usage=(talked("60", "march"),)), commitments=(ending,))
    (less,) = corrections([closed("mar", own)], {"mar": (talked("20", "march"),)})
    settled = SettledCorrection(less, correction_lines(less))
    (more,) = corrections([closed("mar", own, settled)], {"mar": (talked("40", "march"),)})
    true_up = next(line for line in correction_lines(more) if line.period == QUARTER)
    assert (str(true_up.amount), true_up.line_item_id, true_up.price_id) == ("-20.00", "line_1", PER_UNIT.id)
