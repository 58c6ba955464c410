"""Amounts as payment companies want them: whole numbers of a currency's smallest unit, exactly or not at all.

Owns the conversion. Which currency a company counts differently than ISO 4217 is said by that company's adapter.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from activities.ports import ProviderRefused
from billing.errors import Invalid
from billing.money import decimal_text, exponent, is_rounded

LAST_DIGIT_ZERO = 3
"""Currencies with so many digits are accepted only in tens of their smallest unit: a rule of the card networks that
Stripe and Razorpay both pass on (docs.stripe.com/currencies, razorpay.com/docs/payments/international-payments)."""


def major_units(units: int, currency: str, places: Mapping[str, int]) -> Decimal:
    """What a company counts as `units`, in major units of the currency. Raises ValueError for an unknown currency."""
    try:
        digits = places.get(currency, exponent(currency))
    except Invalid as unknown:
        raise ValueError(unknown.message) from unknown
    return Decimal(units).scaleb(-digits)


def minor_units(amount: Decimal, currency: str, company: str, places: Mapping[str, int]) -> int:
    """`amount` (major units) as a whole number of units; `places` holds the currencies that `company` counts its way.

    Raises `ProviderRefused` for a currency without a minor unit and for an amount that cannot be expressed: it is never
    rounded, because the invoice would then not be paid to the last digit.
    """
    try:
        official = exponent(currency)
    except Invalid as unknown:
        raise ProviderRefused(f"{company}: {unknown.message}") from unknown
    digits = places.get(currency, official)
    units = Fraction(amount) * 10**digits
    refused = f"{company}: amount {decimal_text(amount)} {currency} cannot be charged: "
    if units <= 0:
        raise ProviderRefused(f"{refused}it must be greater than zero")
    if units.denominator != 1 or not is_rounded(amount, currency):
        most = min(digits, official)
        raise ProviderRefused(f"{refused}{company} takes {currency} with {most} digits after the point at most")
    if digits > LAST_DIGIT_ZERO:
        raise ProviderRefused(f"{refused}{company} takes no currency with {digits} digits after the point")
    if digits == LAST_DIGIT_ZERO and units % 10:
        raise ProviderRefused(f"{refused}the third digit after the point must be 0")
    return int(units)
