"""The official SDK, resource by resource: customers, features, plans, prices, taxes."""

from typing import Any

import pytest
from flexprice.models import errors

Sdk = Any  # every field of the SDK's answers may be absent by its types; the tests say which are there


def make_plan_with_prices(sdk: Sdk) -> tuple[Any, Any, Any]:
    """A plan with a seat price and a graduated usage price."""
    feature = sdk.features.create_feature(
        name="Call seconds",
        type_="metered",
        meter={
            "name": "call_seconds",
            "event_name": "voice_call",
            "aggregation": {"type": "SUM", "field": "duration_seconds"},
            "filters": [{"key": "model", "values": ["sonic-large", "sonic-ultra"]}],
            "reset_usage": "BILLING_PERIOD",
        },
    )
    plan = sdk.plans.create_plan(name="Voice Pro", lookup_key="voice_pro", metadata={"tier": "pro"})
    seat = sdk.prices.create_price(
        type_="FIXED",
        entity_type="PLAN",
        entity_id=plan.id,
        currency="USD",
        billing_model="FLAT_FEE",
        billing_period="MONTHLY",
        invoice_cadence="ADVANCE",
        price_unit_type="FIAT",
        amount="12.50",
        lookup_key="seat",
        display_name="Seat",
    )
    talk = sdk.prices.create_price(
        type_="USAGE",
        entity_type="PLAN",
        entity_id=plan.id,
        currency="usd",
        billing_model="TIERED",
        tier_mode="SLAB",
        billing_period="MONTHLY",
        invoice_cadence="ARREAR",
        price_unit_type="FIAT",
        meter_id=feature.meter_id,
        tiers=[
            {"up_to": 36000, "unit_amount": "0.0015"},
            {"up_to": 90000, "unit_amount": "0.0012", "flat_amount": "5"},
            {"unit_amount": "0.000875"},
        ],
        lookup_key="talk",
    )
    return plan, seat, talk


def test_customers(sdk: Sdk) -> None:
    rate = sdk.tax_rates.create_tax_rate(code="gst18", name="GST 18 %", percentage_value="18")
    made = sdk.customers.create_customer(
        external_id="kaveri-health",
        name="Kaveri Health कावेरी",
        email="billing@kaveri.example",
        timezone="Asia/Kolkata",
        address_country="IN",
        metadata={"segment": "health"},
        tax_rate_overrides=[{"tax_rate_code": "gst18", "currency": "usd", "auto_apply": True}],
    )
    assert made.id.startswith("cust_")
    assert (made.external_id, made.timezone, made.status) == ("kaveri-health", "Asia/Kolkata", "published")
    assert sdk.customers.get_customer(id=made.id) == made
    assert sdk.customers.get_customer_by_external_id(external_id="kaveri-health") == made
    links = sdk.tax_associations.list_tax_associations(entity_type="customer", entity_id=made.id)
    assert [link.tax_rate.id for link in links.items] == [rate.id]

    changed = sdk.customers.update_customer(external_customer_id="kaveri-health", name="Kaveri", metadata={"a": "b"})
    assert (changed.id, changed.name, changed.metadata) == (made.id, "Kaveri", {"a": "b"})
    assert changed.email == "billing@kaveri.example"

    found = sdk.customers.query_customer(external_ids=["kaveri-health", "nobody"])
    assert [customer.id for customer in found.items] == [made.id]
    assert (found.pagination.total, found.pagination.limit, found.pagination.offset) == (1, 50, 0)

    sdk.customers.delete_customer(id=made.id)
    with pytest.raises(errors.FlexpriceDefaultError) as gone:
        sdk.customers.get_customer(id=made.id)
    assert gone.value.status_code == 404
    sdk.customers.create_customer(external_id="kaveri-health", name="Again")  # the external id is free again


def test_features_plans_and_prices(sdk: Sdk) -> None:
    plan, seat, talk = make_plan_with_prices(sdk)
    assert (seat.amount, seat.display_amount, seat.currency) == ("12.5", "$12.50", "usd")
    assert (talk.amount, talk.tier_mode, talk.display_amount) == ("0", "SLAB", "$0.00")
    assert [(tier.up_to, tier.unit_amount, tier.flat_amount) for tier in talk.tiers] == [
        (36000, "0.0015", "0"),
        (90000, "0.0012", "5"),
        (None, "0.000875", "0"),
    ]
    assert talk.meter.aggregation.field == "duration_seconds"
    assert talk.meter.filters[0].values == ["sonic-large", "sonic-ultra"]
    read = sdk.plans.get_plan(id=plan.id)
    assert [price.id for price in read.prices] == [seat.id, talk.id]
    assert sdk.prices.get_price_by_lookup_key(lookup_key="seat").id == seat.id
    assert {price.id for price in sdk.prices.query_price(plan_ids=[plan.id]).items} == {seat.id, talk.id}
    found = sdk.plans.query_plan(lookup_key="voice_pro", expand="prices")
    assert [price.id for price in found.items[0].prices] == [seat.id, talk.id]
    assert sdk.plans.update_plan(id=plan.id, description="For teams").lookup_key == "voice_pro"


def test_features(sdk: Sdk) -> None:
    make_plan_with_prices(sdk)
    feature = sdk.features.query_feature(lookup_key="call_seconds", expand="meters").items[0]
    assert feature.meter.event_name == "voice_call"
    changed = sdk.features.update_feature(id=feature.id, filters=[{"key": "model", "values": ["sonic-small"]}])
    assert changed.meter.filters[0].values == ["sonic-small"]
    assert sdk.features.delete_feature(id=feature.id).message
    assert sdk.features.query_feature(lookup_key="call_seconds").items == []


def test_a_changed_price_is_a_new_price(sdk: Sdk) -> None:
    plan, seat, talk = make_plan_with_prices(sdk)
    new = sdk.prices.update_price(id=seat.id, amount="15")
    assert new.id != seat.id
    assert (new.amount, new.parent_price_id, new.lookup_key) == ("15", seat.id, "seat")
    assert sdk.prices.get_price(id=seat.id).end_date == new.start_date
    assert [price.id for price in sdk.plans.get_plan(id=plan.id).prices] == [new.id, talk.id]
    assert sdk.prices.update_price(id=new.id, display_name="Desk").id == new.id
    assert sdk.prices.delete_price(id=new.id).message
    assert [price.id for price in sdk.plans.get_plan(id=plan.id).prices] == [talk.id]


def test_bulk_prices(sdk: Sdk) -> None:
    plan = sdk.plans.create_plan(name="Packages")
    common = {
        "type": "FIXED",
        "entity_type": "PLAN",
        "entity_id": plan.id,
        "currency": "jpy",
        "billing_period": "MONTHLY",
        "invoice_cadence": "ARREAR",
        "price_unit_type": "FIAT",
    }
    made = sdk.prices.create_prices_bulk(
        items=[
            {**common, "billing_model": "FLAT_FEE", "amount": "500"},
            {
                **common,
                "billing_model": "PACKAGE",
                "amount": "475",
                "transform_quantity": {"divide_by": 50, "round": "up"},
            },
        ]
    )
    assert [price.billing_model for price in made.items] == ["FLAT_FEE", "PACKAGE"]
    assert made.items[1].transform_quantity.divide_by == 50
    assert made.items[0].display_amount == "¥500"


def test_tax_rates_and_associations(sdk: Sdk) -> None:
    rate = sdk.tax_rates.create_tax_rate(code="vat20", name="VAT", percentage_value="20", metadata={"country": "FR"})
    assert (rate.percentage_value, rate.tax_rate_status, rate.scope) == ("20", "ACTIVE", "EXTERNAL")
    assert sdk.tax_rates.get_tax_rate(id=rate.id) == rate
    assert [found.id for found in sdk.tax_rates.get_tax_rates(taxrate_codes=["vat20"]).items] == [rate.id]
    assert sdk.tax_rates.update_tax_rate(id=rate.id, tax_rate_status="INACTIVE").tax_rate_status == "INACTIVE"
    assert sdk.tax_rates.update_tax_rate(id=rate.id, tax_rate_status="ACTIVE", name="TVA").name == "TVA"
    sdk.customers.create_customer(external_id="seine", name="Seine")
    link = sdk.tax_associations.create_tax_association(
        tax_rate_code="vat20", external_customer_id="seine", entity_type="customer", currency="eur", priority=3
    )
    assert (link.tax_rate.code, link.priority, link.currency) == ("vat20", 3, "eur")
    assert sdk.tax_associations.get_tax_association(id=link.id).tax_behavior == "exclusive"
    assert sdk.tax_associations.update_tax_association(id=link.id, priority=1).priority == 1
    sdk.tax_associations.delete_tax_association(id=link.id)
    assert sdk.tax_associations.list_tax_associations(external_customer_id="seine").items == []
    sdk.tax_rates.delete_tax_rate(id=rate.id)
    assert sdk.tax_rates.get_tax_rates().items == []
