"""The wallets and credit grants of a scenario, as billing works on them. Errors carry the path of the part.

Owns their defaults: what a wallet pays, when a grant starts.
"""

from datetime import datetime

from billing.credit_grants import CreditGrant, DurationUnit, GrantCadence, GrantExpiration
from billing.errors import Invalid
from billing.periods import Cadence
from billing.scenario import document as doc
from billing.scenario.catalog_parts import CreditGrantPart, WalletPart
from billing.scenario.decoding import at_path
from billing.wallets import AllowedPriceTypes, CreditLot, Wallet, WalletType


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


def build_grants(scenario: doc.Scenario, plan_key: str, start: datetime) -> list[CreditGrant]:
    """The subscription's own credit grants, or else its plan's, as given from `start` on. Raises Invalid."""
    own = scenario.subscription.credit_grants
    if own:
        return [_grant(scenario, part, f"subscription.credit_grants[{n}]", start) for n, part in enumerate(own)]
    return [
        _grant(scenario, part, f"plans[{index}].credit_grants[{place}]", start)
        for index, plan in enumerate(scenario.plans)
        if plan.key == plan_key
        for place, part in enumerate(plan.credit_grants)
    ]


def _wallet(part: WalletPart, currency: str) -> Wallet:
    kind = WalletType(part.wallet_type)
    default = (AllowedPriceTypes.USAGE if kind is WalletType.PRE_PAID else AllowedPriceTypes.ALL,)
    types = {AllowedPriceTypes(each) for each in part.allowed_price_types or default}
    allowed = AllowedPriceTypes.ALL if len(types) > 1 else types.pop()
    return Wallet(part.key, kind, currency, part.conversion_rate, allowed)


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
        raise Invalid(f"{field}: {error.message}", field) from error


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
            start=part.start_date or start,
            recurs=GrantCadence(part.cadence),
            cadence=Cadence(part.period, part.period_count) if part.period is not None and recurring else None,
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
