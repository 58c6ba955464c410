"""Prices on the wire."""

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from babel.numbers import format_currency
from pydantic import Field

from activities.prices import NewPrice, PriceChange
from billing.periods import BillingPeriod
from billing.prices import BillingModel, InvoiceCadence, PriceType, RoundMode, Tier, TierMode, TransformQuantity
from models.queries.catalog import PriceFilter
from models.tables import PriceRow
from starter.schemas.wire import (
    Changes,
    Currency,
    DecimalIn,
    DecimalOut,
    EntityAnswer,
    Ids,
    Instant,
    InstantOut,
    ListParams,
    Metadata,
    Name,
    Request,
    SearchParams,
    ShortText,
    Text,
    entity_columns,
)

BULK_MAX = 100
TIERS_MAX = 1000
Count = Annotated[int, Field(ge=1, le=1000)]


class TierBody(Request):
    """Units up to and including `up_to` (left out: the last tier) at `unit_amount` each, plus `flat_amount`."""

    up_to: DecimalIn | None = None
    unit_amount: DecimalIn
    flat_amount: DecimalIn = Decimal(0)

    def value(self) -> Tier:
        """The tier for billing."""
        return Tier(self.up_to, self.unit_amount, self.flat_amount)


class TransformQuantityBody(Request):
    """Packages of `divide_by` units; a started one counts (`up`) or does not (`down`)."""

    divide_by: Annotated[int, Field(le=2**31 - 1)] = 1
    round: RoundMode = RoundMode.up


Tiers = Annotated[list[TierBody], Field(max_length=TIERS_MAX)]


class CreatePriceRequest(Request):
    """A new price of a plan: FLAT_FEE, PACKAGE (with `transform_quantity`) or TIERED (with `tier_mode`, `tiers`)."""

    absent: ClassVar[dict[str, str]] = {
        "bucket_size": "usage is not priced in buckets",
        "filter_values": "the meter's own filters say what counts",
        "group_id": "prices are not grouped",
        "price_unit_config": "prices are in a currency",
        "trial_period_days": "there are no trials",
        "maximum_amount": "lines are not capped",
    }
    type: PriceType
    entity_type: Literal["PLAN"]
    entity_id: Name
    currency: Currency
    billing_model: BillingModel
    billing_period: BillingPeriod
    billing_period_count: Count = 1
    billing_cadence: Literal["RECURRING"] = "RECURRING"
    invoice_cadence: InvoiceCadence
    price_unit_type: Literal["FIAT"] = "FIAT"
    amount: DecimalIn | None = None
    tier_mode: TierMode | None = None
    tiers: Tiers = Field(default=[])
    transform_quantity: TransformQuantityBody | None = None
    meter_id: ShortText | None = None
    min_quantity: DecimalIn | None = None
    start_date: Instant | None = None
    end_date: Instant | None = None
    lookup_key: ShortText = ""
    display_name: ShortText = ""
    description: Text = ""
    metadata: Metadata = Field(default={})

    def new_price(self) -> NewPrice:
        """The price for the command."""
        return NewPrice(
            type=self.type,
            entity_id=self.entity_id,
            currency=self.currency,
            billing_model=self.billing_model,
            billing_period=self.billing_period,
            invoice_cadence=self.invoice_cadence,
            billing_period_count=self.billing_period_count,
            amount=self.amount,
            tier_mode=self.tier_mode,
            tiers=tuple(tier.value() for tier in self.tiers),
            transform_quantity=transform_of(self.transform_quantity, self.billing_model),
            meter_id=self.meter_id or None,
            min_quantity=self.min_quantity,
            lookup_key=self.lookup_key,
            display_name=self.display_name,
            description=self.description,
            metadata=self.metadata,
            start_date=self.start_date,
            end_date=self.end_date,
        )


class CreatePricesRequest(Request):
    """Up to 100 prices, created together or not at all."""

    items: Annotated[list[CreatePriceRequest], Field(min_length=1, max_length=BULK_MAX)]


class UpdatePriceRequest(Changes):
    """Names change in place; another amount makes a new price, in force from `effective_from` (else now)."""

    absent: ClassVar[dict[str, str]] = {
        "price_unit_amount": "prices are in a currency",
        "price_unit_tiers": "prices are in a currency",
        "bucket_size": "usage is not priced in buckets",
        "group_id": "prices are not grouped",
    }
    amount: DecimalIn | None = None
    billing_model: BillingModel | None = None
    tier_mode: TierMode | None = None
    tiers: Tiers | None = None
    transform_quantity: TransformQuantityBody | None = None
    effective_from: Instant | None = None
    lookup_key: ShortText | None = None
    display_name: ShortText | None = None
    description: Text | None = None
    metadata: Metadata | None = None

    def change(self) -> PriceChange:
        """The change for the command."""
        given = self.given(skip=("tiers", "transform_quantity"))
        transform = self.transform_quantity
        return PriceChange(
            **given,
            tiers=None if self.tiers is None else tuple(tier.value() for tier in self.tiers),
            transform_quantity=None if transform is None else TransformQuantity(transform.divide_by, transform.round),
        )


class DeletePriceRequest(Request):
    """When the price ends; now where left out."""

    end_date: Instant | None = None


class PriceAnswer(EntityAnswer):
    """A price."""

    type: str
    entity_type: str
    entity_id: str
    currency: str
    amount: DecimalOut
    display_amount: str
    billing_model: str
    tier_mode: str | None
    tiers: list[dict[str, Any]] | None
    transform_quantity: dict[str, Any]
    billing_period: str
    billing_period_count: int
    billing_cadence: str
    invoice_cadence: str
    price_unit_type: str
    meter_id: str | None
    meter: dict[str, Any] | None = None
    min_quantity: DecimalOut | None
    trial_period_days: int = 0
    lookup_key: str
    display_name: str
    description: str
    metadata: dict[str, str]
    parent_price_id: str | None
    start_date: InstantOut | None
    end_date: InstantOut | None

    @classmethod
    def of(cls, row: PriceRow, meter: dict[str, Any] | None = None) -> "PriceAnswer":
        """The row on the wire, with its meter where that was asked for."""
        same = {name: getattr(row, name) for name in _SAME_NAME}
        return cls(
            **entity_columns(row),
            **same,
            display_amount=display_amount(row.amount, row.currency),
            tiers=[_tier_answer(tier) for tier in row.tiers] if row.tiers else None,
            transform_quantity=row.transform_quantity or {"divide_by": 1},
            metadata=row.price_metadata,
            meter=meter,
        )


_SAME_NAME = (
    "type", "entity_type", "entity_id", "currency", "amount", "billing_model", "tier_mode", "billing_period",
    "billing_period_count", "billing_cadence", "invoice_cadence", "price_unit_type", "meter_id", "min_quantity",
    "lookup_key", "display_name", "description", "parent_price_id", "start_date", "end_date",
)  # fmt: skip


class PriceListParams(ListParams):
    """Filters of GET /prices."""

    entity_type: ShortText | None = None
    entity_id: ShortText | None = None

    def wanted(self) -> PriceFilter:
        """The filter for the query."""
        return PriceFilter(entity_type=self.entity_type, entity_ids=[self.entity_id] if self.entity_id else None)


class PriceSearch(SearchParams):
    """Filters of POST /prices/search."""

    absent: ClassVar[dict[str, str]] = {"subscription_id": "list the line items of a subscription by GET instead"}
    price_ids: Ids | None = None
    plan_ids: Ids | None = None
    entity_type: ShortText | None = None
    entity_ids: Ids | None = None
    meter_ids: Ids | None = None
    billing_periods: Ids | None = None
    parent_price_id: ShortText | None = None

    def wanted(self) -> PriceFilter:
        """The filter for the query."""
        named = [*(self.plan_ids or []), *(self.entity_ids or [])]
        entity_ids = None if self.plan_ids is None and self.entity_ids is None else named
        return PriceFilter(
            self.price_ids, self.entity_type, entity_ids, self.meter_ids, self.billing_periods, self.parent_price_id
        )


def transform_of(body: TransformQuantityBody | None, model: BillingModel) -> TransformQuantity | None:
    """Packages for billing. Packages of 1, which the reference stores with every price, mean nothing elsewhere."""
    if body is None or (model is not BillingModel.PACKAGE and body.divide_by == 1):
        return None
    return TransformQuantity(body.divide_by, body.round)


def display_amount(amount: Decimal, currency: str) -> str:
    """The amount for people, with all its digits: "$10.00", "$0.0015"."""
    return str(format_currency(amount, currency.upper(), locale="en_US", decimal_quantization=False))


def _tier_answer(stored: dict[str, Any]) -> dict[str, Any]:
    """A tier; `up_to` is a number where it is whole, as in the reference, else decimal text."""
    up_to = stored["up_to"]
    bound = int(up_to) if up_to is not None and up_to.isdecimal() else up_to
    return {**stored, "up_to": bound}
