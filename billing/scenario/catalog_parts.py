"""What a scenario can name under a `key`: meters, plans, add-ons, prices, coupons, tax rates, wallets.

Owns the fields and their defaults, as the API names them; what each may be is checked where the billing value is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from billing.balance_alerts import AlertCondition
from billing.money import ZERO
from billing.periods import BillingPeriod
from billing.prices import BillingModel, InvoiceCadence, PriceType, RoundMode, TierMode

Aggregation = Literal[
    "COUNT", "SUM", "AVG", "MAX", "MIN", "LATEST", "COUNT_UNIQUE", "SUM_WITH_MULTIPLIER", "WEIGHTED_SUM"
]
BucketSize = Literal["MINUTE", "15MIN", "30MIN", "HOUR", "3HOUR", "6HOUR", "12HOUR", "DAY", "WEEK", "MONTH"]
UsageReset = Literal["DAILY", "WEEKLY", "MONTHLY", "QUARTERLY", "HALF_YEARLY", "ANNUAL", "BILLING_PERIOD", "NEVER"]
PriceTypes = Literal["ALL", "USAGE", "FIXED"]


@dataclass(frozen=True, slots=True)
class AggregationPart:
    """How a meter folds its events."""

    type: Aggregation
    field: str | None = None
    expression: str | None = None
    multiplier: Decimal | None = None
    bucket_size: BucketSize | None = None
    group_by: str | None = None


@dataclass(frozen=True, slots=True)
class FilterPart:
    """A property and the texts that let an event count."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeterPart:
    """A meter."""

    key: str
    event_name: str
    aggregation: AggregationPart
    filters: tuple[FilterPart, ...] = ()
    reset_usage: Literal["BILLING_PERIOD", "NEVER"] = "BILLING_PERIOD"
    name: str = ""


@dataclass(frozen=True, slots=True)
class TierPart:
    """Units up to `up_to` (null: without end)."""

    unit_amount: Decimal
    up_to: Decimal | None = None
    flat_amount: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class TransformPart:
    """Packages."""

    divide_by: int
    round: RoundMode = RoundMode.up


@dataclass(frozen=True, slots=True)
class PriceUnitPart:
    """What a price in a custom unit charges."""

    price_unit: str
    amount: Decimal | None = None
    price_unit_tiers: tuple[TierPart, ...] = ()


@dataclass(frozen=True, slots=True)
class PricePart:
    """A price. Without a period it has the subscription's; `meter` is a meter's key."""

    key: str
    type: PriceType
    billing_model: BillingModel
    invoice_cadence: InvoiceCadence | None = None
    amount: Decimal | None = None
    tier_mode: TierMode | None = None
    tiers: tuple[TierPart, ...] = ()
    transform_quantity: TransformPart | None = None
    meter: str | None = None
    billing_period: BillingPeriod | None = None
    billing_period_count: int | None = None
    min_quantity: Decimal | None = None
    maximum_amount: Decimal | None = None
    trial_period_days: int | None = None
    display_name: str = ""
    price_unit_type: Literal["FIAT", "CUSTOM"] = "FIAT"
    price_unit_config: PriceUnitPart | None = None


@dataclass(frozen=True, slots=True)
class EntitlementPart:
    """What a plan or an add-on includes of a meter; no limit means unlimited."""

    meter: str
    key: str | None = None
    usage_limit: int | None = None
    usage_reset_period: UsageReset = "BILLING_PERIOD"
    is_soft_limit: bool = False
    is_enabled: bool = True


@dataclass(frozen=True, slots=True)
class EntitlementOverridePart:
    """The subscription's own limit in place of its plan's and add-ons'."""

    meter: str
    usage_limit: int | None = None
    usage_reset_period: UsageReset = "BILLING_PERIOD"
    is_enabled: bool = True


@dataclass(frozen=True, slots=True)
class CreditGrantPart:
    """Credits that come with a plan, an add-on or a subscription."""

    key: str
    credits: Decimal
    cadence: Literal["ONETIME", "RECURRING"]
    period: BillingPeriod | None = None
    period_count: int = 1
    expiration_type: Literal["NEVER", "DURATION", "BILLING_CYCLE"] = "NEVER"
    expiration_duration: int | None = None
    expiration_duration_unit: Literal["DAY", "WEEK", "MONTH", "YEAR"] | None = None
    priority: int | None = None
    conversion_rate: Decimal | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class PlanPart:
    """A plan."""

    key: str
    prices: tuple[PricePart, ...] = ()
    entitlements: tuple[EntitlementPart, ...] = ()
    credit_grants: tuple[CreditGrantPart, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class AddonPart:
    """An add-on."""

    key: str
    prices: tuple[PricePart, ...] = ()
    entitlements: tuple[EntitlementPart, ...] = ()
    credit_grants: tuple[CreditGrantPart, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class CouponPart:
    """A coupon."""

    key: str
    type: Literal["fixed", "percentage"]
    cadence: Literal["once", "repeated", "forever"]
    amount_off: Decimal | None = None
    percentage_off: Decimal | None = None
    duration_in_periods: int | None = None
    currency: str | None = None
    redeem_after: datetime | None = None
    redeem_before: datetime | None = None
    max_redemptions: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class TaxRatePart:
    """A tax rate."""

    key: str
    type: Literal["percentage", "fixed"]
    percentage_value: Decimal | None = None
    fixed_value: Decimal | None = None
    inclusive: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class AutoTopUpPart:
    """When a wallet is filled by itself; `threshold` and `amount` are money, `cooldown` is in seconds."""

    threshold: Decimal
    amount: Decimal
    invoicing: bool = False
    cooldown: int = 0
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class AlertThresholdPart:
    """A balance (money) that raises an alert."""

    threshold: Decimal
    condition: AlertCondition = AlertCondition.below


@dataclass(frozen=True, slots=True)
class AlertSettingsPart:
    """Which balances of a wallet raise which alert."""

    critical: AlertThresholdPart | None = None
    warning: AlertThresholdPart | None = None
    info: AlertThresholdPart | None = None
    alert_enabled: bool = True


@dataclass(frozen=True, slots=True)
class WalletPart:
    """A wallet of the customer's, in the scenario's currency. Without price types: USAGE for PRE_PAID, else ALL."""

    key: str
    wallet_type: Literal["PRE_PAID", "POST_PAID"] = "PRE_PAID"
    conversion_rate: Decimal = Decimal(1)
    initial_credits: Decimal = ZERO
    initial_credits_expiry_date_utc: datetime | None = None
    allowed_price_types: tuple[PriceTypes, ...] = ()
    name: str = ""
    topup_conversion_rate: Decimal | None = None
    auto_topup: AutoTopUpPart | None = None
    alert_settings: AlertSettingsPart | None = None


@dataclass(frozen=True, slots=True)
class PriceUnitDefinition:
    """A custom price unit: one of it is `conversion_rate` of `base_currency`."""

    key: str
    conversion_rate: Decimal
    base_currency: str | None = None
    symbol: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class PriceOverridePart:
    """What a subscription pays instead of the plan's price."""

    amount: Decimal | None = None
    tiers: tuple[TierPart, ...] | None = None
    billing_model: BillingModel | None = None
    tier_mode: TierMode | None = None
    transform_quantity: TransformPart | None = None


Properties = Mapping[str, Any]
