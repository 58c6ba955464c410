"""Entitlements: what a subscription may use of a feature, from its plan, its add-ons and its own overrides.

Owns adding them up. Which usage an allowance pays is billing.allowances'. Rules: billing-rules.md section 10; the sums
over plan and add-ons are the reference's: limits add up, unlimited wins, soft if any is soft, disabled ones count
nothing, and of different reset periods the one of most wins, of a tie the first.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from billing.errors import Invalid
from billing.money import ZERO, total
from billing.periods import Period


class FeatureType(StrEnum):
    """metered: `usage_limit` of a meter. boolean: on or off. static: a text. config: a JSON text."""

    metered = "metered"
    boolean = "boolean"
    static = "static"
    config = "config"


class UsageResetPeriod(StrEnum):
    """When an allowance is given anew. NEVER: once for the life of the subscription."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    ANNUAL = "ANNUAL"
    BILLING_PERIOD = "BILLING_PERIOD"
    NEVER = "NEVER"


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What one plan, add-on or subscription grants of a feature; `usage_limit` None is unlimited.

    A hard limit is one that callers ask about before they act; events beyond it are stored and billed all the same. An
    override of a subscription replaces the entitlement `parent_entitlement_id`, or without one all of its feature.
    """

    id: str
    feature_id: str
    feature_type: FeatureType = FeatureType.metered
    meter_id: str | None = None
    usage_limit: Decimal | None = None
    usage_reset_period: UsageResetPeriod = UsageResetPeriod.BILLING_PERIOD
    is_soft_limit: bool = False
    is_enabled: bool = True
    value: str | None = None
    parent_entitlement_id: str | None = None

    def __post_init__(self) -> None:
        metered = self.feature_type is FeatureType.metered
        if metered != (self.meter_id is not None):
            raise Invalid("a metered entitlement names its meter, and only a metered one", field="meter_id")
        if self.usage_limit is not None and not (metered and self.usage_limit >= 0):
            raise Invalid("usage_limit must be 0 or more, and only metered features have one", field="usage_limit")
        has_value = self.feature_type in (FeatureType.static, FeatureType.config)
        if has_value != (self.value is not None):
            field = "config_value" if self.feature_type is FeatureType.config else "static_value"
            raise Invalid(f"{field} is required for static and config features, and only for them", field=field)


@dataclass(frozen=True, slots=True)
class EffectiveEntitlement:
    """What a subscription may use of a feature, all sources together. `usage_limit` None is unlimited."""

    feature_id: str
    feature_type: FeatureType
    is_enabled: bool
    meter_id: str | None = None
    usage_limit: Decimal | None = None
    usage_reset_period: UsageResetPeriod = UsageResetPeriod.BILLING_PERIOD
    is_soft_limit: bool = False
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowance:
    """Free usage of a meter in one reset window; `limit` None is unlimited. `used`: drawn by earlier invoices' lines.

    What was used is one sum for (subscription, meter, window), whatever the number of lines that draw on it. Where a
    plan change gave the window a second limit, each says over which part of it it is in force.
    """

    meter_id: str
    window: Period
    limit: Fraction | None
    used: Fraction = Fraction(0)
    in_force: Period | None = None


@dataclass(frozen=True, slots=True)
class AllowanceDraw:
    """What lines took free of a meter in a reset window."""

    meter_id: str
    window: Period
    quantity: Fraction


def effective_entitlements(
    granted: Iterable[Entitlement], overrides: Iterable[Entitlement] = ()
) -> tuple[EffectiveEntitlement, ...]:
    """One for each feature, in order of first mention. `granted` are the plan's, then the add-ons' (one a quantity)."""
    by_parent = {one.parent_entitlement_id: one for one in overrides if one.parent_entitlement_id is not None}
    by_feature = {one.feature_id: one for one in overrides if one.parent_entitlement_id is None}
    features: dict[str, list[Entitlement]] = {}
    for one in granted:
        features.setdefault(one.feature_id, []).append(by_parent.get(one.id, one))
    for feature_id, override in by_feature.items():
        features[feature_id] = [override]
    return tuple(_together(own) for own in features.values())


def scaled(entitlement: Entitlement, quantity: int) -> Entitlement:
    """The entitlement of an add-on that is attached `quantity` times."""
    limit = entitlement.usage_limit
    return entitlement if limit is None else replace(entitlement, usage_limit=total([limit] * quantity))


def _together(granted: list[Entitlement]) -> EffectiveEntitlement:
    first = granted[0]
    enabled = [one for one in granted if one.is_enabled]
    if any(one.feature_type is not first.feature_type or one.meter_id != first.meter_id for one in granted):
        raise Invalid(f"entitlements of feature {first.feature_id} must be of one type and meter", field="feature_id")
    resets = Counter(one.usage_reset_period for one in enabled)
    unlimited = any(one.usage_limit is None for one in enabled)
    return EffectiveEntitlement(
        feature_id=first.feature_id,
        feature_type=first.feature_type,
        is_enabled=bool(enabled),
        meter_id=first.meter_id,
        usage_limit=None if unlimited else total(one.usage_limit or ZERO for one in enabled),
        usage_reset_period=resets.most_common(1)[0][0] if resets else first.usage_reset_period,
        is_soft_limit=any(one.is_soft_limit for one in enabled),
        values=tuple(one.value for one in enabled if one.value is not None),
    )
