"""Usage on the wire. Quantities are JSON numbers here, as in the reference, written with all their digits."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import Field

from activities.subscription_usage import SubscriptionUsage, UsageCharge
from activities.usage_reader import billing_window
from billing.errors import Invalid
from billing.meters import Meter, UsageQuantity
from billing.periods import Period, zone_info
from models.clickhouse.event_query import EventPage, EventQuery, StoredEvent
from models.clickhouse.windows import Window, WindowSize, parse_window_size
from models.scope import Scope
from starter.schemas.prices import PriceAnswer, display_amount
from starter.schemas.wire import Answer, Instant, InstantOut, Name, NumberOut, Request, ShortText, Text

DEFAULT_RANGE = timedelta(days=7)
WINDOWS_MAX = 50_000
_NO_BUCKETS = "meters have no buckets"
FilterValues = dict[ShortText, Annotated[list[Text], Field(min_length=1, max_length=1000)]]


class UsageRequest(Request):
    """What both usage questions share: whose usage, when, and in which windows."""

    absent: ClassVar[dict[str, str]] = {"bucket_size": _NO_BUCKETS}
    customer_id: ShortText | None = None
    external_customer_id: ShortText | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None
    window_size: ShortText | None = None
    filters: Annotated[FilterValues, Field(max_length=50)] = Field(default={})
    billing_anchor: Instant | None = None
    timezone: ShortText = "UTC"

    def period(self, now: datetime) -> Period:
        """[start_time, end_time); the seven days before `now` where they are left out."""
        end = self.end_time or now
        start = self.start_time or end - DEFAULT_RANGE
        if end < start:
            raise Invalid("end_time must not lie before start_time", field="end_time")
        return Period(start, end)

    def window(self, period: Period) -> Window | None:
        """The windows that are asked for; with `billing_anchor`, MONTH windows are the billing months."""
        zone_info(self.timezone)
        if self.window_size is None:
            return None
        size = parse_window_size(self.window_size)
        if size is WindowSize.MINUTE and period.end - period.start > timedelta(minutes=WINDOWS_MAX):
            raise Invalid(f"window_size MINUTE allows at most {WINDOWS_MAX} minutes at once", field="window_size")
        if size is WindowSize.MONTH and self.billing_anchor is not None:
            return billing_window(period, self.billing_anchor, self.timezone)
        return Window(size, self.timezone)


class GetUsageRequest(UsageRequest):
    """Usage by event name and aggregation; without `property_name` events are counted."""

    absent: ClassVar[dict[str, str]] = {
        "bucket_size": _NO_BUCKETS,
        "group_by": "usage is not grouped",
        "group_by_property": "usage is not grouped",
        "multiplier": "quantities are not multiplied",
    }
    event_name: Name
    aggregation_type: ShortText
    property_name: ShortText | None = None


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
        )


class EventsRequest(Request):
    """Which stored events; newest first, by pages of at most 50."""

    external_customer_id: ShortText | None = None
    event_name: ShortText | None = None
    event_id: ShortText | None = None
    source: ShortText | None = None
    property_filters: Annotated[FilterValues, Field(max_length=50)] = Field(default={})
    start_time: Instant | None = None
    end_time: Instant | None = None
    iter_last_key: ShortText | None = None
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
            self.offset,
            self.page_size,
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
        "has_more": page.next_key is not None,
        "total_count": page.total,
        "offset": offset,
    }
    return body if page.next_key is None else {**body, "iter_last_key": page.next_key}


def _numbers_as_text(properties: dict[str, Any]) -> dict[str, Any]:
    """Properties as they were sent; a number with a point is shown as text, so that no digit is lost on the way."""
    return {key: str(value) if isinstance(value, Decimal) else value for key, value in properties.items()}
