"""What the subscription of a scenario agrees to: terms, coupons, dunning. Errors carry the path of the part.

Owns the defaults that a subscription has: a line's quantity, what an override keeps of a price.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from billing.coupons import Coupon, CouponAssociation, check_redeemable
from billing.dunning import DunningSettings
from billing.entitlements import EffectiveEntitlement, Entitlement, effective_entitlements
from billing.errors import BillingError, Invalid
from billing.invoice_timing import check_timing
from billing.late_usage import LateUsagePolicy, LateUsageSettings
from billing.line_trials import line_trial_end, trial_end_of
from billing.phases import Phase, item_lines, phased_commitments, phased_lines
from billing.prices import BillingModel, Price
from billing.scenario import document as doc
from billing.scenario.catalog import Catalog, build_entitlements, subscription_cadence, tiers_of, transform_of
from billing.scenario.catalog_parts import EntitlementPart, PriceOverridePart
from billing.scenario.commitments import build_commitments
from billing.scenario.decoding import at_path
from billing.subscriptions import billing_anchor
from billing.taxes import TaxRate
from billing.terms import LineItem, ProrationUnit, Terms, line_quantity

SUBSCRIPTION_ID = "subscription"


def build_terms(scenario: doc.Scenario, catalog: Catalog, phases: Sequence[Phase] = ()) -> Terms:
    """What the subscription agrees to at its start. Raises Invalid with the path of what makes no sense."""
    part = scenario.subscription
    cadence = subscription_cadence(scenario)
    zone = scenario.customer.timezone
    given = dict(part.quantities)
    prices = list(catalog.plans[part.plan])
    for addon in part.addons:
        prices += catalog.addons[addon.addon]
        given.update(addon.quantities)
    prices = [overridden(price, part.price_overrides, "subscription.price_overrides") for price in prices]
    if not prices:
        raise Invalid(f"subscription.plan {part.plan!r} has no price", field="subscription.plan")
    commitments = build_commitments(scenario, catalog.meters, prices)
    try:
        trial_end = trial_end_of(part.start_date, zone, part.trial_period_days)
        first = trial_end or part.start_date
        anchor = billing_anchor(first, zone, cadence, part.billing_cycle, part.billing_anchor)
        whole = [LineItem(price.id, price, line_quantity(price, given), first) for price in prices]
        lines = _lines(part, catalog, whole, phases, first, zone)
        return Terms(
            id=SUBSCRIPTION_ID,
            currency=scenario.currency,
            zone=zone,
            cadence=cadence,
            anchor=anchor,
            start=part.start_date,
            lines=lines,
            cycle=part.billing_cycle,
            end_date=part.end_date,
            tax_rates=tuple(catalog.tax_rates[key] for key in part.tax_rates),
            proration_behavior=part.proration_behavior,
            entitlements=entitlements_of(part, catalog, part.plan, [addon.addon for addon in part.addons]),
            commitments=phased_commitments(commitments, lines),
            trial_end=trial_end,
            proration_unit=ProrationUnit(scenario.settings.proration_unit),
            auto_invoice_threshold=part.auto_invoice_threshold,
        )
    except Invalid as error:
        raise at_path(error, "subscription") from error


def _lines(
    part: doc.SubscriptionPart,
    catalog: Catalog,
    whole: Sequence[LineItem],
    phases: Sequence[Phase],
    first: datetime,
    zone: str,
) -> tuple[LineItem, ...]:
    """The plan's and the add-ons' lines from the first period on, cut by the phases, and what is a phase's alone.

    The trial of a price runs beside the subscription's.
    """
    named: Counter[str] = Counter(line.id for line in whole)

    def new_id(price: str) -> str:
        named[price] += 1
        return price if named[price] == 1 else f"{price}#{named[price]}"

    own = [replace(line, trial_end=line_trial_end(line.price, part.start_date, zone)) for line in whole]
    items = item_lines(phases, first, new_id)
    extra = [replace(line, trial_end=line_trial_end(line.price, line.start, zone)) for line in items]
    lines = (*phased_lines(own, phases, new_id), *extra)
    return tuple(replace(line, tax_rates=own_tax_rates(part, catalog, line.price)) for line in lines)


def build_coupons(scenario: doc.Scenario, catalog: Catalog) -> tuple[CouponAssociation, ...]:
    """The coupons that the subscription starts with, on lines and on the whole invoice. Raises Invalid."""
    part, path = scenario.subscription, "subscription"
    given: list[tuple[str, str, str | None]] = [
        (f"{path}.coupons[{index}]", key, None) for index, key in enumerate(part.coupons)
    ]
    for price, keys in part.line_coupons.items():
        given += [(f"{path}.line_coupons.{price}[{index}]", key, price) for index, key in enumerate(keys)]
    return associated(given, scenario, catalog, part.start_date)


def associated(
    given: Iterable[tuple[str, str, str | None]],
    scenario: doc.Scenario,
    catalog: Catalog,
    at: datetime,
    phase: str = "",
    span: tuple[datetime | None, datetime | None] = (None, None),
) -> tuple[CouponAssociation, ...]:
    """The coupons `given` (path, coupon, price or None) as taken at `at`, for what begins in `span`. Raises Invalid."""
    found: dict[str, CouponAssociation] = {}
    for where, key, line in given:
        if key not in catalog.coupons:
            raise Invalid(f"{where} names no coupon of the document: {key!r}", field=where)
        association = associate(catalog.coupons[key], line)
        if association.id in found:
            raise Invalid(f"{where} names the coupon {key!r} a second time", field=where)
        try:
            check_redeemable(association.coupon, scenario.currency, at, redemptions=0)
        except BillingError as error:
            raise Invalid(f"{where}: {error.message}", where, error.details) from error
        starts, ends = span
        found[association.id] = replace(association, id=f"{association.id}{phase}", starts_at=starts, ends_at=ends)
    return tuple(found.values())


def associate(coupon: Coupon, price: str | None) -> CouponAssociation:
    """The subscription takes `coupon`: on the line of `price`, or on the whole invoice."""
    identity = coupon.id if price is None else f"{coupon.id}:{price}"
    return CouponAssociation(identity, coupon, price)


def own_tax_rates(part: doc.SubscriptionPart, catalog: Catalog, price: Price) -> tuple[TaxRate, ...]:
    """The tax rates of a price's lines that stand in place of the subscription's."""
    return tuple(catalog.tax_rates[key] for key in part.line_tax_rates.get(price.id, ()))


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


def check_settings(part: doc.SettingsPart) -> None:
    """The tenant's grace and terms of payment. Raises Invalid."""
    try:
        check_timing(part.finalization_delay_seconds, part.due_date_days)
    except Invalid as error:
        raise at_path(error, "settings") from error


def build_late_usage(part: doc.SettingsPart) -> LateUsageSettings:
    """The tenant's way with late usage. Raises Invalid."""
    try:
        return LateUsageSettings(LateUsagePolicy(part.late_usage), part.late_usage_periods, part.late_usage_days)
    except Invalid as error:
        raise at_path(error, "settings") from error


def entitlements_of(
    part: doc.SubscriptionPart, catalog: Catalog, plan: str, addons: Iterable[str]
) -> tuple[EffectiveEntitlement, ...]:
    """What a subscription to `plan` with `addons` may use, its own overrides included."""
    granted = list(catalog.entitlements[plan])
    for addon in addons:
        granted += catalog.addon_entitlements[addon]
    return effective_entitlements(granted, _overrides(part))


def _overrides(part: doc.SubscriptionPart) -> tuple[Entitlement, ...]:
    parts = [
        EntitlementPart(
            meter=each.meter,
            usage_limit=each.usage_limit,
            usage_reset_period=each.usage_reset_period,
            is_enabled=each.is_enabled,
        )
        for each in part.override_entitlements
    ]
    return build_entitlements(tuple(parts), "override_entitlements")


def overridden(price: Price, overrides: Mapping[str, PriceOverridePart], path: str) -> Price:
    """The price with the override that is given for it, if any. Raises Invalid."""
    part = overrides.get(price.id)
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
    transform = transform_of(part.transform_quantity) or (price.transform_quantity if packaged else None)
    tiers = tiers_of(part.tiers) if part.tiers is not None else (price.tiers if tiered else ())
    amount = part.amount if part.amount is not None else (None if tiered else price.amount)
    return replace(
        price,
        billing_model=model,
        amount=amount,
        tier_mode=part.tier_mode or (price.tier_mode if tiered else None),
        tiers=tiers,
        transform_quantity=transform,
    )
