"""The phases of a scenario's subscription, as billing works on them. Errors carry the path of the part.

Owns which prices and coupons a phase may name; how phases cut lines is billing.phases'.
"""

from collections.abc import Iterator

from billing.coupons import CouponAssociation
from billing.errors import Invalid
from billing.periods import BillingPeriod
from billing.phases import Phase, PhaseItem, check_phases
from billing.prices import Price, PriceType
from billing.scenario import document as doc
from billing.scenario.agreement import associated, overridden
from billing.scenario.catalog import Catalog
from billing.scenario.decoding import at_path
from billing.terms import line_quantity


def build_phases(scenario: doc.Scenario, catalog: Catalog) -> tuple[Phase, ...]:
    """The phases with their own prices, quantities and items. Raises Invalid."""
    part = scenario.subscription
    try:
        check_phases([(each.start_date, each.end_date) for each in part.phases], part.start_date, part.end_date)
    except Invalid as error:
        raise at_path(error, "subscription") from error
    carried = _carried(part, catalog)
    every = {price.id: price for own in (catalog.plans, catalog.addons) for prices in own.values() for price in prices}
    return tuple(
        Phase(
            each.start_date,
            each.end_date,
            tuple(overridden(price, each.price_overrides, f"{path}.price_overrides") for price in carried.values()),
            tuple(each.quantities.items()),
            tuple(_item(item, carried, every, f"{path}.line_items[{n}]") for n, item in enumerate(each.line_items)),
        )
        for each, path in _checked(part, carried)
    )


def build_phase_coupons(scenario: doc.Scenario, catalog: Catalog) -> Iterator[CouponAssociation]:
    """The coupons of the phases: each on what a period costs that begins in its phase. Raises Invalid."""
    for index, each in enumerate(scenario.subscription.phases):
        path = f"subscription.phases[{index}]"
        given = [(f"{path}.coupons[{n}]", key, None) for n, key in enumerate(each.coupons)]
        lines = [
            (f"{path}.line_coupons.{price}[{n}]", key, price)
            for price, keys in each.line_coupons.items()
            for n, key in enumerate(keys)
        ]
        span = (each.start_date, each.end_date)
        yield from associated([*given, *lines], scenario, catalog, each.start_date, f"@phases[{index}]", span)


def _carried(part: doc.SubscriptionPart, catalog: Catalog) -> dict[str, Price]:
    """The subscription's own prices, with its overrides, by their keys."""
    prices = [*catalog.plans[part.plan], *(price for each in part.addons for price in catalog.addons[each.addon])]
    return {price.id: overridden(price, part.price_overrides, "subscription.price_overrides") for price in prices}


def _checked(part: doc.SubscriptionPart, carried: dict[str, Price]) -> Iterator[tuple[doc.PhasePart, str]]:
    for index, each in enumerate(part.phases):
        path = f"subscription.phases[{index}]"
        for name in ("price_overrides", "quantities", "line_coupons"):
            for key in getattr(each, name):
                if key not in carried:
                    where = f"{path}.{name}.{key}"
                    raise Invalid(f"{where} names no price of this subscription: {key!r}", field=where)
        for key, quantity in each.quantities.items():
            _check_quantity(carried[key], quantity < 0, f"{path}.quantities.{key}")
        for key in each.price_overrides:
            commitment = part.line_commitments.get(key)
            if commitment is not None and commitment.commitment_duration is not None:
                where = f"{path}.price_overrides.{key}"
                raise Invalid(
                    f"{where} must be absent: the line is committed to for a commitment_duration, at one price",
                    field=where,
                )
        yield each, path


def _item(item: doc.PhaseItemPart, carried: dict[str, Price], every: dict[str, Price], path: str) -> PhaseItem:
    where = f"{path}.price"
    price = every.get(item.price)
    if price is None:
        raise Invalid(f"{where} names no price of the document: {item.price!r}", field=where)
    if item.price in carried:
        paid = f"{where} must not be {item.price!r}, which the subscription pays already"
        raise Invalid(f"{paid}: use price_overrides or quantities", field=where)
    if price.cadence.period is BillingPeriod.ONETIME:
        raise Invalid(f"{where} must recur: a one-time charge has no phase", field=where)
    if item.quantity is not None:
        _check_quantity(price, item.quantity < 0, f"{path}.quantity")
    given = {} if item.quantity is None else {price.id: item.quantity}
    return PhaseItem(price, line_quantity(price, given))


def _check_quantity(price: Price, negative: bool, where: str) -> None:
    if price.type is PriceType.USAGE:
        raise Invalid(f"{where} must be absent: a USAGE price is metered", field=where)
    if negative:
        raise Invalid(f"{where} must be 0 or more", field=where)
