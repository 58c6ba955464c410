"""Subscriptions on the wire. Their answers are `activities/payloads`: webhooks carry the same."""

from collections.abc import Collection
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import AliasChoices, Field

from activities.new_subscriptions import NewSubscription
from activities.payment_methods import gateway_of
from billing.errors import Invalid
from models.queries.subscription_lists import SubscriptionFilter
from starter.schemas.wire import (
    Currency,
    DecimalIn,
    Ids,
    Instant,
    ListParams,
    Metadata,
    Name,
    Request,
    SearchParams,
    ShortText,
    Text,
    one_or_many,
)

NO_SCHEDULE = "subscriptions have no phases and no schedules"


class OverrideLineItem(Request):
    """Another quantity for one of the plan's fixed prices."""

    absent: ClassVar[dict[str, str]] = dict.fromkeys(
        ("amount", "billing_model", "tier_mode", "tiers", "transform_quantity", "price_unit_amount",
         "price_unit_tiers", "bucket_size"),
        "only the quantity can differ from the plan; create another price for another amount",
    )  # fmt: skip
    price_id: Name
    quantity: Annotated[DecimalIn, Field(ge=0)] | None = None


class CreateSubscriptionRequest(Request):
    """A new subscription: of a customer (by `customer_id` or `external_customer_id`) to a plan, in one currency.

    `start_date` defaults to now (on the customer's test clock, where there is one) and may lie in the future.
    `timezone` is ignored: it is always the customer's.
    """

    absent: ClassVar[dict[str, str]] = {
        "addons": "there are no add-ons",
        "checkout": "there are no checkout sessions",
        "commitment_amount": "there are no commitments",
        "commitment_duration": "there are no commitments",
        "coupons": "there are no coupons",
        "credit_grants": "there are no credit grants",
        "enable_true_up": "there are no commitments",
        "inheritance": "every subscription stands alone",
        "line_item_commitments": "there are no commitments",
        "line_item_coupons": "there are no coupons",
        "line_items": "the plan's prices are the line items",
        "override_entitlements": "there are no entitlements",
        "phases": NO_SCHEDULE,
        "subscription_coupons": "there are no coupons",
        "tax_rate_overrides": "attach tax rates to the customer, or by POST /v1/taxes/associations",
        "trial_period_days": "there are no trials",
    }
    customer_id: ShortText | None = None
    external_customer_id: ShortText | None = None
    plan_id: Name
    currency: Currency
    billing_period: ShortText
    billing_period_count: Annotated[int, Field(ge=1, le=1000)] = 1
    billing_cadence: Literal["RECURRING"] = "RECURRING"
    billing_cycle: ShortText = "anniversary"
    billing_anchor: Instant | None = None
    start_date: Instant | None = None
    end_date: Instant | None = None
    override_line_items: Annotated[list[OverrideLineItem], Field(max_length=1000)] = Field(default=[])
    gateway_payment_method_id: ShortText | None = None
    payment_gateway: ShortText | None = None
    proration_behavior: ShortText = "none"
    collection_method: ShortText = "charge_automatically"
    payment_behavior: Literal["default_active"] = "default_active"
    payment_terms: ShortText | None = None
    auto_invoice_threshold: DecimalIn | None = None
    subscription_status: Literal["active"] = "active"
    lookup_key: ShortText = ""
    metadata: Metadata = Field(default={})

    def new_subscription(self, customer_id: str, providers: Collection[str]) -> NewSubscription:
        """The subscription for the command. Raises Invalid for a price overridden twice, or an unknown provider."""
        return NewSubscription(
            customer_id=customer_id,
            plan_id=self.plan_id,
            currency=self.currency,
            billing_period=self.billing_period,
            billing_period_count=self.billing_period_count,
            billing_cycle=self.billing_cycle,
            billing_anchor=self.billing_anchor,
            start_date=self.start_date,
            end_date=self.end_date,
            quantities=self._quantities(),
            gateway_payment_method_id=self.gateway_payment_method_id,
            payment_gateway=gateway_of(self.gateway_payment_method_id, self.payment_gateway, providers),
            proration_behavior=self.proration_behavior,
            collection_method=self.collection_method,
            payment_terms=self.payment_terms,
            auto_invoice_threshold=self.auto_invoice_threshold,
            lookup_key=self.lookup_key,
            metadata=self.metadata,
        )

    def _quantities(self) -> dict[str, Decimal]:
        quantities: dict[str, Decimal] = {}
        for index, item in enumerate(self.override_line_items):
            if item.price_id in quantities:
                path = f"override_line_items[{index}].price_id"
                raise Invalid(f"{path} must name each price once; {item.price_id} came before", field=path)
            if item.quantity is not None:
                quantities[item.price_id] = item.quantity
        return quantities


class PaymentMethodRequest(Request):
    """The token by which a subscription's invoices are collected."""

    gateway_payment_method_id: Name
    payment_gateway: ShortText | None = None


class CancelSubscriptionRequest(Request):
    """Cancels at once or at the period's end. Final usage is billed unless the policy says `skip`.

    The reference spells the policy's name in two ways; both are understood.
    """

    cancellation_type: ShortText
    cancel_at: Instant | None = None
    proration_behavior: ShortText | None = None
    cancel_immediately_invoice_policy: Literal["generate_invoice", "skip"] = Field(
        default="generate_invoice",
        validation_alias=AliasChoices("cancel_immediately_invoice_policy", "cancel_immediately_inovice_policy"),
    )
    reason: Text = ""

    @property
    def final_usage(self) -> str:
        """`bill` or `skip`."""
        return "skip" if self.cancel_immediately_invoice_policy == "skip" else "bill"


class SubscriptionListParams(ListParams):
    """Filters of GET /subscriptions."""

    customer_id: ShortText | None = None
    external_customer_id: ShortText | None = None
    plan_id: ShortText | None = None
    subscription_status: list[ShortText] | None = None

    def wanted(self, customer_ids: list[str] | None) -> SubscriptionFilter:
        """The filter for the query."""
        return SubscriptionFilter(None, customer_ids, self.plan_id, self.subscription_status)


class SubscriptionSearch(SearchParams):
    """Filters of POST /subscriptions/search."""

    absent: ClassVar[dict[str, str]] = {
        "active_at": "filter by current_period_start and current_period_end",
        "invoicing_customer_ids": "customers pay for themselves",
        "parent_subscription_ids": "every subscription stands alone",
        "trial_end_due_lte": "there are no trials",
    }
    subscription_ids: Ids | None = None
    customer_id: ShortText | None = None
    customer_ids: Ids | None = None
    external_customer_id: ShortText | None = None
    plan_id: ShortText | None = None
    subscription_status: Ids | None = None
    billing_period: Ids | None = None
    with_line_items: bool = True

    def wanted(self, customer_ids: list[str] | None) -> SubscriptionFilter:
        """The filter for the query."""
        named = one_or_many(self.customer_id, self.customer_ids)
        both = named if customer_ids is None else customer_ids if named is None else sorted({*named} & {*customer_ids})
        return SubscriptionFilter(
            self.subscription_ids, both, self.plan_id, self.subscription_status, self.billing_period
        )
