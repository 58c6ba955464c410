"""Amounts in minor units: exact, or refused with a reason."""

from decimal import Decimal

import pytest

from activities.adapters import minor_units, razorpay_entities, stripe_intents
from activities.ports import ProviderRefused


def stripe_units(amount: str, currency: str) -> int:
    return minor_units.minor_units(Decimal(amount), currency, "stripe", stripe_intents.PLACES)


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        ("12.5", "usd", 1250),
        ("12.500", "usd", 1250),
        ("0.01", "eur", 1),
        ("99999999999999999999999.99", "usd", 9999999999999999999999999),
        ("500", "jpy", 500),
        ("5E+2", "jpy", 500),
        ("1.230", "kwd", 1230),
        ("1.2", "bhd", 1200),
        ("5", "isk", 500),  # Stripe counts the krona in hundredths
        ("5", "ugx", 500),
        ("7", "mga", 7),  # and the ariary whole, though ISO 4217 gives it two digits
        ("12.50", "huf", 1250),
    ],
)
def test_an_amount_is_converted_exactly(amount: str, currency: str, units: int) -> None:
    assert stripe_units(amount, currency) == units


@pytest.mark.parametrize(
    ("amount", "currency", "why"),
    [
        ("0", "usd", "greater than zero"),
        ("-1", "usd", "greater than zero"),
        ("0.001", "usd", "2 digits after the point at most"),
        ("1.5", "jpy", "0 digits after the point at most"),
        ("5.5", "isk", "0 digits after the point at most"),
        ("7.5", "mga", "0 digits after the point at most"),
        ("1.234", "kwd", "third digit after the point must be 0"),
        ("1.2345", "clf", "no currency with 4 digits"),
        ("1", "xyz", "currency 'xyz' is not known"),
        ("1", "USD", "currency 'USD' is not known"),
    ],
)
def test_an_amount_that_cannot_be_expressed_is_refused_never_rounded(amount: str, currency: str, why: str) -> None:
    with pytest.raises(ProviderRefused, match=why):
        stripe_units(amount, currency)


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [("299.95", "inr", 29995), ("295", "jpy", 295), ("295.99", "kwd", 295990), ("7.5", "mga", 750), ("5", "isk", 5)],
)
def test_razorpay_counts_as_iso_4217_does(amount: str, currency: str, units: int) -> None:
    assert minor_units.minor_units(Decimal(amount), currency, "razorpay", razorpay_entities.PLACES) == units


@pytest.mark.parametrize(
    ("units", "currency", "amount"),
    [(1050, "usd", "10.5"), (500, "jpy", "500"), (500, "isk", "5"), (1, "kwd", "0.001")],
)
def test_what_a_company_counts_is_read_back(units: int, currency: str, amount: str) -> None:
    assert minor_units.major_units(units, currency, stripe_intents.PLACES) == Decimal(amount)


def test_an_unknown_currency_is_not_read() -> None:
    with pytest.raises(ValueError, match="zzz"):
        minor_units.major_units(1, "zzz", {})
