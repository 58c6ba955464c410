"""Usage on the wire. Quantities are JSON numbers here, as in the reference, written with all their digits."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from activities.subscription_usage import SubscriptionUsage, UsageCharge
from activities.usage_reader import meter_of
from billing.errors import Invalid
from billing.meters import Meter, UsageQuantity, parse_aggregation
from billing.periods import Period, zone_info
from models.clickhouse.event_query import EventPage, EventQuery, StoredEvent
from models.clickhouse.meter_query import PROPERTY
from models.clickhouse.usage import BucketedUsage
from models.clickhouse.windows import Window, parse_window_size
from models.scope import Scope
from starter.schemas.prices import PriceAnswer, display_amount
from starter.schemas.wire import Answer, DecimalIn, Instant, InstantOut, Name, NumberOut, Request, ShortText, Text

KEY_LENGTH = 8192
DEFAULT_RANGE = timedelta(days=7)
FilterValues = dict[ShortText, Annotated[list[Text], Field(min_length=1, max_length=1000)]]


class UsageRequest(Request):
    """What usage questions share: whose usage, when, and in which windows; these are cut in the customer's time zone,
    unless `timezone` names another.
    """

    customer_id: ShortText | None = None
    external_customer_id: ShortText | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None
    window_size: ShortText | None = None
    bucket_size: ShortText | None = None
    filters: Annotated[FilterValues, Field(max_length=50)] = Field(default={})
    billing_anchor: Instant | None = None
    timezone: ShortText | None = None

    def period(self, now: datetime) -> Period:
        """[start_time, end_time); the seven days before `now` where they are left out."""
        end = self.end_time or now
        start = self.start_time or end - DEFAULT_RANGE
        if end < start:
            raise Invalid("end_time must not lie before start_time", field="end_time")
        return Period(start, end)

    def zone(self, customers: str) -> str:
        """The time zone that is asked for, else the customer's. Raises Invalid for an unknown one."""
        return zone_info(self.timezone or customers).key

    def window(self, period: Period, zone: str) -> Window | None:
        """The windows that are asked for; with `billing_anchor`, MONTH windows are the billing months."""
        if self.window_size is None:
            return None
        window = Window(parse_window_size(self.window_size), zone, self.billing_anchor)
        window.check(period)
        return window

    def bucketed(self, meter: Meter) -> Meter:
        """`meter` with the buckets that are asked for. Raises Invalid for others than it has."""
        if self.bucket_size is None:
            return meter
        size = parse_window_size(self.bucket_size, "bucket_size")
        if meter.bucket_size not in (None, size):
            raise Invalid(f"bucket_size must be absent, or the meter's own {meter.bucket_size}", field="bucket_size")
        return replace(meter, bucket_size=size)


class GetUsageRequest(UsageRequest):
    """Usage by event name and aggregation; without `property_name` events are counted.

    With `bucket_size` (SUM, MAX) each bucket by itself, with `group_by` (MAX) each value of a property in it.
    """

    event_name: Name
    aggregation_type: ShortText
    property_name: ShortText | None = None
    multiplier: DecimalIn | None = None
    group_by: Annotated[list[ShortText], Field(max_length=1)] = Field(default=[], examples=[["properties.node"]])
    group_by_property: ShortText | None = None

    def meter(self) -> Meter:
        """The meter that the question means. Raises Invalid naming the field of the question."""
        kind = parse_aggregation(self.aggregation_type)
        try:
            asked = meter_of(self.event_name, kind, self.property_name, self.filters, self.multiplier)
            return replace(self.bucketed(asked), group_by=self._group())
        except Invalid as error:
            field = (error.field or "").removeprefix("aggregation.")
            raise Invalid(error.message.replace("aggregation.", ""), field) from error

    def _group(self) -> str | None:
        named = self.group_by[0] if self.group_by else None
        if named is None:
            return self.group_by_property
        if not named.startswith(PROPERTY) or named == PROPERTY:
            raise Invalid(f"group_by must name {PROPERTY}NAME; got {named!r}", field="group_by")
        return named.removeprefix(PROPERTY)


class GetUsageByMeterRequest(UsageRequest):
    """Usage by meter; `filters` narrow the meter's own."""

    meter_id: Name


class GetUsageBySubscriptionRequest(Request):
    """A subscription's usage in money; the current period where the times are left out."""

    absent: ClassVar[dict[str, str]] = {"lifetime_usage": "name start_time and end_time"}
    subscription_id: Name
    start_time: Instant | None = None
    end_time: Instant | None = None


class UsageResult(Answer):
    """One window: its start, and the quantity in it."""

    numbers: ClassVar[frozenset[str]] = frozenset({"value"})
    window_size: InstantOut
    value: NumberOut


class UsageAnswer(Answer):
    """A quantity, or one for each window that has events. A quantity of 0 is left out, as in the reference."""

    numbers: ClassVar[frozenset[str]] = frozenset({"value"})
    event_name: str
    type: str
    value: NumberOut | None = None
    results: list[UsageResult] | None = None

    @classmethod
    def total(cls, meter: Meter, usage: UsageQuantity) -> "UsageAnswer":
        """One quantity."""
        return cls(event_name=meter.event_name, type=meter.aggregation.value, value=usage.quantity or None)

    @classmethod
    def bucketed(cls, meter: Meter, buckets: BucketedUsage, window: Window) -> "UsageAnswer":
        """The sum of all buckets, and by windows: a bucket belongs to the one in which it begins."""
        answer = cls.windowed(meter, buckets.in_windows(window))
        return answer.model_copy(update={"value": buckets.usage.quantity or None})

    @classmethod
    def windowed(cls, meter: Meter, windows: list[tuple[datetime, UsageQuantity]]) -> "UsageAnswer":
        """A quantity for each window."""
        results = [UsageResult(window_size=start, value=usage.quantity) for start, usage in windows]
        return cls(event_name=meter.event_name, type=meter.aggregation.value, results=results)


class ChargeAnswer(Answer):
    """What one usage line comes to."""

    numbers: ClassVar[frozenset[str]] = frozenset({"amount", "quantity"})
    subscription_line_item_id: str
    amount: NumberOut
    currency: str
    display_amount: str
    quantity: NumberOut
    filter_values: dict[str, list[str]]
    meter_id: str
    meter_display_name: str
    price: dict[str, Any]
    is_overage: bool = False

    @classmethod
    def of(cls, charge: UsageCharge, currency: str) -> "ChargeAnswer":
        """The charge on the wire."""
        return cls(
            subscription_line_item_id=charge.line.id,
            amount=charge.amount,
            currency=currency,
            display_amount=display_amount(charge.amount, currency),
            quantity=charge.quantity,
            filter_values={entry.key: list(entry.values) for entry in charge.meter.filters},
            meter_id=charge.meter.id,
            meter_display_name=charge.line.meter_display_name,
            price=PriceAnswer.of(charge.price).wire(),
            is_overage=charge.is_overage,
        )


class SubscriptionUsageAnswer(Answer):
    """A subscription's usage so far, in money, before taxes and without fixed prices."""

    numbers: ClassVar[frozenset[str]] = frozenset({"amount"})
    amount: NumberOut
    currency: str
    display_amount: str
    start_time: InstantOut
    end_time: InstantOut
    charges: list[ChargeAnswer]
    has_overage: bool = False

    @classmethod
    def of(cls, usage: SubscriptionUsage) -> "SubscriptionUsageAnswer":
        """The usage on the wire."""
        return cls(
            amount=usage.amount,
            currency=usage.currency,
            display_amount=display_amount(usage.amount, usage.currency),
            start_time=usage.period.start,
            end_time=usage.period.end,
            charges=[ChargeAnswer.of(charge, usage.currency) for charge in usage.charges],
            has_overage=any(charge.is_overage for charge in usage.charges),
        )


class EventsRequest(Request):
    """Which stored events, by pages of at most 50: newest first, or as `sort` and `order` say.

    `iter_last_key` of a page leads to what follows it, `iter_first_key` to what stands in front of it.
    """

    external_customer_id: ShortText | None = None
    event_name: ShortText | None = None
    event_id: ShortText | None = None
    source: ShortText | None = None
    property_filters: Annotated[FilterValues, Field(max_length=50)] = Field(default={})
    start_time: Instant | None = None
    end_time: Instant | None = None
    iter_first_key: Annotated[str, Field(max_length=KEY_LENGTH)] | None = None
    iter_last_key: Annotated[str, Field(max_length=KEY_LENGTH)] | None = None
    sort: Literal["timestamp", "event_name"] = "timestamp"
    order: Literal["asc", "desc"] = "desc"
    page_size: Annotated[int, Field(ge=1, le=50)] = 50
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    def query(self, scope: Scope, now: datetime) -> EventQuery:
        """The query; the seven days before `now` where the times are left out."""
        end = self.end_time or now
        return EventQuery(
            scope.tenant_id,
            scope.environment_id,
            self.start_time or end - DEFAULT_RANGE,
            end,
            self.external_customer_id,
            self.event_name,
            self.event_id,
            self.source,
            {key: tuple(values) for key, values in self.property_filters.items()},
            self.iter_last_key,
            self.iter_first_key,
            self.offset,
            self.page_size,
            self.sort == "event_name",
            self.order == "asc",
        )


class EventAnswer(Answer):
    """One stored event."""

    id: str
    external_customer_id: str
    event_name: str
    timestamp: InstantOut
    properties: dict[str, Any]
    source: str
    environment_id: str

    @classmethod
    def of(cls, event: StoredEvent, environment_id: str) -> "EventAnswer":
        """The event on the wire."""
        return cls(
            id=event.event_id,
            external_customer_id=event.external_customer_id,
            event_name=event.event_name,
            timestamp=event.timestamp,
            properties=_numbers_as_text(event.properties),
            source=event.source,
            environment_id=environment_id,
        )


def events_body(page: EventPage, scope: Scope, offset: int) -> dict[str, Any]:
    """A page of events with the key that continues it."""
    body: dict[str, Any] = {
        "events": [EventAnswer.of(event, scope.environment_id) for event in page.events],
        "has_more": page.more,
        "total_count": page.total,
        "offset": offset,
    }
    if page.first_key is not None:
        body["iter_first_key"] = page.first_key
    return body if page.next_key is None else {**body, "iter_last_key": page.next_key}


def _numbers_as_text(properties: dict[str, Any]) -> dict[str, Any]:
    """Properties as they were sent; a number with a point is shown as text, so that no digit is lost on the way."""
    return {key: str(value) if isinstance(value, Decimal) else value for key, value in properties.items()}
