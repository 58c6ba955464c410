"""Reads a scenario document: fields, then references between its parts.

Owns which `do` means which action and which keys may be named where. Values are built in billing.scenario.catalog.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from billing.errors import Invalid
from billing.money import exponent
from billing.periods import zone_info
from billing.prices import PriceType
from billing.scenario import document as doc
from billing.scenario.catalog_parts import AddonPart, PlanPart, PricePart
from billing.scenario.decoding import at_path, decode, joined

ACTIONS: Final[Mapping[str, type[Any]]] = {
    "change_plan": doc.ChangePlan,
    "change_quantity": doc.ChangeQuantity,
    "add_addon": doc.AddAddon,
    "remove_addon": doc.RemoveAddon,
    "pause": doc.Pause,
    "resume": doc.Resume,
    "cancel": doc.Cancel,
    "top_up": doc.TopUp,
    "debit": doc.Debit,
    "terminate_wallet": doc.TerminateWallet,
    "apply_coupon": doc.ApplyCoupon,
    "credit_note": doc.CreditNote,
    "void_invoice": doc.VoidInvoice,
    "pay": doc.Pay,
    "add_payment_method": doc.AddPaymentMethod,
    "void_event": doc.VoidEvent,
    "amend_event": doc.AmendEvent,
}


def parse_scenario(data: object) -> doc.Scenario:
    """The scenario that `data` (JSON values) tells. Raises Invalid with the path of the first thing that is wrong."""
    if not isinstance(data, Mapping):
        raise Invalid("a scenario must be a JSON object", field="")
    rest = {name: value for name, value in data.items() if name not in ("actions", "payments")}
    scenario = replace(
        decode(doc.Scenario, rest),
        actions=tuple(_action(item, path) for item, path in _items(data, "actions")),
        payments=tuple(_answer(item, path) for item, path in _items(data, "payments")),
    )
    _check_customer(scenario)
    _check_keys(scenario)
    _check_subscription(scenario)
    _check_actions(scenario)
    return scenario


def prices_of(scenario: doc.Scenario) -> Iterator[tuple[str, PricePart]]:
    """Every price of the document with its path."""
    for path, owner in _owners(scenario):
        for position, price in enumerate(owner.prices):
            yield f"{path}.prices[{position}]", price


def _owners(scenario: doc.Scenario) -> Iterator[tuple[str, PlanPart | AddonPart]]:
    """What can have prices, entitlements and credit grants, with its path."""
    yield from ((f"plans[{index}]", plan) for index, plan in enumerate(scenario.plans))
    yield from ((f"addons[{index}]", addon) for index, addon in enumerate(scenario.addons))


def _items(data: Mapping[str, Any], name: str) -> list[tuple[Any, str]]:
    value = data.get(name, [])
    if not isinstance(value, list):
        raise Invalid(f"{name} must be a list", field=name)
    return [(item, f"{name}[{index}]") for index, item in enumerate(value)]


def _action(data: object, path: str) -> doc.Action:
    if not isinstance(data, Mapping):
        raise Invalid(f"{path} must be an object", field=path)
    name = data.get("do")
    kind = ACTIONS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise Invalid(f"{path}.do must be one of {', '.join(ACTIONS)}; got {name!r}", field=f"{path}.do")
    action: doc.Action = decode(kind, {key: value for key, value in data.items() if key != "do"}, path)
    if isinstance(action, doc.Cancel) and (action.type == "scheduled") != (action.cancel_at is not None):
        raise Invalid(f"{path}.cancel_at is required for type scheduled, and only for it", field=f"{path}.cancel_at")
    return action


def _answer(data: object, path: str) -> doc.PaymentAnswer:
    answer = decode(doc.PaymentAnswer, data if isinstance(data, Mapping) else {"outcome": data}, path)
    if (answer.outcome == "declined") != (answer.kind is not None):
        raise Invalid(
            f"{path}.kind (soft or hard) is required for the outcome declined, and only for it", field=f"{path}.kind"
        )
    return answer


def _check_customer(scenario: doc.Scenario) -> None:
    for check, value, path in (
        (exponent, scenario.currency, ""),
        (zone_info, scenario.customer.timezone, "customer"),
    ):
        try:
            check(value)
        except Invalid as error:
            raise at_path(error, path) from error
    if not scenario.plans:
        raise Invalid("plans must have at least one plan", field="plans")


def _check_keys(scenario: doc.Scenario) -> None:
    """Keys are unique among things of one kind; a price's among all plans and add-ons."""
    for name in ("meters", "plans", "addons", "coupons", "tax_rates", "price_units", "wallets"):
        _unique((f"{name}[{index}]", part.key) for index, part in enumerate(getattr(scenario, name)))
    _unique((path, price.key) for path, price in prices_of(scenario))
    _unique(
        (f"{path}.credit_grants[{position}]", grant.key)
        for path, owner in _owners(scenario)
        for position, grant in enumerate(owner.credit_grants)
    )
    meters = {meter.key for meter in scenario.meters}
    for path, price in prices_of(scenario):
        if price.meter is not None:
            _known(price.meter, meters, f"{path}.meter", "meter")
    for path, owner in _owners(scenario):
        for position, entitlement in enumerate(owner.entitlements):
            _known(entitlement.meter, meters, f"{path}.entitlements[{position}].meter", "meter")
    for index, usage in enumerate(scenario.usage):
        _known(usage.meter, meters, f"usage[{index}].meter", "meter")


def _check_subscription(scenario: doc.Scenario) -> None:
    part, path = scenario.subscription, "subscription"
    _known(part.plan, {plan.key for plan in scenario.plans}, f"{path}.plan", "plan")
    if not scenario.customer.external_id.strip():
        raise Invalid("customer.external_id must not be empty", field="customer.external_id")
    if scenario.until < part.start_date:
        raise Invalid("until must not be before subscription.start_date", field="until")
    _unique((f"{path}.addons[{index}]", addon.addon) for index, addon in enumerate(part.addons))
    for index, addon in enumerate(part.addons):
        where = f"{path}.addons[{index}]"
        _known(addon.addon, {each.key for each in scenario.addons}, f"{where}.addon", "add-on")
        _check_quantities(addon.quantities, _prices(scenario, addons=(addon.addon,)), f"{where}.quantities")
    carried = _prices(scenario, plan=part.plan, addons=[addon.addon for addon in part.addons])
    _check_quantities(part.quantities, carried, f"{path}.quantities")
    for name in ("price_overrides", "line_coupons", "line_commitments"):
        for key in getattr(part, name):
            if key not in carried:
                where = f"{path}.{name}.{key}"
                raise Invalid(
                    f"{where} names no price of this subscription: {key!r}; known: {_listed(carried)}", field=where
                )
    prices = [price.key for _, price in prices_of(scenario)]
    for key in part.line_tax_rates:
        _known(key, prices, f"{path}.line_tax_rates.{key}", "price")
    for key in part.line_commitments:
        where = f"{path}.line_commitments.{key}"
        if carried[key].type is not PriceType.USAGE:
            raise Invalid(f"{where} must be a USAGE price: there is no usage to commit to", field=where)
        if part.commitment is not None:
            raise Invalid(f"{where} must be absent beside subscription.commitment: commit to one of them", field=where)
    meters = {meter.key for meter in scenario.meters}
    for index, override in enumerate(part.override_entitlements):
        _known(override.meter, meters, f"{path}.override_entitlements[{index}].meter", "meter")
    coupons = {coupon.key for coupon in scenario.coupons}
    rates = {rate.key for rate in scenario.tax_rates}
    _all_known(part.coupons, coupons, f"{path}.coupons", "coupon")
    for where, given in (
        ("tax_rates", part.tax_rates),
        *((f"line_tax_rates.{k}", v) for k, v in part.line_tax_rates.items()),
    ):
        _all_known(given, rates, f"{path}.{where}", "tax rate")
        _once(given, f"{path}.{where}")
    for key, keys in part.line_coupons.items():
        _all_known(keys, coupons, f"{path}.line_coupons.{key}", "coupon")


def _check_actions(scenario: doc.Scenario) -> None:
    known = {
        "plan": {plan.key for plan in scenario.plans},
        "addon": {addon.key for addon in scenario.addons},
        "wallet": {wallet.key for wallet in scenario.wallets},
        "coupon": {coupon.key for coupon in scenario.coupons},
        "price": {price.key for _, price in prices_of(scenario)},
    }
    for index, action in enumerate(scenario.actions):
        path = f"actions[{index}]"
        for name, keys in known.items():
            value = getattr(action, name, None)
            if value is not None:
                _known(value, keys, f"{path}.{name}", name)
        if isinstance(action, doc.ChangePlan):
            _check_quantities(action.quantities, _prices(scenario, plan=action.plan), f"{path}.quantities")
        if isinstance(action, doc.AddAddon):
            _check_quantities(action.quantities, _prices(scenario, addons=[action.addon]), f"{path}.quantities")


def _prices(scenario: doc.Scenario, plan: str | None = None, addons: Iterable[str] = ()) -> dict[str, PricePart]:
    wanted = set(addons)
    prices = [price for each in scenario.plans if each.key == plan for price in each.prices]
    prices += [price for each in scenario.addons if each.key in wanted for price in each.prices]
    return {price.key: price for price in prices}


def _check_quantities(quantities: Mapping[str, Any], prices: Mapping[str, PricePart], path: str) -> None:
    for key, quantity in quantities.items():
        where = joined(path, key)
        if key not in prices:
            raise Invalid(f"{where} names no price that is sold here: {key!r}; known: {_listed(prices)}", field=where)
        if prices[key].type is PriceType.USAGE:
            raise Invalid(f"{where} must be absent: a USAGE price is metered", field=where)
        if quantity < 0:
            raise Invalid(f"{where} must be 0 or more; got {quantity}", field=where)


def _unique(keys: Iterable[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for path, key in keys:
        if not key:
            raise Invalid(f"{path}.key must not be empty", field=f"{path}.key")
        if key in seen:
            raise Invalid(f"{path}.key {key!r} is the key of {seen[key]} already", field=f"{path}.key")
        seen[key] = path


def _all_known(keys: Iterable[str], known: Iterable[str], path: str, noun: str) -> None:
    names = tuple(known)
    for index, key in enumerate(keys):
        _known(key, names, f"{path}[{index}]", noun)


def _once(keys: Sequence[str], path: str) -> None:
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise Invalid(f"{path}[{index}] names {key!r} a second time", field=f"{path}[{index}]")


def _known(key: str, known: Iterable[str], path: str, noun: str) -> None:
    names = tuple(known)
    if key not in names:
        raise Invalid(f"{path} names no {noun} of the document: {key!r}; known: {_listed(names)}", field=path)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
