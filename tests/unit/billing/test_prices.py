"""Rating: tables worked by hand, the laws of rating, and the refusals of bad prices."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import Invalid
from billing.meters import UsagePart
from billing.periods import BillingPeriod, Cadence
from billing.prices import BillingModel, InvoiceCadence, Price, PriceType, RoundMode, TierMode, TransformQuantity, rate
from billing.usage_lines import rate_buckets

from .builders import MONTHLY, package, seat, span, talk, tiered, tiers

SLAB = tiered(TierMode.SLAB, ("1000", "0.02", "1"), ("5000", "0.01", "2.5"), (None, "0.005", "0"))
VOLUME = tiered(TierMode.VOLUME, ("1000", "0.02", "1"), ("5000", "0.01", "2.5"), (None, "0.005", "0"))
QUANTITIES = st.decimals(0, 10**9, places=12)


@pytest.mark.parametrize(
    ("price", "quantity", "expected"),
    [
        (seat("12.5"), "5", "62.5"),
        (seat("0.000000000000001"), "0.000000000001", "0.000000000000000000000000001"),
        (SLAB, "1000", "21"),  # 1000 x 0.02 + 1: the boundary belongs to the tier
        (SLAB, "1000.001", "23.50001"),  # 21 + 0.001 x 0.01 + 2.5
        (SLAB, "5000", "63.5"),  # 21 + 4000 x 0.01 + 2.5
        (SLAB, "6000", "68.5"),  # 63.5 + 1000 x 0.005
        (VOLUME, "1000", "21"),
        (VOLUME, "1000.001", "12.50001"),  # 1000.001 x 0.01 + 2.5: VOLUME may cost less for more
        (VOLUME, "6000", "30"),
        (talk(), "100000", "132.55"),  # 36000 x 0.0015 = 54; 54000 x 0.0012 + 5 = 69.8; 10000 x 0.000875 = 8.75
        (package(), "50", "4.75"),
        (package(), "50.000001", "9.5"),  # a started package counts
        (package(rounding=RoundMode.down), "99.9", "4.75"),
        (package(rounding=RoundMode.down), "49", "0"),
    ],
)
def test_rating(price: Price, quantity: str, expected: str) -> None:
    rating = rate(price, Decimal(quantity))
    assert rating.amount == Fraction(expected)
    assert sum(step.amount for step in rating.steps) == rating.amount


@pytest.mark.parametrize("price", [seat(), SLAB, VOLUME, package()])
def test_nothing_costs_nothing(price: Price) -> None:
    assert rate(price, 0).amount == 0
    assert rate(price, 0).steps == ()


def test_negative_quantity_is_refused() -> None:
    with pytest.raises(Invalid, match="quantity must not be negative; got -1") as refusal:
        rate(seat(), Decimal("-1"))
    assert refusal.value.field == "quantity"


def test_steps_show_each_tier() -> None:
    steps = rate(SLAB, 6000).steps
    assert [step.tier for step in steps] == [0, 1, 2]
    assert [step.quantity for step in steps] == [Fraction(1000), Fraction(4000), Fraction(1000)]
    assert [step.amount for step in steps] == [Fraction(21), Fraction("42.5"), Fraction(5)]


@given(QUANTITIES, QUANTITIES, st.sampled_from([seat(), SLAB, package(), package(rounding=RoundMode.down)]))
def test_more_never_costs_less(one: Decimal, other: Decimal, price: Price) -> None:
    low, high = sorted((one, other))
    assert rate(price, low).amount <= rate(price, high).amount


@given(QUANTITIES)
def test_tiers_agree_with_the_definition(quantity: Decimal) -> None:
    units, floor, slab, volume = Fraction(quantity), Fraction(0), Fraction(0), Fraction(0)
    for tier in SLAB.tiers:
        ceiling = Fraction(tier.up_to) if tier.up_to is not None else max(units, floor)
        if units > floor:
            slab += (min(units, ceiling) - floor) * Fraction(tier.unit_amount) + Fraction(tier.flat_amount)
        if floor < units <= ceiling:
            volume = units * Fraction(tier.unit_amount) + Fraction(tier.flat_amount)
        floor = ceiling
    assert rate(SLAB, quantity).amount == slab
    assert rate(VOLUME, quantity).amount == volume


@given(QUANTITIES)
def test_slab_prices_every_unit_exactly_once(quantity: Decimal) -> None:
    assert sum((step.quantity for step in rate(SLAB, quantity).steps), Fraction(0)) == Fraction(quantity)


REFUSED: list[tuple[Callable[[], object], str, str]] = [
    (
        lambda: tiered(TierMode.SLAB, ("10", "1", "0")),
        "tiers[0].up_to",
        "tiers[0].up_to must be null: the last tier has no end",
    ),  # the excess would be free
    (
        lambda: tiered(TierMode.SLAB, ("10", "1", "0"), ("10", "1", "0"), (None, "1", "0")),
        "tiers[1].up_to",
        "tiers[1].up_to must be greater than 10; only the last is null",
    ),
    (
        lambda: tiered(TierMode.SLAB, (None, "1", "0"), (None, "1", "0")),
        "tiers[0].up_to",
        "tiers[0].up_to must be greater than 0; only the last is null",
    ),
    (
        lambda: tiered(TierMode.SLAB, ("0", "1", "0"), (None, "1", "0")),
        "tiers[0].up_to",
        "tiers[0].up_to must be greater than 0; only the last is null",
    ),
    (
        lambda: tiered(TierMode.SLAB, (None, "-1", "0")),
        "tiers[0].unit_amount",
        "tiers[0].unit_amount must be 0 or more; got -1",
    ),
    (
        lambda: tiered(TierMode.SLAB, ("5", "1", "0"), (None, "1", "-2")),
        "tiers[1].flat_amount",
        "tiers[1].flat_amount must be 0 or more; got -2",
    ),
    (lambda: tiered(TierMode.SLAB), "tiers", "tiers are required for TIERED prices, and only for them"),
    (
        lambda: replace(SLAB, tier_mode=None),
        "tier_mode",
        "tier_mode (VOLUME or SLAB) is required for TIERED prices, and only for them",
    ),
    (
        lambda: replace(SLAB, amount=Decimal(3)),
        "amount",
        "amount must be absent for TIERED prices; the tiers carry the amounts",
    ),
    (
        lambda: replace(seat(), tiers=tiers((None, "1", "0"))),
        "tiers",
        "tiers are required for TIERED prices, and only for them",
    ),
    (
        lambda: replace(seat(), tier_mode=TierMode.SLAB),
        "tier_mode",
        "tier_mode (VOLUME or SLAB) is required for TIERED prices, and only for them",
    ),
    (lambda: replace(seat(), amount=None), "amount", "amount must be given, 0 or more for FLAT_FEE prices"),
    (
        lambda: replace(seat(), amount=Decimal("-0.01")),
        "amount",
        "amount must be 0 or more for FLAT_FEE prices; got -0.01",
    ),
    (
        lambda: replace(seat(), billing_model=BillingModel.PACKAGE),
        "transform_quantity",
        "transform_quantity (divide_by, round) is required for PACKAGE prices, and only for them",
    ),
    (
        lambda: replace(seat(), transform_quantity=TransformQuantity(10)),
        "transform_quantity",
        "transform_quantity (divide_by, round) is required for PACKAGE prices, and only for them",
    ),
    (
        lambda: TransformQuantity(0),
        "transform_quantity.divide_by",
        "transform_quantity.divide_by must be at least 1; got 0",
    ),
    (lambda: replace(seat(), meter_id="meter_1"), "meter_id", "meter_id must be absent for FIXED prices"),
    (lambda: replace(SLAB, meter_id=None), "meter_id", "meter_id is required for USAGE prices"),
    (
        lambda: replace(SLAB, invoice_cadence=InvoiceCadence.ADVANCE),
        "invoice_cadence",
        "invoice_cadence must be ARREAR for USAGE prices",
    ),
    (
        lambda: replace(SLAB, min_quantity=Decimal(1)),
        "min_quantity",
        "min_quantity must be 0 or more, and only FIXED prices have it",
    ),
    (
        lambda: replace(seat(), min_quantity=Decimal(-1)),
        "min_quantity",
        "min_quantity must be 0 or more, and only FIXED prices have it",
    ),
    (
        lambda: replace(seat(), currency="USD"),
        "currency",
        "currency 'USD' is not known; write a lower-case ISO 4217 code with a minor unit, such as 'usd'",
    ),
    (
        lambda: replace(seat(invoice_cadence=InvoiceCadence.ARREAR), cadence=Cadence(BillingPeriod.ONETIME)),
        "billing_period",
        "a ONETIME price must be FIXED and ADVANCE",
    ),
]


@pytest.mark.parametrize(
    ("make", "field", "message"), REFUSED, ids=[f"{i}-{field}" for i, (_, field, _) in enumerate(REFUSED)]
)
def test_bad_prices_name_the_field(make: Callable[[], object], field: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        make()
    assert (caught.value.field, caught.value.message) == (field, message)
    assert caught.value.code == "validation_error"


def test_a_tiered_price_may_carry_amount_zero() -> None:
    assert replace(SLAB, amount=Decimal(0)).type is PriceType.USAGE
    assert SLAB.cadence == MONTHLY


def test_each_bucket_is_priced_by_itself() -> None:
    days = [span("2025-02-01", "2025-02-02"), span("2025-02-02", "2025-02-03")]
    parts = [UsagePart(day, Fraction(quantity)) for day, quantity in zip(days, (1000, 600), strict=True)]
    # 21, and 600 x 0.02 + 1; all 1600 at once would reach the second tier
    assert rate_buckets(SLAB, parts) == 34
    assert rate_buckets(SLAB, ()) == 0
