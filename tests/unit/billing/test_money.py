"""Numbers: the one rounding, exact sums, splits that conserve, text forms."""

from decimal import Decimal, Inexact
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import Invalid, InvariantBroken
from billing.money import (
    allocate,
    apportion,
    decimal_text,
    exponent,
    is_rounded,
    minus,
    negated,
    parse_decimal,
    round_amount,
    shown_decimal,
    total,
)

CURRENCIES = st.sampled_from(["usd", "jpy", "kwd", "clf"])
FRACTIONS = st.fractions(min_value=-(10**15), max_value=10**15, max_denominator=10**9)


@pytest.mark.parametrize(
    ("currency", "digits"),
    [
        ("usd", 2),
        ("inr", 2),
        ("jpy", 0),
        ("krw", 0),
        ("vnd", 0),
        ("clp", 0),
        ("kwd", 3),
        ("bhd", 3),
        ("tnd", 3),
        ("clf", 4),
    ],
)
def test_exponent_is_that_of_iso_4217(currency: str, digits: int) -> None:
    assert exponent(currency) == digits


@pytest.mark.parametrize("currency", ["USD", "usx", "", "xau", "us"])
def test_unknown_currency_is_refused(currency: str) -> None:
    with pytest.raises(Invalid) as caught:
        exponent(currency)
    assert caught.value.field == "currency"


@pytest.mark.parametrize(
    ("value", "currency", "expected"),
    [
        ("0.005", "usd", "0.01"),  # a half goes away from zero ...
        ("-0.005", "usd", "-0.01"),  # ... on both sides,
        ("2.675", "usd", "2.68"),  # where binary floats would give 2.67
        ("0.0049999999999999", "usd", "0.00"),
        ("0.5", "jpy", "1"),
        ("2.5", "jpy", "3"),  # half to even would give 2
        ("1.0005", "kwd", "1.001"),
        ("12345678901234567890123456789.995", "usd", "12345678901234567890123456790.00"),  # 32 digits
    ],
)
def test_rounding(value: str, currency: str, expected: str) -> None:
    assert str(round_amount(Decimal(value), currency)) == expected


def test_rounding_is_exact_for_fractions() -> None:
    assert round_amount(Fraction(1, 3), "usd") == Decimal("0.33")
    just_below = Fraction(5, 1000) - Fraction(1, 10**60)
    assert round_amount(just_below, "usd") == 0
    assert not round_amount(Fraction(-1, 1000), "usd").is_signed()


@given(FRACTIONS, CURRENCIES)
def test_rounding_laws(value: Fraction, currency: str) -> None:
    rounded = round_amount(value, currency)
    unit = Fraction(1, 10 ** exponent(currency))
    assert abs(Fraction(rounded) - value) <= unit / 2
    assert round_amount(rounded, currency) == rounded
    assert round_amount(-value, currency) == -rounded
    assert is_rounded(rounded, currency)


@given(st.decimals(-(10**12), 10**12, places=2), st.lists(st.integers(0, 10**6), min_size=1).filter(any))
def test_allocation_conserves(amount: Decimal, weights: list[int]) -> None:
    parts = allocate(amount, weights, "usd")
    assert total(parts) == amount
    whole = sum(weights)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(Fraction(part) - Fraction(amount) * weight / whole) < Fraction(1, 100)


def test_allocation_gives_ties_to_the_earlier() -> None:
    assert allocate(Decimal("0.02"), [1, 1, 1], "usd") == (Decimal("0.01"), Decimal("0.01"), Decimal("0.00"))
    assert allocate(Decimal("0"), [0, 0], "usd") == (Decimal("0.00"), Decimal("0.00"))


@pytest.mark.parametrize("weights", [[0, 0], [1, -1], []])
def test_allocation_needs_something_to_split_on(weights: list[int]) -> None:
    with pytest.raises(
        InvariantBroken, match=r"^an amount can only be split by non-negative weights that are not all 0$"
    ):
        allocate(Decimal("1"), weights, "usd")


@given(st.lists(st.fractions(-1000, 1000, max_denominator=999), min_size=1), CURRENCIES)
def test_apportioned_shares_of_any_sign_add_up(shares: list[Fraction], currency: str) -> None:
    amount = round_amount(sum(shares, Fraction(0)), currency)
    parts = apportion(amount, shares, currency)
    assert total(parts) == amount
    unit = Fraction(1, 10 ** exponent(currency))
    assert all(abs(Fraction(part) - share) <= unit for part, share in zip(parts, shares, strict=True))


def test_apportion_refuses_an_amount_that_is_not_the_sum() -> None:
    with pytest.raises(InvariantBroken, match=r"^shares of .* usd do not add up to it$"):
        apportion(Decimal("5"), [Fraction(1), Fraction(1)], "usd")


def test_sums_keep_more_digits_than_python_does_by_default() -> None:
    big, small = Decimal("12345678901234567890123456"), Decimal("0.000000000001")
    assert str(total([big, small])) == "12345678901234567890123456.000000000001"
    assert str(minus(big, small)) == "12345678901234567890123455.999999999999"
    with pytest.raises(Inexact):
        total([Decimal(10) ** 40, Decimal("1e-20")])


@pytest.mark.parametrize(
    ("value", "text"),
    [("1.500", "1.5"), ("100", "100"), ("1E+3", "1000"), ("-0.00", "0"), ("0E-12", "0"), ("1E-7", "0.0000001")],
)
def test_decimal_text(value: str, text: str) -> None:
    assert decimal_text(Decimal(value)) == text


def test_shown_decimal_has_twelve_places() -> None:
    assert str(shown_decimal(Fraction(2, 3))) == "0.666666666667"


@pytest.mark.parametrize(
    ("value", "text"),
    [("1.50", "1.5"), ("+7", "7"), (".5", "0.5"), (3, "3"), (Decimal("1E+2"), "100"), ("1e-15", "0.000000000000001")],
)
def test_parse_decimal(value: object, text: str) -> None:
    assert decimal_text(parse_decimal(value, "amount")) == text


@pytest.mark.parametrize(
    "value",
    [
        "",
        "abc",
        "NaN",
        "Infinity",
        "1_000",
        "٣",
        " 1",
        "1e999",
        "0.1234567890123456",
        "1" * 24,
        "1,5",
        1.5,
        True,
        None,
        [],
    ],
)
def test_parse_decimal_refuses(value: object) -> None:
    with pytest.raises(Invalid) as caught:
        parse_decimal(value, "tiers[0].unit_amount")
    assert caught.value.field == "tiers[0].unit_amount"


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**20), max_value=10**20))
def test_decimal_text_reads_back(value: Decimal) -> None:
    assert parse_decimal(decimal_text(value), "x") == value


def test_an_amount_of_more_digits_than_the_default_context_is_split_whole() -> None:
    """31 digits, where Python's own context keeps 28: half of ...789.13 is ...394.565, and the first has the cent."""
    parts = allocate(Decimal("12345678901234567890123456789.13"), [1, 1], "usd")
    assert [str(part) for part in parts] == ["6172839450617283945061728394.57", "6172839450617283945061728394.56"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.1234", "price has more than 3 digits after the point: 0.1234"),
        ("1" * 24, f"price has more than 23 digits before the point: {'1' * 24}"),
    ],
)
def test_a_number_that_is_too_long_is_told_its_bound(text: str, message: str) -> None:
    with pytest.raises(Invalid, match=f"^{message}$") as refusal:
        parse_decimal(text, "price", places=3)
    assert refusal.value.field == "price"


def test_nothing_negated_is_nothing_without_a_sign() -> None:
    assert [str(negated(Decimal(text))) for text in ("0", "-0", "0.00", "1.5", "-1.5")] == [
        "0", "0", "0.00", "-1.5", "1.5",
    ]  # fmt: skip
