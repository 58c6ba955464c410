"""The scenario document: who subscribes to what, what happens when, and how the provider answers.

Owns the fields of everything but the catalogue (billing.scenario.catalog_parts), with their defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from billing.dunning import DEFAULT_SCHEDULE_DAYS, DeclineKind, ExhaustedInvoice, ExhaustedSubscription
from billing.money import ZERO
from billing.periods import BillingCycle, BillingPeriod
from billing.prices import BillingModel, TierMode
from billing.scenario.catalog_parts import (
    AddonPart,
    CouponPart,
    CreditGrantPart,
    EntitlementOverridePart,
    MeterPart,
    PlanPart,
    PriceOverridePart,
    PriceUnitDefinition,
    Properties,
    TaxRatePart,
    TierPart,
    TransformPart,
    WalletPart,
)
from billing.subscriptions import FinalUsage
from billing.terms import ProrationBehavior

Instant = datetime
When = Literal["immediate", "end_of_period"]


@dataclass(frozen=True, slots=True)
class CustomerPart:
    """The customer; `timezone` is an IANA name."""

    external_id: str
    timezone: str = "UTC"
    name: str = ""


@dataclass(frozen=True, slots=True)
class SettingsPart:
    """The tenant's billing settings; its time zone is UTC."""

    due_date_days: int = 1
    finalization_delay_seconds: int = 7200
    proration_unit: Literal["second", "day"] = "second"
    late_usage: Literal["next_invoice", "credit_note", "ignore"] = "next_invoice"
    late_usage_periods: int = 2
    late_usage_days: int = 62
    dunning_days: tuple[int, ...] = DEFAULT_SCHEDULE_DAYS
    dunning_hour: int | None = None
    on_exhausted_invoice: ExhaustedInvoice = ExhaustedInvoice.uncollectible
    on_exhausted_subscription: ExhaustedSubscription = ExhaustedSubscription.keep


@dataclass(frozen=True, slots=True)
class CommitmentPart:
    """A commitment of the whole subscription, in its currency."""

    commitment_amount: Decimal
    commitment_duration: BillingPeriod | None = None
    overage_factor: Decimal = Decimal(1)
    enable_true_up: bool = False


@dataclass(frozen=True, slots=True)
class ClockTimePart:
    """A time of day in UTC."""

    hour: int
    minute: int = 0


@dataclass(frozen=True, slots=True)
class BucketPricePart:
    """What usage in a time-of-day bucket costs."""

    billing_model: BillingModel
    amount: Decimal | None = None
    tiers: tuple[TierPart, ...] = ()
    tier_mode: TierMode | None = None
    transform_quantity: TransformPart | None = None


@dataclass(frozen=True, slots=True)
class TimeBucketPart:
    """A commitment for a time of day."""

    start: ClockTimePart
    end: ClockTimePart
    commitment_type: Literal["amount", "quantity"]
    commitment_value: Decimal
    price: BucketPricePart | None = None
    overage_factor: Decimal = Decimal(1)
    true_up_enabled: bool = False


@dataclass(frozen=True, slots=True)
class LineCommitmentPart:
    """A commitment of one line, in money or in units."""

    commitment_type: Literal["amount", "quantity"]
    commitment_amount: Decimal | None = None
    commitment_quantity: Decimal | None = None
    commitment_duration: BillingPeriod | None = None
    overage_factor: Decimal = Decimal(1)
    enable_true_up: bool = False
    is_window_commitment: bool = False
    commitment_time_buckets: tuple[TimeBucketPart, ...] = ()


@dataclass(frozen=True, slots=True)
class SubscriptionAddonPart:
    """An add-on that the subscription starts with; quantities by price key."""

    addon: str
    quantities: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PhaseItemPart:
    """A price of the document that the subscription pays in one phase only."""

    price: str
    quantity: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PhasePart:
    """Terms of their own over [start_date, end_date)."""

    start_date: Instant
    end_date: Instant | None = None
    coupons: tuple[str, ...] = ()
    line_coupons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    price_overrides: Mapping[str, PriceOverridePart] = field(default_factory=dict)
    quantities: Mapping[str, Decimal] = field(default_factory=dict)
    line_items: tuple[PhaseItemPart, ...] = ()


@dataclass(frozen=True, slots=True)
class SubscriptionPart:
    """The subscription."""

    plan: str
    start_date: Instant
    billing_period: BillingPeriod = BillingPeriod.MONTHLY
    billing_period_count: int = 1
    billing_cycle: BillingCycle = BillingCycle.anniversary
    end_date: Instant | None = None
    trial_period_days: int = 0
    billing_anchor: Instant | None = None
    auto_invoice_threshold: Decimal | None = None
    proration_behavior: ProrationBehavior = ProrationBehavior.create_prorations
    quantities: Mapping[str, Decimal] = field(default_factory=dict)
    price_overrides: Mapping[str, PriceOverridePart] = field(default_factory=dict)
    addons: tuple[SubscriptionAddonPart, ...] = ()
    coupons: tuple[str, ...] = ()
    line_coupons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tax_rates: tuple[str, ...] = ()
    line_tax_rates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    commitment: CommitmentPart | None = None
    line_commitments: Mapping[str, LineCommitmentPart] = field(default_factory=dict)
    phases: tuple[PhasePart, ...] = ()
    credit_grants: tuple[CreditGrantPart, ...] = ()
    override_entitlements: tuple[EntitlementOverridePart, ...] = ()


@dataclass(frozen=True, slots=True)
class UsagePart:
    """Short for an event of `meter` whose field holds `quantity`."""

    meter: str
    at: Instant
    quantity: Decimal
    received_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class EventPart:
    """A usage event; without `received_at` it comes when it happens."""

    event_name: str
    timestamp: Instant
    event_id: str | None = None
    received_at: Instant | None = None
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PaymentAnswer:
    """What the provider says to one attempt."""

    outcome: Literal["succeeded", "declined", "requires_action", "unknown"]
    kind: DeclineKind | None = None


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """do: change_plan"""

    at: Instant
    plan: str
    when: When | None = None
    quantities: Mapping[str, Decimal] = field(default_factory=dict)
    billing_period: BillingPeriod | None = None
    billing_period_count: int | None = None
    proration_behavior: ProrationBehavior | None = None


@dataclass(frozen=True, slots=True)
class ChangeQuantity:
    """do: change_quantity"""

    at: Instant
    price: str
    quantity: Decimal
    when: When | None = None


@dataclass(frozen=True, slots=True)
class AddAddon:
    """do: add_addon"""

    at: Instant
    addon: str
    quantities: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RemoveAddon:
    """do: remove_addon"""

    at: Instant
    addon: str


@dataclass(frozen=True, slots=True)
class Pause:
    """do: pause"""

    at: Instant


@dataclass(frozen=True, slots=True)
class Resume:
    """do: resume"""

    at: Instant


@dataclass(frozen=True, slots=True)
class Cancel:
    """do: cancel"""

    at: Instant
    type: Literal["immediate", "end_of_period", "scheduled"]
    cancel_at: Instant | None = None
    proration_behavior: ProrationBehavior | None = None
    final_usage: FinalUsage = FinalUsage.bill


@dataclass(frozen=True, slots=True)
class TopUp:
    """do: top_up"""

    at: Instant
    wallet: str
    credits: Decimal
    expiry_date_utc: Instant | None = None
    priority: int | None = None
    transaction_reason: Literal["PURCHASED_CREDIT_DIRECT", "PURCHASED_CREDIT_INVOICED", "FREE_CREDIT_GRANT"] = (
        "PURCHASED_CREDIT_DIRECT"
    )
    bonus_credits_to_add: Decimal = ZERO
    bonus_credits_expiry_date_utc: Instant | None = None


@dataclass(frozen=True, slots=True)
class Debit:
    """do: debit"""

    at: Instant
    wallet: str
    credits: Decimal


@dataclass(frozen=True, slots=True)
class TerminateWallet:
    """do: terminate_wallet"""

    at: Instant
    wallet: str


@dataclass(frozen=True, slots=True)
class ApplyCoupon:
    """do: apply_coupon; with `price` on that line, else on the whole invoice."""

    at: Instant
    coupon: str
    price: str | None = None


@dataclass(frozen=True, slots=True)
class CreditNote:
    """do: credit_note; `invoice` is its place in the result's list."""

    at: Instant
    invoice: int
    type: Literal["ADJUSTMENT", "REFUND"]
    amount: Decimal


@dataclass(frozen=True, slots=True)
class VoidInvoice:
    """do: void_invoice"""

    at: Instant
    invoice: int


@dataclass(frozen=True, slots=True)
class Pay:
    """do: pay, money received outside the provider"""

    at: Instant
    invoice: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class AddPaymentMethod:
    """do: add_payment_method; the payment method that is charged from here on"""

    at: Instant


@dataclass(frozen=True, slots=True)
class VoidEvent:
    """do: void_event"""

    at: Instant
    event_id: str


@dataclass(frozen=True, slots=True)
class AmendEvent:
    """do: amend_event"""

    at: Instant
    event_id: str
    properties: Properties


Action = (
    ChangePlan | ChangeQuantity | AddAddon | RemoveAddon | Pause | Resume | Cancel | TopUp | Debit | TerminateWallet
    | ApplyCoupon | CreditNote | VoidInvoice | Pay | AddPaymentMethod | VoidEvent | AmendEvent
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scenario:
    """A customer's whole story. `actions` and `payments` are in the document's order."""

    customer: CustomerPart
    plans: tuple[PlanPart, ...]
    subscription: SubscriptionPart
    until: Instant
    name: str = ""
    currency: str = "usd"
    meters: tuple[MeterPart, ...] = ()
    addons: tuple[AddonPart, ...] = ()
    coupons: tuple[CouponPart, ...] = ()
    tax_rates: tuple[TaxRatePart, ...] = ()
    price_units: tuple[PriceUnitDefinition, ...] = ()
    wallets: tuple[WalletPart, ...] = ()
    settings: SettingsPart = field(default_factory=SettingsPart)
    usage: tuple[UsagePart, ...] = ()
    events: tuple[EventPart, ...] = ()
    actions: tuple[Action, ...] = ()
    payments: tuple[PaymentAnswer, ...] = ()
