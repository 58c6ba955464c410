"""One invoice by every rule is stored, sent, read back and verified; what older versions stored is still read."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing.codec import from_json, to_json
from billing.commitments import Commitment, CommitmentType, DueCommitment
from billing.coupons import Coupon, CouponAssociation, CouponType
from billing.entitlements import Allowance
from billing.explain import explain_invoice
from billing.invoices import Invoice, InvoiceInputs, InvoiceLine, build_final_invoice, verify
from billing.meters import UsagePart, UsageSnapshot
from billing.prices import Price
from billing.taxes import TaxRateType
from billing.terms import Terms
from billing.wallets import AllowedPriceTypes, CreditLot, Wallet, WalletType

from .builders import (
    credit_due,
    fixed_due,
    inputs,
    package,
    seat,
    snapshot,
    span,
    talk,
    tax,
    terms,
    usage_due,
    utc,
)

USED = span("2025-01-31", "2025-02-28")
PREMIUM = snapshot("meter_premium", USED, "101")
LOT = CreditLot("lot", Decimal(5), Decimal(5), utc("2025-01-01"))
EVERYTHING = InvoiceInputs(
    currency="usd",
    due=inputs(fixed_due(seat()), usage_due(talk()), usage_due(package()), credit_due("60", Fraction(1, 3))).due,
    tax_rates=(tax(), tax("0.5", kind=TaxRateType.fixed)),
    usage=(
        replace(
            snapshot("meter_talk", USED, "40000.25"), parts=(UsagePart(USED, Fraction("40000.25")),), bucketed=True
        ),
        replace(PREMIUM, usage=replace(PREMIUM.usage, rejected_values=2)),
    ),
    coupons=(CouponAssociation("assoc", Coupon("c", "Ten", CouponType.percentage, Decimal(10))),),
    allowances=(Allowance("meter_talk", USED, Fraction(1001, 3)),),
    commitments=(DueCommitment(Commitment(CommitmentType.amount, Decimal(50), overage_factor=Decimal("1.5")), USED),),
    wallet=Wallet("w", WalletType.PRE_PAID, "usd", Decimal(2), AllowedPriceTypes.ALL, lots=(LOT,)),
)

SINCE: dict[type, set[str]] = {
    InvoiceInputs: {"coupons", "allowances", "commitments", "wallet", "line_tax_rates", "corrections"},
    InvoiceLine: {"discounts", "prepaid_credits"},
    UsageSnapshot: {"parts", "bucketed"},
    Price: {"maximum_amount"},
    Terms: {"entitlements", "commitments", "trial_end", "proration_unit"},
}
"""Fields that came after the first stored invoices."""
NEWER = set().union(*SINCE.values()) | {"uncapped", "commitment", "correction", "total_prepaid_credits_applied"}


def without_newer(data: Any) -> Any:
    """The JSON form as it was before those fields; `exact` of a usage quantity is told by the fields beside it."""
    if isinstance(data, list):
        return [without_newer(item) for item in data]
    if not isinstance(data, dict):
        return data
    gone = NEWER | ({"exact"} if "event_count" in data else set()) | ({"credit_draws"} if "taxes" in data else set())
    return {key: without_newer(value) for key, value in data.items() if key not in gone}


def test_an_invoice_by_every_rule_is_read_back_as_it_was() -> None:
    invoice = build_final_invoice(EVERYTHING)
    assert from_json(InvoiceInputs, to_json(EVERYTHING)) == EVERYTHING
    assert from_json(Invoice, to_json(invoice)) == invoice
    assert verify(from_json(InvoiceInputs, to_json(EVERYTHING)), invoice) == ()


def test_its_sum_by_hand() -> None:
    invoice = build_final_invoice(EVERYTHING)
    # seat 62.50; talk (40000.25 - 333.667) units: 54 + 3666.583 x 0.0012 + 5 = 63.40, 50 and 13.40 x 1.5 = 20.10;
    # premium 3 x 4.75 beyond as a whole: x 1.5 = 21.375; 20 back of the old seat
    assert [(line.kind.value, str(line.amount)) for line in invoice.lines] == [
        ("fixed", "62.50"), ("usage", "50.00"), ("overage", "20.10"), ("overage", "21.38"),
        ("proration_credit", "-20.00"),
    ]  # fmt: skip
    # 10 % of 153.98 = 15.40; 18 % of 118.58 = 21.34; 0.50; 5 credits are 10
    assert (invoice.subtotal, invoice.total_discount) == (Decimal("133.98"), Decimal("15.40"))
    assert [str(part.amount) for part in invoice.taxes] == ["21.34", "0.50"]
    assert (str(invoice.total_prepaid_credits_applied), str(invoice.total)) == ("10.00", "130.42")
    text = explain_invoice(invoice, EVERYTHING)
    assert "   2 of these events had no usable value and count 0" in text
    assert "Tax 0.5: fixed 0.50 usd" in text


def test_what_was_stored_before_newer_fields_existed_is_still_read() -> None:
    plain = inputs(fixed_due(seat()), usage_due(talk()), usage=(snapshot("meter_talk", USED, "1000"),), taxes=(tax(),))
    invoice = build_final_invoice(plain)
    older = without_newer(to_json(plain))
    assert "coupons" not in older
    assert from_json(InvoiceInputs, older) == plain
    assert [from_json(InvoiceLine, without_newer(to_json(line))) for line in invoice.lines] == list(invoice.lines)
    agreed = terms(seat(), talk())
    assert from_json(Terms, without_newer(to_json(agreed))) == agreed
