"""Numbers, money and dates read the way finance people of any country expect, and lose no digit."""

from datetime import UTC, datetime
from decimal import Decimal as D

import pytest

from activities.documents.formatting import moment_text, money_text, period_text, price_text, quantity_text
from billing.errors import Invalid


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("1234.5", "usd", "$1,234.50"),
        ("-1234.5", "usd", "−$1,234.50"),
        ("1234567", "jpy", "¥1,234,567"),
        ("1E+3", "jpy", "¥1,000"),
        ("1234.5", "kwd", "KWD\u00a01,234.500"),
        ("1234567.5", "inr", "₹12,34,567.50"),
        ("0.000875", "usd", "$0.000875"),
        ("0", "eur", "€0.00"),
        ("-0.00", "eur", "€0.00"),
        ("1", "clf", "CLF\u00a01.0000"),
        ("2", "chf", "CHF\u00a02.00"),
        ("12345678901234567890123.123456789012345", "usd", "$12,345,678,901,234,567,890,123.123456789012345"),
    ],
)
def test_money_has_its_symbol_its_decimals_and_every_digit(amount: str, currency: str, text: str) -> None:
    assert money_text(D(amount), currency) == text


def test_a_price_says_what_it_is_for() -> None:
    assert price_text(D("4.75"), "usd", "50 calls") == "$4.75 per 50 calls"


@pytest.mark.parametrize(
    ("quantity", "text"), [("36000", "36,000"), ("18312.2500", "18,312.25"), ("0", "0"), ("-3", "−3"), ("0.0", "0")]
)
def test_quantities_drop_trailing_zeros_only(quantity: str, text: str) -> None:
    assert quantity_text(D(quantity)) == text


def test_a_currency_that_does_not_exist_is_named() -> None:
    with pytest.raises(Invalid, match="zzz"):
        money_text(D(1), "zzz")


@pytest.mark.parametrize(
    ("start", "end", "zone", "text"),
    [
        ("2025-02-01T00:00", "2025-03-01T00:00", "UTC", "1 Feb – 28 Feb 2025"),
        ("2025-01-30T18:30", "2025-02-27T18:30", "Asia/Kolkata", "31 Jan – 27 Feb 2025"),
        ("2024-12-15T00:00", "2025-01-15T00:00", "UTC", "15 Dec 2024 – 14 Jan 2025"),
        ("2025-02-01T00:00", "2025-02-02T00:00", "UTC", "1 Feb 2025"),
        ("2025-02-01T00:00", "2025-02-01T00:00", "UTC", "1 Feb 2025"),
        ("2025-01-15T08:30", "2025-02-15T08:30", "Europe/Paris", "15 Jan 2025, 09:30 – 15 Feb 2025, 09:30"),
        # The clock goes forward on 30 March: local midnights are 23 hours apart from what UTC suggests.
        ("2025-03-29T23:00", "2025-03-30T22:00", "Europe/Paris", "30 Mar 2025"),
    ],
)
def test_periods_are_shown_in_the_customers_zone(start: str, end: str, zone: str, text: str) -> None:
    first, last = (datetime.fromisoformat(moment).replace(tzinfo=UTC) for moment in (start, end))
    assert period_text(first, last, zone).replace("\u00a0", " ") == text


def test_moments_carry_their_offset() -> None:
    moment = datetime(2025, 1, 1, 3, 0, tzinfo=UTC)
    assert moment_text(moment, "America/New_York") == "31 Dec 2024, 22:00 UTC−05:00"
