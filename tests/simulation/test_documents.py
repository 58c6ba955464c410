"""Documents that make no sense: refused whole, with the path of the first thing that is wrong."""

import copy
from decimal import Decimal
from typing import Any

import pytest

from billing.errors import Invalid
from billing.scenario.decoding import read_json
from billing.scenario.document import Scenario
from billing.scenario.parse import parse_scenario
from billing.simulation.simulate import simulate
from tests.simulation.documents import BASE, SEAT, document, with_value

WRONG: list[tuple[str, Any, str, str]] = [
    # changed path, its value, path of the error, part of the message
    ("colour", "red", "colour", "not a field that is known"),
    ("plans[0].prices[1].tier", [], "plans[0].prices[1].tier", "not a field that is known"),
    ("plans[0].prices[0].amount", 0.5, "plans[0].prices[0].amount", "decimal number written as text"),
    ("plans[0].prices[0].amount", "-1", "plans[0].prices[0].amount", "0 or more"),
    ("plans[0].prices[0].amount", "ten", "plans[0].prices[0].amount", "decimal number"),
    ("plans[0].prices[0].invoice_cadence", None, "plans[0].prices[0].invoice_cadence", "is required for FIXED"),
    ("plans[0].prices[0].billing_model", "CUBIC", "plans[0].prices[0].billing_model", "one of FLAT_FEE"),
    ("plans[0].prices[1].meter", "sms", "plans[0].prices[1].meter", "names no meter"),
    ("plans[0].prices[1].meter", None, "plans[0].prices[1].meter", "required for USAGE"),
    ("plans[0].prices[1].key", "seat", "plans[0].prices[1].key", "is the key of plans[0].prices[0] already"),
    ("plans[0].prices[1].invoice_cadence", "ADVANCE", "plans[0].prices[1].invoice_cadence", "must be ARREAR"),
    ("plans", [], "plans", "at least one plan"),
    ("currency", "USD", "currency", "lower-case"),
    ("currency", "xyz", "currency", "not known"),
    ("customer.timezone", "Mars/Olympus", "customer.timezone", "not an IANA time zone"),
    ("customer", {}, "customer.external_id", "is required"),
    ("meters[0].aggregation.type", "MEDIAN", "meters[0].aggregation.type", "one of COUNT"),
    ("meters[0].aggregation", {"type": "SUM"}, "meters[0].aggregation.field", "required for SUM"),
    ("subscription.plan", "gold", "subscription.plan", "names no plan"),
    ("subscription.start_date", "2026-01-01", "subscription.start_date", "must be an instant"),
    ("subscription.start_date", "2026-01-01T00:00:00", "subscription.start_date", "must be an instant"),
    ("subscription.end_date", "2025-12-01T00:00:00Z", "subscription.end_date", "must be after start_date"),
    ("subscription.billing_period", "ONETIME", "subscription.billing_period", "of a subscription must recur"),
    ("subscription.billing_period_count", 0, "subscription.billing_period_count", "between 1 and 1000"),
    ("subscription.quantities.seat", "-1", "subscription.quantities.seat", "0 or more"),
    ("subscription.quantities.use", "1", "subscription.quantities.use", "must be absent"),
    ("subscription.quantities.desk", "1", "subscription.quantities.desk", "names no price"),
    ("subscription.coupons[0]", "half", "subscription.coupons[0]", "names no coupon"),
    ("subscription.coupons", ["ten", "ten"], "subscription.coupons[1]", "a second time"),
    ("subscription.line_coupons.seat[0]", "half", "subscription.line_coupons.seat[0]", "names no coupon"),
    ("subscription.tax_rates[0]", "vat", "subscription.tax_rates[0]", "names no tax rate"),
    ("plans[0].prices[0].trial_period_days", -1, "plans[0].prices[0].trial_period_days", "from 0 to 3650"),
    ("plans[0].prices[0].trial_period_days", 3651, "plans[0].prices[0].trial_period_days", "from 0 to 3650"),
    ("plans[0].prices[1].trial_period_days", 3, "plans[0].prices[1].trial_period_days", "only recurring FIXED"),
    ("meters[0].aggregation", {"type": "SUM", "expression": "sqrt(n)"}, "meters[0].aggregation.expression",
     "must not call sqrt: it has no exact result"),
    ("meters[0].aggregation", {"type": "SUM", "field": "n", "expression": "n"}, "meters[0].aggregation.expression",
     "must be absent beside aggregation.field"),
    ("meters[0].aggregation", {"type": "MIN", "expression": "n"}, "meters[0].aggregation.expression",
     "is for SUM, AVG, MAX, LATEST only"),
    ("meters[0].aggregation", {"type": "SUM", "field": "n", "multiplier": "2"}, "meters[0].aggregation.multiplier",
     "absent for others"),
    ("subscription.tax_rates", ["gst", "gst"], "subscription.tax_rates[1]", "a second time"),
    ("subscription.line_tax_rates", {"seat": ["gst", "gst"]}, "subscription.line_tax_rates.seat[1]", "a second time"),
    ("subscription.line_tax_rates", {"seats": ["gst"]}, "subscription.line_tax_rates.seats", "names no price"),
    ("subscription.price_overrides.seat.amount", "-2", "subscription.price_overrides.seat.amount", "0 or more"),
    ("subscription.commitment.commitment_amount", "0", "subscription.commitment.commitment_amount", "above 0"),
    ("subscription.commitment", {"commitment_amount": "1", "overage_factor": "0.5"},
     "subscription.commitment.overage_factor", "1 or more"),
    ("subscription.line_commitments.use", {"commitment_type": "amount"},
     "subscription.line_commitments.use.commitment_amount", "is required"),
    ("subscription.line_commitments.seat", {"commitment_type": "amount", "commitment_amount": "5"},
     "subscription.line_commitments.seat", "no usage to commit to"),
    ("subscription.line_commitments.use",
     {"commitment_type": "amount", "commitment_amount": "5", "is_window_commitment": True},
     "subscription.line_commitments.use.is_window_commitment", "needs a meter with a bucket_size"),
    ("subscription.override_entitlements[0]", {"meter": "sms"},
     "subscription.override_entitlements[0].meter", "names no meter"),
    ("plans[0].entitlements[0]", {"meter": "calls", "usage_limit": -1},
     "plans[0].entitlements[0].usage_limit", "0 or more"),
    ("price_units[0]", {"key": "tok", "conversion_rate": "0"}, "price_units[0].conversion_rate", "above 0"),
    ("price_units[0]", {"key": "tok", "conversion_rate": "1", "base_currency": "eur"},
     "price_units[0].base_currency", "must be the scenario's"),
    ("plans[0].prices[0].price_unit_type", "CUSTOM", "plans[0].prices[0].price_unit_config", "stands for amount"),
    ("plans[0].prices[0].price_unit_config", {"price_unit": "tok"}, "plans[0].prices[0].price_unit_config",
     "must be absent for price_unit_type FIAT"),
    ("coupons[0].percentage_off", "101", "coupons[0].percentage_off", "at most 100"),
    ("tax_rates[0].percentage_value", "101", "tax_rates[0].percentage_value", "at most 100"),
    ("tax_rates[0].type", "fixed", "tax_rates[0].fixed_value", "is required"),
    ("settings.dunning_days", [3, 1], "settings.dunning_days", "rising"),
    ("settings.late_usage", "perhaps", "settings.late_usage", "one of next_invoice"),
    ("usage[0]", {"meter": "sms", "at": "2026-01-02T00:00:00Z", "quantity": "1"}, "usage[0].meter", "names no meter"),
    ("actions[0]", {"at": "2026-01-02T00:00:00Z", "do": "dance"}, "actions[0].do", "one of change_plan"),
    ("actions[0]", {"do": "pause"}, "actions[0].at", "is required"),
    ("actions[0]", {"at": "2026-01-02T00:00:00Z", "do": "cancel", "type": "scheduled"}, "actions[0].cancel_at",
     "required for type scheduled"),
    ("actions[0]", {"at": "2026-01-02T00:00:00Z", "do": "apply_coupon", "coupon": "x"}, "actions[0].coupon",
     "names no coupon"),
    ("payments[0]", "maybe", "payments[0].outcome", "one of succeeded"),
    ("payments[0]", {"outcome": "declined"}, "payments[0].kind", "required for the outcome declined"),
    ("until", "2025-01-01T00:00:00Z", "until", "must not be before"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "value", "path", "message"), WRONG)
def test_the_path_and_the_reason_are_told(changed: str, value: Any, path: str, message: str) -> None:
    with pytest.raises(Invalid) as refusal:
        simulate(with_value(changed, value))
    assert refusal.value.field == path
    assert message in refusal.value.message
    assert refusal.value.code in ("validation_error", "unknown_zone")


def test_tiers_are_told_by_their_place() -> None:
    tiers = [{"up_to": 10, "unit_amount": "1"}, {"up_to": 10, "unit_amount": "2"}, {"up_to": None, "unit_amount": "3"}]
    price = {**SEAT, "billing_model": "TIERED", "tier_mode": "SLAB", "tiers": tiers, "amount": None}
    with pytest.raises(Invalid) as refusal:
        simulate(document(plans=[{"key": "pro", "prices": [price]}], meters=[]))
    assert refusal.value.field == "plans[0].prices[0].tiers[1].up_to"
    assert refusal.value.message.startswith("plans[0].prices[0].tiers[1].up_to must be greater than 10")


@pytest.mark.parametrize("part", ["customer", "plans", "subscription", "until"])
def test_what_must_be_there(part: str) -> None:
    rest = {name: value for name, value in BASE.items() if name != part}
    with pytest.raises(Invalid, match=f"{part} is required"):
        simulate(rest)


def test_defaults_are_those_of_the_page() -> None:
    scenario: Scenario = parse_scenario(copy.deepcopy(BASE))
    assert (scenario.currency, scenario.customer.timezone) == ("usd", "UTC")
    part = scenario.subscription
    assert (part.billing_period, part.billing_period_count, part.billing_cycle) == ("MONTHLY", 1, "anniversary")
    assert part.proration_behavior == "create_prorations"
    assert scenario.settings.finalization_delay_seconds == 7200
    assert scenario.settings.dunning_days == (1, 3, 5, 7, 14)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "", "not JSON"),
        ("[]", "", "must be a JSON object"),
        ('{"name": NaN}', "", "not a number that JSON knows"),
        ('{"name": "a", "name": "b"}', "name", "given twice"),
        ("[" * 100_000, "", "nested too deeply"),
    ],
)
def test_text_that_is_no_document(text: str, path: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as refusal:
        simulate(read_json(text))
    assert refusal.value.field == path


def test_numbers_keep_their_digits() -> None:
    assert read_json('{"n": 1.10000000000000000001}') == {"n": Decimal("1.10000000000000000001")}
