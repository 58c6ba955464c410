"""What is already owed of a wallet's balance, for wallets for all charges, for usage and for fixed prices."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from billing.commitments import Commitment, CommitmentType, DueCommitment
from billing.invoices import Invoice, build_final_invoice
from billing.prices import TierMode
from billing.wallet_balances import charges_of, unpaid_of, usage_of
from billing.wallets import AllowedPriceTypes, CreditLot, Wallet, WalletType

from .builders import credit_due, fixed_due, inputs, seat, snapshot, span, tax, tiered, usage_due, utc

D = Decimal
USED = span("2025-01-31", "2025-02-28")
PER_UNIT = tiered(TierMode.SLAB, (None, "1", "0"))
ALL, USAGE, FIXED = AllowedPriceTypes.ALL, AllowedPriceTypes.USAGE, AllowedPriceTypes.FIXED


def invoice(credits: str | None = None, allowed: AllowedPriceTypes = ALL) -> Invoice:
    """62.50 of seats, 30 of usage, 10 that a commitment of 40 is short of; 18 % on top make 120.95."""
    promised = DueCommitment(Commitment(CommitmentType.amount, D(40), "line_1", true_up=True), USED, price=PER_UNIT)
    made = inputs(fixed_due(seat()), usage_due(PER_UNIT), taxes=(tax(),), usage=(snapshot("meter_talk", USED, "30"),))
    lots = () if credits is None else (CreditLot("lot", D(credits), D(credits), utc("2025-01-01")),)
    wallet = Wallet("w", WalletType.PRE_PAID, "usd", allowed_price_types=allowed, lots=lots)
    return build_final_invoice(replace(made, commitments=(promised,), wallet=wallet))


@pytest.mark.parametrize(
    ("allowed", "paid", "unpaid"),
    [
        (ALL, "0", "120.95"),
        (ALL, "100", "20.95"),
        (ALL, "121", "0"),
        (FIXED, "100", "20.95"),  # only a wallet for usage tells what is its own
        (USAGE, "0", "40.00"),
        (USAGE, "25", "15.00"),
        (USAGE, "120", "0"),
    ],
)
def test_what_an_invoice_still_owes(allowed: AllowedPriceTypes, paid: str, unpaid: str) -> None:
    assert unpaid_of(invoice(), D(paid), allowed) == D(unpaid)


def test_credits_that_paid_usage_are_not_owed_again() -> None:
    # 12 of the 40 are paid
    assert unpaid_of(invoice("12", USAGE), D(0), USAGE) == D("28.00")
    # 70 pay the seats first, and then 7.50 of the 40
    assert unpaid_of(invoice("70"), D(0), USAGE) == D("32.50")
    # 62.50 paid the seats: 58.45 is due, of which usage is 40
    assert unpaid_of(invoice("62.50", FIXED), D(0), USAGE) == D("40.00")
    assert unpaid_of(invoice("62.50", FIXED), D("50"), USAGE) == D(0)


def test_what_an_invoice_charges_for_whom() -> None:
    made = invoice()
    assert [charges_of(made, allowed) for allowed in (ALL, USAGE, FIXED)] == [D("102.50"), D("40.00"), D("62.50")]
    assert usage_of(made) == D("30.00")  # what is missing of a commitment is not used


def test_more_credit_than_charges_is_nothing_owed() -> None:
    made = build_final_invoice(inputs(fixed_due(seat("1"), "1"), credit_due("30", Fraction(1))))
    assert charges_of(made, FIXED) == 0
