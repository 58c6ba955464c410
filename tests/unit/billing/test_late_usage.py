"""Late usage: what a closed period comes to once more is known, less what was charged, and how that is given back."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.codec import from_json, to_json
from billing.coupons import Coupon, CouponAssociation, CouponCadence, CouponType
from billing.credit_notes import CreditNoteType, InvoiceBalance
from billing.errors import Invalid
from billing.explain import explain_invoice
from billing.invoice_lines import PeriodCorrection, UsageCharge, credited_charge
from billing.invoices import Invoice, InvoiceInputs, build_final_invoice, verify
from billing.late_usage import (
    ClosedPeriod,
    LateUsageSettings,
    SettledCorrection,
    closed_period,
    closes_a_period,
    correction_lines,
    corrections,
    credit_notes_for,
    known_until,
)
from billing.ledger import post_finalized
from billing.meters import UsageSnapshot
from billing.periods import Period
from billing.prices import TierMode
from billing.taxes import TaxRate
from billing.terms import BillingReason, DueInvoice
from billing.usage_charges import net_target
from billing.voids import credits_given, given_back
from billing.wallets import AllowedPriceTypes, CreditLot, Wallet, WalletType

from .builders import fixed_due, inputs, package, seat, snapshot, span, tax, tiered, usage_due, utc

FEBRUARY = span("2025-01-31", "2025-02-28")
TALK = tiered(TierMode.SLAB, ("100", "0.5", "1"), (None, "0.2", "0"))
PAID = InvoiceBalance(Decimal(100), paid=Decimal(100))
TEN_OFF = CouponAssociation("assoc", Coupon("c", "Ten", CouponType.percentage, Decimal(10)))


def talked(quantity: str) -> UsageSnapshot:
    return snapshot("meter_talk", FEBRUARY, quantity)


def billed(quantity: str, *taxes: TaxRate, coupon: bool = False) -> tuple[InvoiceInputs, Invoice]:
    """February's invoice: talk time only."""
    own = inputs(usage_due(TALK), taxes=taxes, usage=(talked(quantity),))
    own = replace(own, coupons=(TEN_OFF,)) if coupon else own
    return own, build_final_invoice(own)


def closed(quantity: str, *taxes: TaxRate, coupon: bool = False) -> ClosedPeriod:
    own, invoice = billed(quantity, *taxes, coupon=coupon)
    return closed_period("inv_1", own, invoice.lines)


def corrected(period: ClosedPeriod, quantity: str) -> PeriodCorrection:
    (found,) = corrections([period], {"inv_1": (talked(quantity),)})
    return found


def wallet_of(credits: str) -> Wallet:
    """A wallet for usage whose credits are worth 1 each."""
    lot = CreditLot("lot", Decimal(credits), Decimal(credits), utc("2025-01-01"))
    return Wallet("w", WalletType.PRE_PAID, "usd", lots=(lot,))


def next_invoice(
    *made: PeriodCorrection, taxes: tuple[TaxRate, ...] = (), **more: Any
) -> tuple[InvoiceInputs, Invoice]:
    """The invoice that closes March: a seat of 12.50 five times, 62.50, and corrections."""
    own = replace(inputs(fixed_due(seat()), taxes=taxes), corrections=made, **more)
    return own, build_final_invoice(own)


@pytest.mark.parametrize(
    ("now", "amount", "quantity"),
    [
        # 80 x 0.5 + 1 = 41 was charged
        ("90", "5.00", "10"),
        ("150", "20.00", "70"),  # 100 x 0.5 + 1 + 50 x 0.2 = 61
        ("10", "-35.00", "-70"),  # 10 x 0.5 + 1 = 6
        ("0", "-41.00", "-80"),
    ],
)
def test_a_period_is_rated_again_as_a_whole(now: str, amount: str, quantity: str) -> None:
    (line,) = correction_lines(corrected(closed("80"), now))
    assert (str(line.amount), line.quantity, line.period) == (amount, Decimal(quantity), FEBRUARY)
    assert (line.kind.value, line.price_id, line.display_name) == ("adjustment", "price_talk", "Correction: Talk time")


def test_the_same_usage_makes_no_correction_however_late_it_is_read() -> None:
    period = closed("80")
    later = replace(talked("80"), id="again", cutoff=utc("2025-04-01"))
    assert corrections([period], {"inv_1": (later,)}) == ()
    assert corrections([period], {}) == ()


def test_usage_that_costs_the_same_makes_no_line() -> None:
    own = inputs(usage_due(package(divide_by=50)), usage=(snapshot("meter_premium", FEBRUARY, "60"),))
    period = closed_period("inv_1", own, build_final_invoice(own).lines)
    # 60 and 99 both start the second package
    (found,) = corrections([period], {"inv_1": (snapshot("meter_premium", FEBRUARY, "99"),)})
    assert correction_lines(found) == ()


@given(st.lists(st.integers(0, 300), min_size=1, max_size=5), st.booleans())
def test_a_chain_of_corrections_ends_where_the_last_alone_would(chain: list[int], coupon: bool) -> None:
    settled: list[SettledCorrection] = []
    own, invoice = billed("80", coupon=coupon)
    for quantity in chain:
        period = closed_period("inv_1", own, invoice.lines, settled)
        found = corrections([period], {"inv_1": (talked(str(quantity)),)})
        settled += [SettledCorrection(one, correction_lines(one)) for one in found]
        after = closed_period("inv_1", own, invoice.lines, settled)
        assert corrections([after], {"inv_1": (talked(str(quantity)),)}) == ()
    direct = corrections([closed_period("inv_1", own, invoice.lines)], {"inv_1": (talked(str(chain[-1])),)})
    assert sum(line.amount for one in settled for line in one.lines) == sum(
        line.amount for one in direct for line in correction_lines(one)
    )


@pytest.mark.parametrize(
    ("gross", "target"),
    [
        ("60", "45.00"),  # as charged: 60 less a quarter
        ("70", "55.00"),  # what is beyond takes no coupon
        ("20", "15.00"),  # the discount shrinks with the charge
        ("0.01", "0.01"),  # 0.0075
        ("0", "0.00"),
    ],
)
def test_a_discount_shrinks_with_a_charge_and_does_not_grow_with_it(gross: str, target: str) -> None:
    charge = UsageCharge("line_1", FEBRUARY, "Calls", gross=Decimal(60), net=Decimal(45))
    assert net_target(charge, Decimal(gross), "usd") == Decimal(target)


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 20_000))
def test_a_credit_never_exceeds_what_was_paid(gross: int, discount: int, now: int) -> None:
    charge = UsageCharge("line_1", FEBRUARY, "Calls", gross=Decimal(gross), net=Decimal(max(gross - discount, 0)))
    assert net_target(charge, Decimal(now), "usd") >= 0


def test_what_came_too_late_is_left_out_unless_it_was_counted_before() -> None:
    frozen = talked("80")  # read on 1 March, 2:00, of a period that ended on 28 February
    last = FEBRUARY.end + timedelta(days=62, milliseconds=1)
    assert known_until(frozen, utc("2025-04-01"), 62) == utc("2025-04-01")
    assert known_until(frozen, utc("2025-06-01"), 62) == last
    assert known_until(frozen, utc("2025-06-01"), 0) == frozen.cutoff


def test_which_invoices_close_a_period() -> None:
    start, end = FEBRUARY.start, FEBRUARY.end
    for reason, at, period, expected in (
        (BillingReason.SUBSCRIPTION_CYCLE, end, FEBRUARY, True),
        (BillingReason.SUBSCRIPTION_UPDATE, end, FEBRUARY, True),  # a change of the billing period
        (BillingReason.SUBSCRIPTION_UPDATE, start, FEBRUARY, False),  # a change within it
        (BillingReason.SUBSCRIPTION_CREATE, start, FEBRUARY, False),
        (BillingReason.SUBSCRIPTION_TRIAL_END, end, Period(end, utc("2025-03-31")), False),
    ):
        assert closes_a_period(DueInvoice(reason, at, period, ())) is expected


def test_late_lines_are_taxed_take_no_coupon_and_are_paid_by_usage_credits() -> None:
    everywhere = CouponAssociation("all", Coupon("h", "Half", CouponType.percentage, Decimal(50), None, None,
                                                 CouponCadence.forever))  # fmt: skip
    wallet = wallet_of("15")
    made = corrected(closed("80", tax()), "150")
    _, invoice = next_invoice(made, taxes=(tax(),), coupons=(everywhere,), wallet=wallet)
    # 62.5 + 20; half of 62.5 off: 31.25; 18 % of 51.25 = 9.225
    assert (invoice.subtotal, invoice.total_discount, invoice.total_tax) == tuple(
        Decimal(text) for text in ("82.50", "31.25", "9.23")
    )
    assert [line.prepaid_credits for line in invoice.lines] == [0, 15]
    only_fixed = replace(wallet, allowed_price_types=AllowedPriceTypes.FIXED)
    _, invoice = next_invoice(made, wallet=only_fixed)
    assert [line.prepaid_credits for line in invoice.lines] == [15, 0]


def test_credited_usage_pays_other_usage_before_a_wallet_does() -> None:
    own = replace(
        inputs(fixed_due(seat()), usage_due(TALK), usage=(talked("78"),)),
        corrections=(corrected(closed("80"), "10"),),
        wallet=wallet_of("99"),
    )
    invoice = build_final_invoice(own)
    # usage of 78 x 0.5 + 1 = 40 less the 35 that are credited: 5 are left for the wallet, and the seats for the card
    assert (invoice.total_prepaid_credits_applied, invoice.total) == (Decimal(5), Decimal("62.50"))


@pytest.mark.parametrize(
    ("now", "paid", "left"),
    [
        # 80 x 0.5 + 1 = 41 was charged of the usage; the seats are 62.50
        ("150", "62.50", "20.00"),  # 61 - 41 = 20 more: for the card
        ("10", "27.50", "0.00"),  # 6 - 41 = 35 less: 62.50 - 35 are asked for
    ],
)
def test_a_wallet_for_fixed_charges_pays_no_late_usage(now: str, paid: str, left: str) -> None:
    wallet = replace(wallet_of("99"), allowed_price_types=AllowedPriceTypes.FIXED)
    _, invoice = next_invoice(corrected(closed("80"), now), wallet=wallet)
    assert (invoice.total_prepaid_credits_applied, invoice.total) == (Decimal(paid), Decimal(left))
    assert [line.prepaid_credits for line in invoice.lines] == [Decimal(paid), 0]


def test_a_credit_beyond_the_invoice_is_carried_with_the_tax_it_was_billed_with() -> None:
    own, invoice = billed("250", tax())
    assert (invoice.subtotal, invoice.total_tax) == (Decimal("81.00"), Decimal("14.58"))
    made = corrected(closed_period("inv_1", own, invoice.lines), "0")
    carrier_inputs, carrier = next_invoice(made, taxes=(tax("0"),))
    # -81 and the seats' 62.5: 18.5 are carried, with 18.5 x 14.58 / 81 = 3.33 of tax, whatever the rate by now
    assert (carrier.carried.amount, carrier.carried.exclusive_tax, carrier.total) == (
        Decimal("18.50"), Decimal("3.33"), Decimal("0.00"))  # fmt: skip
    assert post_finalized("inv_2", carrier).entries  # it balances
    assert verify(carrier_inputs, carrier) == ()


def test_voiding_the_invoice_that_carried_a_correction() -> None:
    """Its credits stay given and are paid out; what it charged for late usage is open again."""
    own, invoice = billed("80")
    period = closed_period("inv_1", own, invoice.lines)
    for known, back, again in (("10", "35", ()), ("150", "0", (Decimal("20.00"),))):
        made = corrected(period, known)
        _, carrier = next_invoice(made)
        given = credits_given(carrier)
        assert given_back(Decimal(0), given, Decimal(0), (), "FINALIZED") == Decimal(back)
        after = closed_period("inv_1", own, invoice.lines, [SettledCorrection(made, carrier.lines, voided=True)])
        found = corrections([after], {"inv_1": (talked(known),)})
        assert tuple(line.amount for one in found for line in correction_lines(one)) == again


def test_what_a_line_credits() -> None:
    up, down = (correction_lines(corrected(closed("80", tax()), known))[0] for known in ("90", "10"))
    assert credited_charge(up) is None
    found = credited_charge(down)
    assert found is not None
    assert (found.invoice_id, found.amount, found.exclusive_tax) == ("inv_1", Decimal("41.00"), Decimal("7.38"))


@pytest.mark.parametrize(
    ("balance", "notes"),
    [
        (PAID, [("REFUND", "41.30")]),  # 35 and 18 % of it
        (InvoiceBalance(Decimal(100)), [("ADJUSTMENT", "41.30")]),
        (InvoiceBalance(Decimal(50), paid=Decimal(20)), [("ADJUSTMENT", "30"), ("REFUND", "11.30")]),
        (InvoiceBalance(Decimal(50), paid=Decimal(50), refunded=Decimal(20)), []),  # 30 are not enough for it
    ],
)
def test_a_credit_note_takes_what_is_left_to_pay_first(balance: InvoiceBalance, notes: list[tuple[str, str]]) -> None:
    made = corrected(closed("80", tax()), "10")
    assert [(kind.value, str(amount)) for kind, amount in credit_notes_for(made, balance)] == notes


def test_no_credit_note_for_more_usage_or_for_what_later_invoices_charged() -> None:
    own, invoice = billed("80", tax())
    more = corrected(closed_period("inv_1", own, invoice.lines), "150")
    assert credit_notes_for(more, PAID) == ()
    _, carrier = next_invoice(more, taxes=(tax(),))
    after = closed_period("inv_1", own, invoice.lines, [SettledCorrection(more, carrier.lines)])
    assert credit_notes_for(corrected(after, "100"), PAID) == ()
    # the 20 of the later invoice and their tax belong to what was charged: 61, and 7.38 + 3.6
    assert (after.charges[0].corrected, after.charges[0].charged) == (Decimal(20), Decimal(61))
    assert after.charges[0].exclusive_tax == Decimal("10.98")


def test_a_correction_by_credit_note_makes_no_line() -> None:
    made = replace(corrected(closed("80"), "10"), by_credit_note=True)
    _, invoice = next_invoice(made)
    assert [line.kind.value for line in invoice.lines] == ["fixed"]
    after = closed_period("inv_1", *_lines(billed("80")), [SettledCorrection(made)])
    assert corrections([after], {"inv_1": (talked("10"),)}) == ()
    assert CreditNoteType.REFUND in dict(credit_notes_for(corrected(after, "0"), PAID))


def _lines(of: tuple[InvoiceInputs, Invoice]) -> tuple[InvoiceInputs, Any]:
    return of[0], of[1].lines


def test_it_is_stored_read_back_verified_and_explained() -> None:
    made = corrected(closed("80", tax(), coupon=True), "10")
    own, invoice = next_invoice(made, taxes=(tax(),))
    assert from_json(InvoiceInputs, to_json(own)) == own
    assert from_json(Invoice, to_json(invoice)) == invoice
    assert verify(from_json(InvoiceInputs, to_json(own)), invoice) == ()
    wrong = replace(own, corrections=(replace(made, charges=()),))
    assert "lines[1].amount: expected '6', stored '-31.5'" in verify(wrong, invoice)
    text = explain_invoice(invoice, own)
    for words in (
        "   invoice inv_1 billed this period before all of its usage was known",
        "      tier 1 (from 0 up to 100): 10 x 0.5 + 1 flat = 6",
        "   charged first: 36.90 usd, 41.00 usd before discounts",
        "   difference: -31.50 usd",  # 6 x 36.9 / 41 = 5.4
    ):
        assert words in text


def test_settings_are_checked() -> None:
    assert LateUsageSettings().looks_back
    assert not LateUsageSettings(periods=0).looks_back
    for given_settings, field, message in (
        ({"periods": -1}, "late_usage_periods", "late_usage_periods must be from 0 to 24; got -1"),
        ({"days": 1001}, "late_usage_days", "late_usage_days must be from 0 to 1000; got 1001"),
    ):
        with pytest.raises(Invalid) as refusal:
            LateUsageSettings(**given_settings)  # type: ignore[arg-type]
        assert (refusal.value.field, refusal.value.message) == (field, message)
