"""What exists on the stack before a story begins: catalogue, tax rates, clock, customer, wallets, subscription.

Owns how a scenario's parts are written as the API's bodies, and the names of one run: everything that must be unique in
an environment carries the run's id, so that a story can be played again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

from billing.codec import instant_text, to_json
from billing.meters import Meter
from billing.money import decimal_text
from billing.prices import Price
from billing.scenario import document as doc
from billing.scenario.catalog import Catalog
from billing.scenario.catalog_parts import WalletPart
from billing.taxes import TaxRate, TaxRateType
from models.conversions import aggregation_json
from starter.cli.api_client import Api
from starter.simulate.tokens import token_of

Json = dict[str, Any]
GATEWAY: Final = "sandbox"
"""The provider that answers as the story's `payments` say."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Ids on the stack. `prices` tells a price's id by the document's key; the clock stands at `now`."""

    run: str
    clock_id: str
    external_id: str
    customer_id: str
    plan_id: str
    prices: Mapping[str, str]
    now: datetime


def set_up(api: Api, scenario: doc.Scenario, catalog: Catalog, now: datetime) -> Setting:
    """Makes catalogue, clock and customer; nothing has happened yet. `now` is when the story begins."""
    run = uuid4().hex[:12]
    meters = {meter.id: _post(api, "meters", _meter(meter))["id"] for meter in _used_meters(scenario, catalog)}
    plan = _post(api, "plans", {"name": scenario.subscription.plan})
    prices = {
        price.id: _post(api, "prices", _price(price, plan["id"], meters))["id"]
        for price in catalog.plans[scenario.subscription.plan]
    }
    for key in scenario.subscription.tax_rates:
        _post(api, "taxes/rates", _tax_rate(catalog.tax_rates[key], scenario.currency, run))
    clock = _post(api, "test_clocks", {"name": f"{scenario.name or 'story'} {run}"[:200], "frozen_time": text(now)})
    external_id = f"{scenario.customer.external_id}-{run}"
    customer = _post(api, "customers", _customer(scenario, external_id, clock["id"], run))
    return Setting(run, clock["id"], external_id, customer["id"], plan["id"], prices, now)


def subscribe(api: Api, scenario: doc.Scenario, setting: Setting) -> str:
    """Makes the subscription, when its customer has everything else. Returns its id."""
    body = _subscription(scenario, setting.customer_id, setting.plan_id, setting.prices)
    return str(_post(api, "subscriptions", body)["id"])


def make_wallet(api: Api, scenario: doc.Scenario, part: WalletPart, customer_id: str) -> str:
    """Makes a wallet of the document with its initial credits. Returns its id."""
    expiry = part.initial_credits_expiry_date_utc
    body = {
        "customer_id": customer_id,
        "currency": scenario.currency,
        "wallet_type": part.wallet_type,
        "conversion_rate": decimal_text(part.conversion_rate),
        "topup_conversion_rate": _maybe(part.topup_conversion_rate),
        "initial_credits_to_load": decimal_text(part.initial_credits) if part.initial_credits else None,
        "initial_credits_expiry_date_utc": None if expiry is None else text(expiry),
        "alert_settings": None if part.alert_settings is None else to_json(part.alert_settings),
    }
    wallet_id = str(_post(api, "wallets", body)["id"])
    if part.allowed_price_types:
        kinds = set(part.allowed_price_types)
        allowed = "ALL" if len(kinds) > 1 else kinds.pop()
        api.put(f"wallets/{wallet_id}", {"config": {"allowed_price_types": [allowed]}})
    return wallet_id


def text(instant: datetime) -> str:
    """RFC 3339 in UTC."""
    return instant_text(instant)


def _maybe(value: Decimal | None) -> str | None:
    return None if value is None else decimal_text(value)


def _post(api: Api, path: str, body: Json) -> Json:
    made: Json = api.post(path, body, idempotency_key=str(uuid4()))
    return made


def _used_meters(scenario: doc.Scenario, catalog: Catalog) -> list[Meter]:
    used = {price.meter_id for price in catalog.plans[scenario.subscription.plan]}
    return [meter for key, meter in catalog.meters.items() if key in used]


def _meter(meter: Meter) -> Json:
    return {
        "name": meter.name,
        "event_name": meter.event_name,
        "aggregation": aggregation_json(meter),
        "filters": [{"key": each.key, "values": list(each.values)} for each in meter.filters],
        "reset_usage": meter.reset_usage.value,
    }


def _price(price: Price, plan_id: str, meters: Mapping[str, str]) -> Json:
    transform = price.transform_quantity
    return {
        "type": price.type.value,
        "entity_type": "PLAN",
        "entity_id": plan_id,
        "currency": price.currency,
        "billing_model": price.billing_model.value,
        "billing_period": price.cadence.period.value,
        "billing_period_count": price.cadence.count,
        "invoice_cadence": price.invoice_cadence.value,
        "amount": _maybe(price.amount),
        "tier_mode": None if price.tier_mode is None else price.tier_mode.value,
        "tiers": to_json(price.tiers) or None,
        "transform_quantity": None if transform is None else to_json(transform),
        "meter_id": None if price.meter_id is None else meters[price.meter_id],
        "min_quantity": _maybe(price.min_quantity),
        "display_name": price.display_name,
    }


def _customer(scenario: doc.Scenario, external_id: str, clock_id: str, run: str) -> Json:
    """Its tax rates in the order of the document: they are there before the subscription opens its first invoice."""
    return {
        "external_id": external_id,
        "name": scenario.customer.name or scenario.customer.external_id,
        "timezone": scenario.customer.timezone,
        "test_clock_id": clock_id,
        "tax_rate_overrides": [
            {"tax_rate_code": f"{key}-{run}", "currency": scenario.currency, "priority": place}
            for place, key in enumerate(scenario.subscription.tax_rates)
        ],
    }


def _subscription(scenario: doc.Scenario, customer_id: str, plan_id: str, prices: Mapping[str, str]) -> Json:
    part = scenario.subscription
    return {
        "customer_id": customer_id,
        "plan_id": plan_id,
        "currency": scenario.currency,
        "billing_period": part.billing_period.value,
        "billing_period_count": part.billing_period_count,
        "billing_cycle": part.billing_cycle.value,
        "billing_anchor": None if part.billing_anchor is None else text(part.billing_anchor),
        "start_date": text(part.start_date),
        "end_date": None if part.end_date is None else text(part.end_date),
        "override_line_items": [
            {"price_id": prices[key], "quantity": decimal_text(quantity)} for key, quantity in part.quantities.items()
        ],
        "proration_behavior": part.proration_behavior.value,
        "auto_invoice_threshold": _maybe(part.auto_invoice_threshold),
        "gateway_payment_method_id": token_of(scenario.payments),
        "payment_gateway": GATEWAY,
    }


def _tax_rate(rate: TaxRate, currency: str, run: str) -> Json:
    kind, value = rate.type, decimal_text(rate.value)
    return {
        "code": f"{rate.id}-{run}",
        "name": rate.name,
        "tax_rate_type": kind.value,
        "percentage_value": value if kind is TaxRateType.percentage else None,
        "fixed_value": value if kind is TaxRateType.fixed else None,
        "currency": currency if kind is TaxRateType.fixed else None,
        "inclusive": rate.inclusive,
    }
