"""The values that billing works on, made from a scenario's parts; each rule that one breaks is told with its path.

Owns the defaults that depend on the subscription: a price's period, its cadence, a line's quantity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from billing.coupons import Coupon, CouponAssociation, CouponCadence, CouponType, check_redeemable
from billing.dunning import DunningSettings
from billing.errors import BillingError, Invalid
from billing.meters import AggregationType, Filter, Meter, ResetUsage
from billing.periods import BillingPeriod, Cadence
from billing.prices import BillingModel, InvoiceCadence, Price, PriceType, Tier, TransformQuantity
from billing.scenario import document as doc
from billing.scenario.catalog_parts import (
    CouponPart,
    MeterPart,
    PriceOverridePart,
    PricePart,
    TaxRatePart,
    TierPart,
    TransformPart,
)
from billing.scenario.decoding import at_path
from billing.subscriptions import billing_anchor
from billing.taxes import TaxRate, TaxRateType
from billing.terms import LineItem, Terms
from billing.windows import WindowSize

SUBSCRIPTION_ID = "subscription"


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything of the document that has a key, by its key; a value's id is its key."""

    meters: Mapping[str, Meter]
    plans: Mapping[str, tuple[Price, ...]]
    tax_rates: Mapping[str, TaxRate]
    coupons: Mapping[str, Coupon]


def build_catalog(scenario: doc.Scenario) -> Catalog:
    """Meters, prices, tax rates and coupons. Raises Invalid with the path of the part that breaks a rule."""
    _cadence_of_subscription(scenario)
    meters = {part.key: _meter(part, f"meters[{index}]") for index, part in enumerate(scenario.meters)}
    rates = {part.key: _tax_rate(part, f"tax_rates[{index}]") for index, part in enumerate(scenario.tax_rates)}
    plans = {
        plan.key: tuple(
            build_price(scenario, part, f"plans[{index}].prices[{position}]")
            for position, part in enumerate(plan.prices)
        )
        for index, plan in enumerate(scenario.plans)
    }
    coupons = {part.key: _coupon(part, f"coupons[{index}]") for index, part in enumerate(scenario.coupons)}
    return Catalog(meters, plans, rates, coupons)


def build_price(scenario: doc.Scenario, part: PricePart, path: str) -> Price:
    """A price, with the subscription's period where it names none. Raises Invalid."""
    try:
        cadence = _cadence(scenario.subscription, part)
        return Price(
            id=part.key,
            display_name=part.display_name or part.key,
            type=part.type,
            billing_model=part.billing_model,
            currency=scenario.currency,
            cadence=cadence,
            invoice_cadence=_invoice_cadence(part, cadence),
            amount=part.amount,
            tier_mode=part.tier_mode,
            tiers=_tiers(part.tiers),
            transform_quantity=_transform(part.transform_quantity),
            meter_id=part.meter,
            min_quantity=part.min_quantity,
        )
    except Invalid as error:
        raise at_path(_renamed(error, {"meter_id": "meter"}), path) from error


def build_terms(scenario: doc.Scenario, catalog: Catalog) -> Terms:
    """What the subscription agrees to at its start. Raises Invalid with the path of what makes no sense."""
    part = scenario.subscription
    cadence = _cadence_of_subscription(scenario)
    zone = scenario.customer.timezone
    prices = [_overridden(price, part, "subscription.price_overrides") for price in catalog.plans[part.plan]]
    if not prices:
        raise Invalid(f"subscription.plan {part.plan!r} has no price", field="subscription.plan")
    try:
        anchor = billing_anchor(part.start_date, zone, cadence, part.billing_cycle, part.billing_anchor)
        return Terms(
            id=SUBSCRIPTION_ID,
            currency=scenario.currency,
            zone=zone,
            cadence=cadence,
            anchor=anchor,
            start=part.start_date,
            lines=tuple(
                LineItem(price.id, price, line_quantity(price, part.quantities), part.start_date) for price in prices
            ),
            cycle=part.billing_cycle,
            end_date=part.end_date,
            tax_rates=tuple(catalog.tax_rates[key] for key in part.tax_rates),
            proration_behavior=part.proration_behavior,
        )
    except Invalid as error:
        raise at_path(error, "subscription") from error


def build_coupons(scenario: doc.Scenario, catalog: Catalog) -> tuple[CouponAssociation, ...]:
    """The coupons that the subscription starts with, on lines and on the whole invoice. Raises Invalid."""
    part, path = scenario.subscription, "subscription"
    given: list[tuple[str, str, str | None]] = [
        (f"{path}.coupons[{index}]", key, None) for index, key in enumerate(part.coupons)
    ]
    for price, keys in part.line_coupons.items():
        given += [(f"{path}.line_coupons.{price}[{index}]", key, price) for index, key in enumerate(keys)]
    found: dict[str, CouponAssociation] = {}
    for where, key, line in given:
        association = associate(catalog.coupons[key], line)
        if association.id in found:
            raise Invalid(f"{where} names the coupon {key!r} a second time", field=where)
        try:
            check_redeemable(association.coupon, scenario.currency, part.start_date, redemptions=0)
        except BillingError as error:
            raise Invalid(f"{where}: {error.message}", where, error.details) from error
        found[association.id] = association
    return tuple(found.values())


def associate(coupon: Coupon, price: str | None) -> CouponAssociation:
    """The subscription takes `coupon`: on the line of `price`, or on the whole invoice."""
    identity = coupon.id if price is None else f"{coupon.id}:{price}"
    return CouponAssociation(identity, coupon, price)


def line_quantity(price: Price, quantities: Mapping[str, Decimal]) -> Decimal:
    """The quantity of a fixed line: the given one, else the price's least, else 1. Usage lines have none."""
    if price.type is PriceType.USAGE:
        return Decimal(0)
    return quantities.get(price.id, price.min_quantity or Decimal(1))


def build_dunning(part: doc.SettingsPart) -> DunningSettings:
    """The tenant's dunning. Raises Invalid."""
    try:
        return DunningSettings(
            schedule_days=part.dunning_days,
            hour=part.dunning_hour,
            on_exhausted_invoice=part.on_exhausted_invoice,
            on_exhausted_subscription=part.on_exhausted_subscription,
        )
    except Invalid as error:
        raise at_path(error, "settings") from error


def _cadence_of_subscription(scenario: doc.Scenario) -> Cadence:
    part = scenario.subscription
    try:
        cadence = Cadence(part.billing_period, part.billing_period_count)
    except Invalid as error:
        raise at_path(error, "subscription") from error
    if cadence.period is BillingPeriod.ONETIME:
        path = "subscription.billing_period"
        raise Invalid(f"{path} must recur; ONETIME is for prices", field=path)
    return cadence


def _meter(part: MeterPart, path: str) -> Meter:
    aggregation = part.aggregation
    try:
        return Meter(
            id=part.key,
            name=part.name or part.key,
            event_name=part.event_name,
            aggregation=AggregationType(aggregation.type),
            field=aggregation.field,
            filters=tuple(Filter(each.key, each.values) for each in part.filters),
            reset_usage=ResetUsage(part.reset_usage),
            multiplier=aggregation.multiplier,
            bucket_size=None if aggregation.bucket_size is None else WindowSize(aggregation.bucket_size),
            group_by=aggregation.group_by,
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


def _overridden(price: Price, subscription: doc.SubscriptionPart, path: str) -> Price:
    part = subscription.price_overrides.get(price.id)
    if part is None:
        return price
    try:
        return _override(price, part)
    except Invalid as error:
        raise at_path(error, f"{path}.{price.id}") from error


def _override(price: Price, part: PriceOverridePart) -> Price:
    """The price with what the override gives; what belongs only to the old model is dropped."""
    model = part.billing_model or price.billing_model
    tiered, packaged = model is BillingModel.TIERED, model is BillingModel.PACKAGE
    transform = _transform(part.transform_quantity) or (price.transform_quantity if packaged else None)
    tiers = _tiers(part.tiers) if part.tiers is not None else (price.tiers if tiered else ())
    amount = part.amount if part.amount is not None else (None if tiered else price.amount)
    return replace(
        price,
        billing_model=model,
        amount=amount,
        tier_mode=part.tier_mode or (price.tier_mode if tiered else None),
        tiers=tiers,
        transform_quantity=transform,
    )


def _tiers(parts: tuple[TierPart, ...]) -> tuple[Tier, ...]:
    return tuple(Tier(part.up_to, part.unit_amount, part.flat_amount) for part in parts)


def _transform(part: TransformPart | None) -> TransformQuantity | None:
    return None if part is None else TransformQuantity(part.divide_by, part.round)


def _renamed(error: Invalid, names: Mapping[str, str]) -> Invalid:
    field = names.get(error.field or "", error.field)
    message = error.message.replace(error.field or "", field or "", 1) if field != error.field else error.message
    return Invalid(message, field, error.details, error.code)
