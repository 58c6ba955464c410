"""The values that billing works on, made from a scenario's parts; each rule that one breaks is told with its path.

Owns the defaults of a price that depend on the subscription: its period, its cadence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from billing.coupons import Coupon, CouponCadence, CouponType
from billing.entitlements import Entitlement, UsageResetPeriod
from billing.errors import Invalid
from billing.meters import AggregationType, Filter, Meter, ResetUsage, check_filters
from billing.periods import BillingPeriod, Cadence
from billing.price_units import PriceUnit, in_currency, tiers_in_currency
from billing.prices import InvoiceCadence, Price, PriceType, Tier, TransformQuantity
from billing.scenario import document as doc
from billing.scenario.catalog_parts import (
    AddonPart,
    CouponPart,
    EntitlementPart,
    MeterPart,
    PlanPart,
    PricePart,
    PriceUnitDefinition,
    TaxRatePart,
    TierPart,
    TransformPart,
)
from billing.scenario.decoding import at_path
from billing.taxes import TaxRate, TaxRateType
from billing.terms import check_recurs
from billing.windows import WindowSize, check_window_count


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything of the document that has a key, by its key; a value's id is its key."""

    meters: Mapping[str, Meter]
    plans: Mapping[str, tuple[Price, ...]]
    addons: Mapping[str, tuple[Price, ...]]
    tax_rates: Mapping[str, TaxRate]
    coupons: Mapping[str, Coupon]
    entitlements: Mapping[str, tuple[Entitlement, ...]]
    addon_entitlements: Mapping[str, tuple[Entitlement, ...]]


def build_catalog(scenario: doc.Scenario) -> Catalog:
    """Everything with a key. Raises Invalid with the path of the part that breaks a rule."""
    subscription_cadence(scenario)
    for index, unit in enumerate(scenario.price_units):
        _check_price_unit(scenario, unit, f"price_units[{index}]")
    meters = {part.key: _meter(part, f"meters[{index}]") for index, part in enumerate(scenario.meters)}
    rates = {part.key: _tax_rate(part, f"tax_rates[{index}]") for index, part in enumerate(scenario.tax_rates)}
    coupons = {part.key: _coupon(part, f"coupons[{index}]") for index, part in enumerate(scenario.coupons)}
    return Catalog(
        meters=meters,
        plans={plan.key: prices_of_plan(scenario, plan.key) for plan in scenario.plans},
        addons={addon.key: _prices(scenario, addon, f"addons[{n}]") for n, addon in enumerate(scenario.addons)},
        tax_rates=rates,
        coupons=coupons,
        entitlements={
            plan.key: build_entitlements(plan.entitlements, f"plans[{index}].entitlements")
            for index, plan in enumerate(scenario.plans)
        },
        addon_entitlements={
            addon.key: build_entitlements(addon.entitlements, f"addons[{index}].entitlements")
            for index, addon in enumerate(scenario.addons)
        },
    )


def prices_of_plan(scenario: doc.Scenario, key: str) -> tuple[Price, ...]:
    """The prices of a plan, as the subscription's billing period makes them. Raises Invalid."""
    index, plan = next((index, plan) for index, plan in enumerate(scenario.plans) if plan.key == key)
    return _prices(scenario, plan, f"plans[{index}]")


def _prices(scenario: doc.Scenario, owner: PlanPart | AddonPart, path: str) -> tuple[Price, ...]:
    parts = enumerate(owner.prices)
    return tuple(build_price(scenario, part, f"{path}.prices[{position}]") for position, part in parts)


def build_price(scenario: doc.Scenario, part: PricePart, path: str) -> Price:
    """A price, with the subscription's period where it names none. Raises Invalid."""
    try:
        cadence = _cadence(scenario.subscription, part)
        _check_buckets(scenario, part, cadence)
        amount, tiers = _charged(scenario, part)
        return Price(
            id=part.key,
            display_name=part.display_name or part.key,
            type=part.type,
            billing_model=part.billing_model,
            currency=scenario.currency,
            cadence=cadence,
            invoice_cadence=_invoice_cadence(part, cadence),
            amount=amount,
            tier_mode=part.tier_mode,
            tiers=tiers,
            transform_quantity=transform_of(part.transform_quantity),
            meter_id=part.meter,
            min_quantity=part.min_quantity,
            maximum_amount=part.maximum_amount,
            trial_period_days=part.trial_period_days or 0,
        )
    except Invalid as error:
        raise at_path(_renamed(error, {"meter_id": "meter"}), path) from error


def _check_buckets(scenario: doc.Scenario, part: PricePart, cadence: Cadence) -> None:
    sizes = (meter.aggregation.bucket_size for meter in scenario.meters if meter.key == part.meter)
    for size in sizes:
        if size is not None:
            check_window_count(WindowSize(size), cadence)


def build_entitlements(parts: tuple[EntitlementPart, ...], path: str) -> tuple[Entitlement, ...]:
    """What a plan grants; a feature is named by its meter. Raises Invalid."""
    found = []
    for index, part in enumerate(parts):
        try:
            found.append(
                Entitlement(
                    id=part.key or f"{path}[{index}]",
                    feature_id=part.meter,
                    meter_id=part.meter,
                    usage_limit=None if part.usage_limit is None else Decimal(part.usage_limit),
                    usage_reset_period=UsageResetPeriod(part.usage_reset_period),
                    is_soft_limit=part.is_soft_limit,
                    is_enabled=part.is_enabled,
                )
            )
        except Invalid as error:
            raise at_path(error, f"{path}[{index}]") from error
    return tuple(found)


def subscription_cadence(scenario: doc.Scenario) -> Cadence:
    part = scenario.subscription
    try:
        cadence = Cadence(part.billing_period, part.billing_period_count)
        check_recurs(cadence)
    except Invalid as error:
        raise at_path(error, "subscription") from error
    return cadence


def _meter(part: MeterPart, path: str) -> Meter:
    aggregation = part.aggregation
    try:
        filters = tuple(Filter(each.key, each.values) for each in part.filters)
        check_filters(filters)
        return Meter(
            id=part.key,
            name=part.name or part.key,
            event_name=part.event_name,
            aggregation=AggregationType(aggregation.type),
            field=aggregation.field,
            filters=filters,
            reset_usage=ResetUsage(part.reset_usage),
            multiplier=aggregation.multiplier,
            bucket_size=None if aggregation.bucket_size is None else WindowSize(aggregation.bucket_size),
            group_by=aggregation.group_by,
            expression=aggregation.expression,
        )
    except Invalid as error:
        raise at_path(error, path) from error


def _coupon(part: CouponPart, path: str) -> Coupon:
    try:
        return Coupon(
            id=part.key,
            name=part.name or part.key,
            type=CouponType(part.type),
            percentage_off=part.percentage_off,
            amount_off=part.amount_off,
            currency=part.currency,
            cadence=CouponCadence(part.cadence),
            duration_in_periods=part.duration_in_periods,
            redeem_after=part.redeem_after,
            redeem_before=part.redeem_before,
            max_redemptions=part.max_redemptions,
        )
    except Invalid as error:
        raise at_path(error, path) from error


def _tax_rate(part: TaxRatePart, path: str) -> TaxRate:
    kind = TaxRateType(part.type)
    given = {TaxRateType.percentage: part.percentage_value, TaxRateType.fixed: part.fixed_value}
    value, other = given.pop(kind), next(iter(value for each, value in given.items() if each is not kind))
    if value is None or other is not None:
        where = f"{path}.{part.type}_value"
        raise Invalid(f"{where} is required for a tax rate of type {part.type}, and no other value", field=where)
    try:
        return TaxRate(part.key, part.key, part.name or part.key, kind, value, part.inclusive)
    except Invalid as error:
        raise at_path(error, path) from error


def _cadence(subscription: doc.SubscriptionPart, price: PricePart) -> Cadence:
    """Absent, the subscription's; a fixed price of the same unit has its count as well."""
    period = price.billing_period or subscription.billing_period
    inherits = price.billing_period is None or (price.type is PriceType.FIXED and period is subscription.billing_period)
    count = price.billing_period_count or (subscription.billing_period_count if inherits else 1)
    return Cadence(period, count)


def _invoice_cadence(part: PricePart, cadence: Cadence) -> InvoiceCadence:
    """Usage can only be billed in arrear and one-time charges only in advance, so there it may be left out."""
    if part.invoice_cadence is not None:
        return part.invoice_cadence
    if part.type is PriceType.USAGE:
        return InvoiceCadence.ARREAR
    if cadence.period is BillingPeriod.ONETIME:
        return InvoiceCadence.ADVANCE
    raise Invalid("invoice_cadence (ADVANCE or ARREAR) is required for FIXED prices", field="invoice_cadence")


def _charged(scenario: doc.Scenario, part: PricePart) -> tuple[Decimal | None, tuple[Tier, ...]]:
    """Amount and tiers in the scenario's currency, whatever unit the price is written in."""
    config = part.price_unit_config
    if part.price_unit_type == "FIAT":
        if config is not None:
            raise Invalid("price_unit_config must be absent for price_unit_type FIAT", field="price_unit_config")
        return part.amount, tiers_of(part.tiers)
    if config is None or part.amount is not None or part.tiers:
        raise Invalid(
            "price_unit_config, with its amount or tiers, stands for amount and tiers of a CUSTOM price",
            field="price_unit_config",
        )
    unit = _price_unit(scenario, config.price_unit)
    amount = None if config.amount is None else in_currency(config.amount, unit)
    return amount, tiers_in_currency(tiers_of(config.price_unit_tiers), unit)


def _price_unit(scenario: doc.Scenario, key: str) -> PriceUnit:
    part = next((each for each in scenario.price_units if each.key == key), None)
    if part is None:
        known = ", ".join(each.key for each in scenario.price_units) or "none"
        field = "price_unit_config.price_unit"
        raise Invalid(f"{field} names no price unit of the document: {key!r}; known: {known}", field=field)
    return PriceUnit(key, scenario.currency, part.conversion_rate)


def _check_price_unit(scenario: doc.Scenario, part: PriceUnitDefinition, path: str) -> None:
    if part.base_currency not in (None, scenario.currency):
        where = f"{path}.base_currency"
        raise Invalid(f"{where} must be the scenario's, {scenario.currency}; got {part.base_currency}", field=where)
    try:
        PriceUnit(part.key, scenario.currency, part.conversion_rate)
    except Invalid as error:
        raise at_path(error, path) from error


def tiers_of(parts: tuple[TierPart, ...]) -> tuple[Tier, ...]:
    return tuple(Tier(part.up_to, part.unit_amount, part.flat_amount) for part in parts)


def transform_of(part: TransformPart | None) -> TransformQuantity | None:
    return None if part is None else TransformQuantity(part.divide_by, part.round)


def _renamed(error: Invalid, names: Mapping[str, str]) -> Invalid:
    field = names.get(error.field or "", error.field)
    message = error.message.replace(error.field or "", field or "", 1) if field != error.field else error.message
    return Invalid(message, field, error.details, error.code)
