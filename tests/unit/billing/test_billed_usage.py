"""Usage billed on account: what is left for the next threshold invoice and for the close, item by item."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing.billed_usage import billed_usage
from billing.commitments import Commitment, CommitmentType, DueCommitment
from billing.coupons import Coupon, CouponAssociation, CouponCadence, CouponType
from billing.invoice_lines import BilledUsage
from billing.invoices import Invoice, InvoiceInputs, build_final_invoice, build_invoice
from billing.money import decimal_text
from billing.periods import BillingPeriod, Period
from billing.prices import TierMode
from billing.terms import BillingReason, DueInvoice, DueLine

from .builders import fixed_due, inputs, package, seat, snapshot, span, tax, tiered, usage_due, utc

D = Decimal
FEBRUARY = span("2025-02-01", "2025-03-01")
TALK = tiered(TierMode.SLAB, ("100", "0.5", "0"), (None, "0.2", "0"))
TALKED = usage_due(TALK, FEBRUARY)
CALLS = replace(usage_due(package(), FEBRUARY), line_item_id="line_2")
TEN_OFF = CouponAssociation("assoc", Coupon("c", "Ten", CouponType.percentage, D(10), cadence=CouponCadence.forever))
Shown = list[tuple[str, str, str, str]]


def closing(*lines: DueLine, talk: str | None, **more: Any) -> InvoiceInputs:
    usage = () if talk is None else (snapshot("meter_talk", FEBRUARY, talk),)
    made = inputs(*(lines or (TALKED,)), usage=usage)
    due = DueInvoice(BillingReason.SUBSCRIPTION_CYCLE, FEBRUARY.end, FEBRUARY, lines or (TALKED,))
    return replace(made, due=due, **more)


def on_account(day: str, *lines: DueLine, talk: str, **more: Any) -> InvoiceInputs:
    made = closing(*lines, talk=talk, **more)
    passed = Period(FEBRUARY.start, utc(day))
    return replace(made, due=replace(made.due, reason=BillingReason.AUTO_INVOICE_THRESHOLD, at=utc(day), period=passed))


def shown(invoice: Invoice) -> Shown:
    """Kind, quantity and amount of each line, and the day on which its time ends."""
    return [
        (line.kind.value, decimal_text(line.quantity), str(line.amount), f"{line.period.end:%m-%d}")
        for line in invoice.lines
    ]


def first() -> Invoice:
    """80 are used by 10 February."""
    return build_final_invoice(on_account("2025-02-10", talk="80"))


def billed() -> tuple[BilledUsage, ...]:
    return billed_usage([("inv_1", first().lines)])


def second() -> Invoice:
    """150 are used by 20 February."""
    return build_final_invoice(on_account("2025-02-20", talk="150", billed=billed()))


def both() -> tuple[BilledUsage, ...]:
    return billed_usage([("inv_1", first().lines), ("inv_2", second().lines)])


def test_each_invoice_bills_what_is_rated_of_the_whole_period_less_what_was_billed() -> None:
    assert shown(first()) == [("usage", "80", "40.00", "02-10")]  # 80 x 0.5
    assert shown(second()) == [("usage", "70", "20.00", "02-20")]  # 100 x 0.5 + 50 x 0.2 = 60, less 40
    little = build_final_invoice(on_account("2025-02-11", talk="81", billed=billed()))
    assert shown(little) == [("usage", "1", "0.50", "02-11")]
    close = build_final_invoice(closing(talk="160", billed=both()))
    assert shown(close) == [("usage", "10", "2.00", "03-01")]  # 62, less 60
    assert close.lines[0].derivation.billed_before == D("60.00")


def test_what_was_billed_of_an_item_is_one_sum_of_all_its_invoices() -> None:
    (one,) = both()
    assert one.invoice_id == "inv_2"  # the last of them
    charge = one.charge
    assert (charge.line_item_id, charge.period) == ("line_1", span("2025-02-01", "2025-02-20"))
    assert (charge.display_name, charge.price, charge.quantity) == ("Talk time", TALK, Fraction(150))
    assert (charge.gross, charge.net, charge.charged) == (D("60.00"), D("60.00"), D("60.00"))


def test_taxes_of_what_was_billed_add_up_too() -> None:
    for rate, taxes in ((tax(), (D("7.20"), D(0))), (tax(inclusive=True), (D(0), D("6.10")))):
        made = build_final_invoice(on_account("2025-02-10", talk="80", tax_rates=(rate,)))
        (one,) = billed_usage([("inv_1", made.lines)])
        # 18 % on top of 40, or 40 - 40 / 1.18 within it
        assert (one.charge.exclusive_tax, one.charge.inclusive_tax) == taxes


def test_less_usage_than_was_billed_is_given_back_at_the_close_alone() -> None:
    fewer = build_final_invoice(closing(talk="70", billed=both()))
    # 70 x 0.5 = 35, less 60; an invoice is never below 0, so the 25 are carried to the customer
    assert shown(fewer) == [("usage", "-80", "-25.00", "03-01"), ("adjustment", "1", "25.00", "03-01")]
    basis = fewer.lines[0].derivation.correction
    assert basis is not None
    assert (basis.invoice_id, basis.charge.period) == ("inv_2", FEBRUARY)
    assert [str(line.amount) for line in basis.now] == ["35.00"]
    assert fewer.lines[0].derivation.billed_before == D("60.00")
    # a threshold invoice has nothing below 0, and nothing of nothing
    assert build_final_invoice(on_account("2025-02-25", talk="70", billed=both())).lines == ()
    assert build_final_invoice(on_account("2025-02-25", talk="150", billed=both())).lines == ()


def test_the_discount_that_it_was_billed_with_shrinks_with_it() -> None:
    made = build_final_invoice(on_account("2025-02-10", talk="80", coupons=(TEN_OFF,)))
    assert made.total == D("36.00")
    fewer = build_final_invoice(closing(talk="60", billed=billed_usage([("inv_1", made.lines)])))
    # 60 x 0.5 = 30 less a tenth is 27: 9 less than 36
    assert shown(fewer)[0] == ("usage", "-20", "-9.00", "03-01")


def test_usage_is_left_out_before_overage() -> None:
    """20 are promised, beyond it usage costs double: 30 were billed of 25, and 80 come to 20 and 40."""
    promised = DueCommitment(
        Commitment(CommitmentType.amount, D(20), "line_1", overage_factor=D(2)), FEBRUARY, price=TALK
    )
    made = build_final_invoice(on_account("2025-02-10", talk="50", commitments=(promised,)))
    assert shown(made) == [("usage", "40", "20.00", "02-10"), ("overage", "10", "10.00", "02-10")]
    before = billed_usage([("inv_1", made.lines)])
    assert (before[0].charge.gross, before[0].charge.quantity) == (D("30.00"), Fraction(50))
    close = build_final_invoice(closing(talk="80", commitments=(promised,), billed=before))
    assert shown(close) == [("usage", "0", "0.00", "03-01"), ("overage", "30", "30.00", "03-01")]


def test_overage_alone_is_billed_in_the_name_of_its_price() -> None:
    spent = DueCommitment(
        Commitment(CommitmentType.amount, D(20), "line_1", overage_factor=D(2), duration=BillingPeriod.QUARTERLY),
        span("2025-01-01", "2025-04-01"),
        counted=D(20),
        ends=False,
        price=TALK,
    )
    made = build_final_invoice(on_account("2025-02-10", talk="10", commitments=(spent,)))
    assert shown(made) == [("overage", "10", "10.00", "02-10")]
    (one,) = billed_usage([("inv_1", made.lines)])
    assert one.charge.display_name == "Talk time"


def test_nothing_is_trued_up_before_the_period_ends() -> None:
    promised = DueCommitment(Commitment(CommitmentType.amount, D(90), "line_1", true_up=True), FEBRUARY, price=TALK)
    made = build_final_invoice(on_account("2025-02-10", talk="80", commitments=(promised,)))
    assert shown(made) == [("usage", "80", "40.00", "02-10")]
    before = billed_usage([("inv_1", made.lines)])
    close = build_final_invoice(closing(talk="80", commitments=(promised,), billed=before))
    assert shown(close) == [("usage", "0", "0.00", "03-01"), ("true_up", "1", "50.00", "03-01")]


def test_what_was_billed_of_one_item_is_no_other_items() -> None:
    seats = fixed_due(seat(), period=FEBRUARY)
    usage = (snapshot("meter_talk", FEBRUARY, "100"), snapshot("meter_premium", FEBRUARY, "60"))
    made = replace(closing(seats, CALLS, TALKED, talk="100"), usage=usage, billed=billed())
    assert shown(build_final_invoice(made)) == [
        ("fixed", "5", "62.50", "03-01"),
        ("usage", "60", "9.50", "03-01"),  # two packages
        ("usage", "20", "10.00", "03-01"),
    ]


def test_a_draft_that_does_not_know_its_usage_leaves_nothing_out() -> None:
    draft = build_invoice(closing(talk=None, billed=billed()))
    assert shown(draft) == [("usage", "0", "0.00", "03-01")]
    without = build_final_invoice(closing(talk="80"))
    assert shown(without) == [("usage", "80", "40.00", "03-01")]
