"""What of a scenario the HTTP API cannot be asked for yet: the one table of it, by the path in the document.

It shrinks as the API grows: a test fails when a door named here is open, and then the part belongs into
starter.simulate.setting or starter.simulate.player instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from billing.periods import BillingPeriod
from billing.prices import Price
from billing.scenario import document as doc
from billing.scenario.catalog import Catalog, build_catalog, subscription_cadence
from billing.scenario.catalog_parts import PricePart
from models.clickhouse.expression_sql import is_computable


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of a story that a running stack cannot play; `door` is where the API would have to take it."""

    path: str
    door: str

    @property
    def reason(self) -> str:
        """One line for people."""
        return f"the API does not offer {self.door}"


PRICE: Final = ("maximum_amount", "trial_period_days", "price_unit_config")
PLAN: Final = ("entitlements", "credit_grants")
WALLET: Final = ("auto_topup",)
SUBSCRIPTION: Final = {
    "trial_period_days": "subscriptions: trial_period_days",
    "price_overrides": "subscriptions: override_line_items.amount",
    "addons": "subscriptions: addons",
    "coupons": "subscriptions: subscription_coupons",
    "line_coupons": "subscriptions: line_item_coupons",
    "line_tax_rates": "subscriptions: tax_rate_overrides",
    "commitment": "subscriptions: commitment_amount",
    "line_commitments": "subscriptions: line_item_commitments",
    "phases": "subscriptions: phases",
    "credit_grants": "subscriptions: credit_grants",
    "override_entitlements": "subscriptions: override_entitlements",
}
"""Fields of the subscription, and where the API would take them."""
ACTIONS: Final[dict[type[Any], str]] = {
    doc.ChangePlan: "/subscriptions/{id}/change",
    doc.ChangeQuantity: "/subscriptions/{id}/modify",
    doc.AddAddon: "/subscriptions/addon",
    doc.RemoveAddon: "/subscriptions/addon",
    doc.Pause: "/subscriptions/{id}/pause",
    doc.Resume: "/subscriptions/{id}/resume",
    doc.ApplyCoupon: "/coupons",
}
"""Actions by the path of the API that would do them."""
SCHEDULED: Final = "cancel: cancellation_type scheduled"
INVOICED: Final = "wallets/{id}/top-up: transaction_reason PURCHASED_CREDIT_INVOICED"
PRORATION_UNIT: Final = "settings: proration_unit"
DEEP_EXPRESSION: Final = "meters: expressions of so many steps that build on each other"
OTHER_PERIODS: Final = "subscriptions: prices of another billing period"


def gaps_of(scenario: doc.Scenario) -> list[Gap]:
    """Everything in the document that the API does not offer."""
    catalog = build_catalog(scenario)
    return [
        *_of_catalog(scenario, catalog),
        *_of_subscription(scenario),
        *_of_actions(scenario),
    ]


def _of_catalog(scenario: doc.Scenario, catalog: Catalog) -> Iterator[Gap]:
    for index, meter in enumerate(catalog.meters.values()):
        if meter.expression is not None and not is_computable(meter.expression, meter.multiplier):
            yield Gap(f"meters[{index}].aggregation.expression", DEEP_EXPRESSION)
    for index, plan in enumerate(scenario.plans):
        if plan.key == scenario.subscription.plan:
            yield from _given(plan, f"plans[{index}]", PLAN, "plans")
            pairs = zip(plan.prices, catalog.plans[plan.key], strict=True)
            for place, (part, price) in enumerate(pairs):
                yield from _of_price(scenario, part, price, f"plans[{index}].prices[{place}]")
    for index, wallet in enumerate(scenario.wallets):
        yield from _given(wallet, f"wallets[{index}]", WALLET, "wallets")


def _of_price(scenario: doc.Scenario, part: PricePart, price: Price, path: str) -> Iterator[Gap]:
    yield from _given(part, path, PRICE, "prices")
    cadence = subscription_cadence(scenario)
    if price.cadence.period is not BillingPeriod.ONETIME and not price.cadence.same_length(cadence):
        yield Gap(f"{path}.billing_period", OTHER_PERIODS)


def _of_subscription(scenario: doc.Scenario) -> Iterator[Gap]:
    for name, door in SUBSCRIPTION.items():
        if getattr(scenario.subscription, name):
            yield Gap(f"subscription.{name}", door)
    if scenario.settings.proration_unit != "second":
        yield Gap("settings.proration_unit", PRORATION_UNIT)


def _of_actions(scenario: doc.Scenario) -> Iterator[Gap]:
    for index, action in enumerate(scenario.actions):
        door = ACTIONS.get(type(action))
        if door is None and isinstance(action, doc.Cancel) and action.type == "scheduled":
            door = SCHEDULED
        if isinstance(action, doc.TopUp) and action.transaction_reason == INVOICED.rpartition(" ")[2]:
            door = INVOICED
        if door is not None and action.at <= scenario.until:
            yield Gap(f"actions[{index}]", door)


def _given(part: Any, path: str, names: tuple[str, ...], where: str) -> Iterator[Gap]:
    for name in names:
        if getattr(part, name):
            yield Gap(f"{path}.{name}", f"{where}{'.' if ':' in where else ': '}{name}")
