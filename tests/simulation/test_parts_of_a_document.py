"""What a document says is what the rules get: prices, terms, coupons, wallets and grants, part by part."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.commitments import CommitmentType
from billing.coupons import CouponAssociation
from billing.dunning import DunningSettings, ExhaustedInvoice, ExhaustedSubscription
from billing.entitlements import UsageResetPeriod
from billing.late_usage import LateUsagePolicy, LateUsageSettings
from billing.periods import BillingPeriod, Cadence
from billing.prices import BillingModel, InvoiceCadence, Price, RoundMode, Tier, TierMode, TransformQuantity
from billing.scenario.agreement import (
    build_coupons,
    build_dunning,
    build_late_usage,
    build_terms,
    entitlements_of,
    overridden,
)
from billing.scenario.catalog import Catalog, build_catalog
from billing.scenario.commitments import build_commitments
from billing.scenario.document import Scenario
from billing.scenario.parse import parse_scenario
from billing.scenario.phases import build_phase_coupons, build_phases
from billing.terms import Terms
from tests.simulation.documents import METER, SEAT, USE, document

Json = dict[str, Any]
D = Decimal
TIERS = [{"up_to": "100", "unit_amount": "0.5", "flat_amount": "2"}, {"unit_amount": "0.2"}]
SLAB = (Tier(D(100), D("0.5"), D(2)), Tier(None, D("0.2")))
SUPPORT: Json = {
    "key": "support",
    "type": "FIXED",
    "billing_model": "FLAT_FEE",
    "amount": "7",
    "invoice_cadence": "ARREAR",
}


def on(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def built(**parts: Any) -> tuple[Scenario, Catalog]:
    scenario = parse_scenario(document(**parts))
    return scenario, build_catalog(scenario)


def subscribed(**part: Any) -> Json:
    return {"plan": "pro", "start_date": "2026-01-01T00:00:00Z", **part}


def agreed(**parts: Any) -> Terms:
    scenario, catalog = built(**parts)
    return build_terms(scenario, catalog, build_phases(scenario, catalog))


def price(**part: Any) -> Price:
    """The first price of the plan."""
    _, catalog = built(plans=[{"key": "pro", "prices": [{**SEAT, **part}, USE]}])
    return catalog.plans["pro"][0]


def test_a_price_with_all_that_it_can_have() -> None:
    made = price(
        amount=None, billing_model="TIERED", tier_mode="SLAB", tiers=TIERS, billing_period="QUARTERLY",
        billing_period_count=2, min_quantity="3", maximum_amount="90", trial_period_days=14, display_name="Seats",
    )  # fmt: skip
    assert (made.display_name, made.tier_mode, made.tiers) == ("Seats", TierMode.SLAB, SLAB)
    assert (made.cadence, made.invoice_cadence) == (Cadence(BillingPeriod.QUARTERLY, 2), InvoiceCadence.ADVANCE)
    assert (made.min_quantity, made.maximum_amount, made.trial_period_days) == (D(3), D(90), 14)
    packaged = price(billing_model="PACKAGE", transform_quantity={"divide_by": 50, "round": "down"})
    assert packaged.transform_quantity == TransformQuantity(50, RoundMode.down)
    assert (price().display_name, price().trial_period_days, price().maximum_amount) == ("seat", 0, None)


@pytest.mark.parametrize(
    ("own", "subscription", "cadence"),
    [
        ({}, {"billing_period": "ANNUAL", "billing_period_count": 2}, Cadence(BillingPeriod.ANNUAL, 2)),
        # a fixed price counts as the subscription does where the units are equal, else by ones
        ({"billing_period": "MONTHLY"}, {"billing_period_count": 3}, Cadence(BillingPeriod.MONTHLY, 3)),
        ({"billing_period": "QUARTERLY"}, {"billing_period_count": 3}, Cadence(BillingPeriod.QUARTERLY)),
        (
            {"billing_period": "MONTHLY", "billing_period_count": 1},
            {"billing_period_count": 3},
            Cadence(BillingPeriod.MONTHLY),
        ),
    ],
)
def test_the_cadence_of_a_fixed_price(own: Json, subscription: Json, cadence: Cadence) -> None:
    _, catalog = built(
        plans=[{"key": "pro", "prices": [{**SEAT, **own}, USE]}], subscription=subscribed(**subscription)
    )
    assert catalog.plans["pro"][0].cadence == cadence
    usage = catalog.plans["pro"][1].cadence
    assert usage == Cadence(
        BillingPeriod(subscription.get("billing_period", "MONTHLY")), subscription["billing_period_count"]
    )


def test_a_usage_price_that_names_the_period_counts_by_ones() -> None:
    _, catalog = built(
        plans=[{"key": "pro", "prices": [{**USE, "billing_period": "MONTHLY"}]}],
        subscription=subscribed(billing_period_count=3),
    )
    assert catalog.plans["pro"][0].cadence == Cadence(BillingPeriod.MONTHLY)


def test_a_price_in_a_unit_of_its_own_is_charged_in_the_currency() -> None:
    """A token is 0.25: 2 of them are 0.50, a tier at 4 with a fee of 8 is 1 with a fee of 2."""
    units = {"price_units": [{"key": "coin", "conversion_rate": "3"}, {"key": "tok", "conversion_rate": "0.25"}]}
    custom = {**SEAT, "price_unit_type": "CUSTOM"}
    del custom["amount"]
    flat = {**custom, "price_unit_config": {"price_unit": "tok", "amount": "2"}}
    steps = [{"up_to": "10", "unit_amount": "4", "flat_amount": "8"}, {"unit_amount": "2"}]
    tiered = {
        **custom, "key": "tiered", "billing_model": "TIERED", "tier_mode": "VOLUME",
        "price_unit_config": {"price_unit": "tok", "price_unit_tiers": steps},
    }  # fmt: skip
    _, catalog = built(plans=[{"key": "pro", "prices": [flat, tiered]}], **units)
    one, other = catalog.plans["pro"]
    assert (one.amount, one.tiers) == (D("0.5"), ())
    assert (other.amount, other.tiers) == (None, (Tier(D(10), D(1), D(2)), Tier(None, D("0.5"))))


@pytest.mark.parametrize(
    ("base", "override", "expected"),
    [
        ({}, {"amount": "4"}, {"amount": D(4)}),
        # what belongs only to the old model is dropped
        (
            {},
            {"billing_model": "TIERED", "tier_mode": "VOLUME", "tiers": TIERS},
            {"billing_model": BillingModel.TIERED, "tier_mode": TierMode.VOLUME, "tiers": SLAB, "amount": None},
        ),
        (
            {"amount": None, "billing_model": "TIERED", "tier_mode": "SLAB", "tiers": TIERS},
            {"billing_model": "FLAT_FEE", "amount": "3"},
            {"billing_model": BillingModel.FLAT_FEE, "tier_mode": None, "tiers": (), "amount": D(3)},
        ),
        # what it does not name stays
        (
            {"amount": None, "billing_model": "TIERED", "tier_mode": "SLAB", "tiers": TIERS},
            {"tier_mode": "VOLUME"},
            {"tier_mode": TierMode.VOLUME, "tiers": SLAB, "amount": None},
        ),
        (
            {"amount": None, "billing_model": "TIERED", "tier_mode": "SLAB", "tiers": TIERS},
            {"tiers": [{"unit_amount": "1"}]},
            {"tier_mode": TierMode.SLAB, "tiers": (Tier(None, D(1)),)},
        ),
        (
            {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 50}},
            {"amount": "4"},
            {"amount": D(4), "transform_quantity": TransformQuantity(50, RoundMode.up)},
        ),
        (
            {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 50}},
            {"transform_quantity": {"divide_by": 20, "round": "down"}},
            {"amount": D(10), "transform_quantity": TransformQuantity(20, RoundMode.down)},
        ),
        (
            {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 50}},
            {"billing_model": "FLAT_FEE"},
            {"billing_model": BillingModel.FLAT_FEE, "transform_quantity": None, "amount": D(10)},
        ),
    ],
)
def test_what_an_override_leaves_of_a_price(base: Json, override: Json, expected: Json) -> None:
    whole = {**SEAT, "min_quantity": "2", **base}
    scenario, catalog = built(
        plans=[{"key": "pro", "prices": [whole, USE]}], subscription=subscribed(price_overrides={"seat": override})
    )
    before = catalog.plans["pro"][0]
    made = overridden(before, scenario.subscription.price_overrides, "subscription.price_overrides")
    assert made == replace(before, **expected)
    assert overridden(catalog.plans["pro"][1], scenario.subscription.price_overrides, "") is catalog.plans["pro"][1]


ADDONS = [
    {
        "key": "help", "prices": [SUPPORT], "entitlements": [{"meter": "calls", "usage_limit": 40}],
        "credit_grants": [{"key": "thanks", "credits": "3", "cadence": "RECURRING", "period": "MONTHLY"}],
    },
    {"key": "more", "prices": [{**SUPPORT, "key": "phone"}], "entitlements": [{"meter": "calls", "usage_limit": 5}]},
]  # fmt: skip


def test_the_plans_lines_come_first_then_each_add_ons() -> None:
    made = agreed(
        addons=ADDONS,
        subscription=subscribed(
            quantities={"seat": "5"}, line_tax_rates={"seat": ["gst"]},
            addons=[{"addon": "help", "quantities": {"support": "2"}}, {"addon": "more", "quantities": {"phone": "4"}}],
        ),
    )  # fmt: skip
    assert [(line.id, line.quantity) for line in made.lines] == [
        ("seat", D(5)), ("use", D(0)), ("support", D(2)), ("phone", D(4)),
    ]  # fmt: skip
    assert [[rate.id for rate in line.tax_rates] for line in made.lines] == [["gst"], [], [], []]


def test_limits_add_up_and_the_subscriptions_own_takes_their_place() -> None:
    plans = [{"key": "pro", "prices": [SEAT, USE], "entitlements": [{"meter": "calls", "usage_limit": 100}]}]
    addons = [{"addon": "help"}, {"addon": "more"}]
    scenario, catalog = built(plans=plans, addons=ADDONS, subscription=subscribed(addons=addons))
    (summed,) = entitlements_of(scenario.subscription, catalog, "pro", ["help", "more"])
    assert summed.usage_limit == 145  # 100 + 40 + 5
    own = {"meter": "calls", "usage_limit": 7, "usage_reset_period": "DAILY"}
    scenario, catalog = built(
        plans=plans, addons=ADDONS, subscription=subscribed(addons=addons, override_entitlements=[own])
    )
    (instead,) = entitlements_of(scenario.subscription, catalog, "pro", ["help", "more"])
    assert (instead.meter_id, instead.usage_limit, instead.usage_reset_period, instead.is_enabled) == (
        "calls", D(7), UsageResetPeriod.DAILY, True,
    )  # fmt: skip
    scenario, catalog = built(
        plans=plans, subscription=subscribed(override_entitlements=[{"meter": "calls", "is_enabled": False}])
    )
    (none,) = entitlements_of(scenario.subscription, catalog, "pro", [])
    assert not none.is_enabled


def test_phases_cut_lines_and_bring_their_own() -> None:
    """A trial of a price runs from the start, that of an item from its phase on; names are counted."""
    coach = {**SEAT, "key": "coach", "trial_period_days": 7, "min_quantity": "2"}
    made = agreed(
        plans=[{"key": "pro", "prices": [{**SEAT, "trial_period_days": 10}, USE]}, {"key": "extra", "prices": [coach]}],
        subscription=subscribed(phases=[
            {"start_date": "2026-01-01T00:00:00Z", "end_date": "2026-03-01T00:00:00Z",
             "line_items": [{"price": "coach"}]},
            {"start_date": "2026-03-01T00:00:00Z", "quantities": {"seat": "3"},
             "price_overrides": {"seat": {"amount": "9"}}, "line_items": [{"price": "coach", "quantity": "5"}]},
        ]),
    )  # fmt: skip
    found = {line.id: line for line in made.lines}
    assert list(found) == ["seat", "seat#2", "use", "coach", "coach#2"]
    assert (found["seat"].end, found["seat#2"].start) == (on("2026-03-01"), on("2026-03-01"))
    assert (found["seat"].quantity, found["seat#2"].quantity) == (D(1), D(3))
    assert (found["seat"].price.amount, found["seat#2"].price.amount) == (D(10), D(9))
    assert (found["coach"].quantity, found["coach#2"].quantity) == (D(2), D(5))
    assert (found["seat"].trial_end, found["coach"].trial_end) == (on("2026-01-11"), on("2026-01-08"))
    assert found["coach#2"].trial_end == on("2026-03-08")


def test_coupons_of_lines_and_of_phases_count_for_what_begins_in_their_span() -> None:
    coupons = [
        {"key": "ten", "type": "percentage", "percentage_off": "10", "cadence": "forever"},
        {"key": "half", "type": "percentage", "percentage_off": "0.5", "cadence": "once"},
    ]
    scenario, catalog = built(coupons=coupons, subscription=subscribed(
        coupons=["ten"], line_coupons={"seat": ["ten", "half"]},
        phases=[
            {"start_date": "2026-01-01T00:00:00Z", "end_date": "2026-02-01T00:00:00Z", "coupons": ["half"]},
            {"start_date": "2026-02-01T00:00:00Z", "line_coupons": {"seat": ["ten"]}},
        ],
    ))  # fmt: skip
    ten, half = catalog.coupons["ten"], catalog.coupons["half"]
    assert build_coupons(scenario, catalog) == (
        CouponAssociation("ten", ten), CouponAssociation("ten:seat", ten, "seat"),
        CouponAssociation("half:seat", half, "seat"),
    )  # fmt: skip
    first, second = on("2026-01-01"), on("2026-02-01")
    found = list(build_phase_coupons(scenario, catalog))
    assert [(each.id, each.line_item_id, each.starts_at, each.ends_at) for each in found] == [
        ("half@phases[0]", None, first, second), ("ten:seat@phases[1]", "seat", second, None),
    ]  # fmt: skip
    assert found[0].covers(first)
    assert not found[0].covers(second)
    assert found[1].covers(second)
    assert not found[1].covers(first)


def test_commitments_keep_what_was_promised() -> None:
    whole = {
        "commitment_amount": "90",
        "commitment_duration": "ANNUAL",
        "overage_factor": "1.5",
        "enable_true_up": True,
    }
    scenario, catalog = built(subscription=subscribed(commitment=whole))
    (one,) = build_commitments(scenario, catalog.meters, catalog.plans["pro"])
    assert (one.type, one.value, one.line_item_id) == (CommitmentType.amount, D(90), None)
    assert (one.duration, one.overage_factor, one.true_up) == (BillingPeriod.ANNUAL, D("1.5"), True)
    line = {
        "commitment_type": "quantity", "commitment_quantity": "40", "commitment_duration": "QUARTERLY",
        "overage_factor": "2", "enable_true_up": True,
    }  # fmt: skip
    scenario, catalog = built(subscription=subscribed(line_commitments={"use": line}))
    (one,) = build_commitments(scenario, catalog.meters, catalog.plans["pro"])
    assert (one.type, one.value, one.line_item_id) == (CommitmentType.quantity, D(40), "use")
    assert (one.duration, one.overage_factor, one.true_up) == (BillingPeriod.QUARTERLY, D(2), True)


def test_a_time_of_day_keeps_of_the_lines_price_what_fits() -> None:
    """A bucket's price has no cap of the line's, and tier mode and packages only where its model has them."""
    meter = {**METER, "aggregation": {"type": "SUM", "field": "n", "bucket_size": "HOUR"}}
    tiered = {
        **USE,
        "amount": None,
        "billing_model": "TIERED",
        "tier_mode": "VOLUME",
        "tiers": TIERS,
        "maximum_amount": "8",
    }

    def of(charged: Json, base: Json) -> Price:
        bucket = {
            "start": {"hour": 22}, "end": {"hour": 6, "minute": 0}, "price": charged, "commitment_type": "amount",
            "commitment_value": "0.5",
        }  # fmt: skip
        promise = {"commitment_type": "amount", "commitment_amount": "1", "is_window_commitment": True,
                   "commitment_time_buckets": [bucket]}  # fmt: skip
        scenario, catalog = built(
            meters=[meter], plans=[{"key": "pro", "prices": [base]}],
            subscription=subscribed(line_commitments={"use": promise}),
        )  # fmt: skip
        (one,) = build_commitments(scenario, catalog.meters, catalog.plans["pro"])
        (found,) = one.time_buckets
        assert (found.start, found.end, found.value) == (22 * 60, 6 * 60, D("0.5"))
        assert found.price is not None
        return found.price

    flat = of({"billing_model": "FLAT_FEE", "amount": "2"}, tiered)
    assert (flat.amount, flat.tiers, flat.tier_mode, flat.maximum_amount) == (D(2), (), None, None)
    steps = of({"billing_model": "TIERED", "tiers": [{"unit_amount": "3"}]}, tiered)
    assert (steps.tier_mode, steps.tiers) == (TierMode.VOLUME, (Tier(None, D(3)),))
    packages = {**USE, "billing_model": "PACKAGE", "transform_quantity": {"divide_by": 10}}
    assert of({"billing_model": "PACKAGE", "amount": "1"}, packages).transform_quantity == TransformQuantity(10)
    own = of(
        {"billing_model": "PACKAGE", "amount": "1", "transform_quantity": {"divide_by": 5, "round": "down"}}, packages
    )
    assert own.transform_quantity == TransformQuantity(5, RoundMode.down)


def test_settings_are_the_tenants() -> None:
    settings = {
        "dunning_days": [2, 9], "dunning_hour": 8, "on_exhausted_invoice": "open",
        "on_exhausted_subscription": "cancel", "late_usage": "credit_note",
        "late_usage_periods": 3, "late_usage_days": 20,
    }  # fmt: skip
    scenario, _ = built(settings=settings)
    assert build_dunning(scenario.settings) == DunningSettings(
        (2, 9), "UTC", 8, ExhaustedInvoice.open, ExhaustedSubscription.cancel
    )
    assert build_late_usage(scenario.settings) == LateUsageSettings(LateUsagePolicy.credit_note, 3, 20)
