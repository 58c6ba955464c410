"""The wallets and credit grants of a scenario, as billing works on them. Errors carry the path of the part.

Owns their defaults: what a wallet pays, when a grant starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from billing.auto_topups import AutoTopUp
from billing.balance_alerts import AlertSettings, AlertThreshold
from billing.credit_grants import CreditGrant, DurationUnit, GrantCadence, GrantExpiration, of_addon
from billing.errors import Invalid
from billing.periods import Cadence
from billing.scenario import document as doc
from billing.scenario.catalog_parts import (
    AddonPart,
    AlertSettingsPart,
    AutoTopUpPart,
    CreditGrantPart,
    PlanPart,
    WalletPart,
)
from billing.scenario.decoding import at_path
from billing.terms import Terms
from billing.wallets import PAYS_BY_DEFAULT, AllowedPriceTypes, CreditLot, Wallet, WalletType


@dataclass(frozen=True, slots=True)
class Watched:
    """A wallet's automatic top-up and alerts, where it has them."""

    fill: AutoTopUp | None = None
    alerts: AlertSettings | None = None


def build_wallets(scenario: doc.Scenario) -> list[tuple[Wallet, CreditLot | None]]:
    """Each wallet with its initial credits, which are there before anything happens. Raises Invalid."""
    first = min([scenario.subscription.start_date, *(action.at for action in scenario.actions)])
    found: list[tuple[Wallet, CreditLot | None]] = []
    for index, part in enumerate(scenario.wallets):
        path = f"wallets[{index}]"
        if any(part.wallet_type == wallet.wallet_type for wallet, _ in found):
            where = f"{path}.wallet_type"
            raise Invalid(f"{where} must not be {part.wallet_type} again: there is one wallet of a type", field=where)
        try:
            found.append((_wallet(part, scenario.currency), _initial(part, first)))
        except Invalid as error:
            raise at_path(error, path) from error
    return found


def build_watched(scenario: doc.Scenario) -> dict[str, Watched]:
    """What is done by itself when a wallet's balance changes, by the wallet's key. Raises Invalid."""
    found = {}
    for index, part in enumerate(scenario.wallets):
        try:
            fill = None if part.auto_topup is None else _fill(part.auto_topup)
        except Invalid as error:
            raise at_path(error, f"wallets[{index}].auto_topup") from error
        try:
            alerts = None if part.alert_settings is None else _alerts(part.alert_settings)
        except Invalid as error:
            raise at_path(error, f"wallets[{index}].alert_settings") from error
        if fill is not None or alerts is not None:
            found[part.key] = Watched(fill, alerts)
    return found


def check_grants(scenario: doc.Scenario) -> None:
    """Raises Invalid for a grant that makes no sense, also of a plan or an add-on that the story never uses."""
    start = scenario.subscription.start_date
    for plan in scenario.plans:
        _of_owner(scenario, "plans", plan.key, start)
    for addon in scenario.addons:
        _of_owner(scenario, "addons", addon.key, start)


def build_grants(scenario: doc.Scenario, plan_key: str, start: datetime) -> list[CreditGrant]:
    """The subscription's own credit grants, or else its plan's, as given from `start` on. Raises Invalid."""
    own = scenario.subscription.credit_grants
    if own:
        return [_grant(scenario, part, f"subscription.credit_grants[{n}]", start) for n, part in enumerate(own)]
    return _of_owner(scenario, "plans", plan_key, start)


def build_addon_grants(scenario: doc.Scenario, addon_key: str, terms: Terms, at: datetime) -> list[CreditGrant]:
    """What an add-on gives that comes at `at`; recurring credits come when the plan's do."""
    return [of_addon(grant, terms, at) for grant in _of_owner(scenario, "addons", addon_key, terms.start)]


def _of_owner(scenario: doc.Scenario, kind: Literal["plans", "addons"], key: str, start: datetime) -> list[CreditGrant]:
    owners: Sequence[PlanPart | AddonPart] = scenario.plans if kind == "plans" else scenario.addons
    return [
        _grant(scenario, part, f"{kind}[{index}].credit_grants[{place}]", start)
        for index, owner in enumerate(owners)
        if owner.key == key
        for place, part in enumerate(owner.credit_grants)
    ]


def _wallet(part: WalletPart, currency: str) -> Wallet:
    kind = WalletType(part.wallet_type)
    types = {AllowedPriceTypes(each) for each in part.allowed_price_types or (PAYS_BY_DEFAULT[kind],)}
    allowed = AllowedPriceTypes.ALL if len(types) > 1 else types.pop()
    rate = part.topup_conversion_rate
    return Wallet(part.key, kind, currency, part.conversion_rate, allowed, topup_conversion_rate=rate)


def _fill(part: AutoTopUpPart) -> AutoTopUp:
    return AutoTopUp(part.threshold, part.amount, part.invoicing, part.cooldown, part.enabled)


def _alerts(part: AlertSettingsPart) -> AlertSettings:
    given = {name: getattr(part, name) for name in ("critical", "warning", "info")}
    thresholds = {
        name: AlertThreshold(each.threshold, each.condition) for name, each in given.items() if each is not None
    }
    return AlertSettings(**thresholds, alert_enabled=part.alert_enabled)


def _initial(part: WalletPart, at: datetime) -> CreditLot | None:
    if not part.initial_credits:
        if part.initial_credits_expiry_date_utc is not None:
            field = "initial_credits_expiry_date_utc"
            raise Invalid(f"{field} must be absent without initial_credits", field=field)
        return None
    try:
        credits = part.initial_credits
        return CreditLot(f"{part.key}/initial", credits, credits, at, part.initial_credits_expiry_date_utc)
    except Invalid as error:
        name = {"credits": "initial_credits", "expiry_date_utc": "initial_credits_expiry_date_utc"}
        field = name.get(error.field or "", error.field or "")
        raise Invalid(error.message.replace(error.field or field, field, 1), field) from error


def _grant(scenario: doc.Scenario, part: CreditGrantPart, path: str, start: datetime) -> CreditGrant:
    rates = [wallet.conversion_rate for wallet in scenario.wallets if wallet.wallet_type == "PRE_PAID"]
    if part.conversion_rate not in (None, rates[0] if rates else 1):
        where = f"{path}.conversion_rate"
        raise Invalid(f"{where} must be that of the PRE_PAID wallet which the credits go to", field=where)
    recurring = part.cadence == "RECURRING"
    try:
        return CreditGrant(
            id=part.key,
            credits=part.credits,
            start=max(part.start_date or start, start),
            recurs=GrantCadence(part.cadence),
            cadence=Cadence(part.period, part.period_count) if part.period is not None and recurring else None,
            anchor=part.start_date if recurring else None,
            end=part.end_date,
            expiration=GrantExpiration(part.expiration_type),
            expiration_duration=part.expiration_duration,
            expiration_duration_unit=(
                None if part.expiration_duration_unit is None else DurationUnit(part.expiration_duration_unit)
            ),
            priority=part.priority,
        )
    except Invalid as error:
        raise at_path(error, path) from error
