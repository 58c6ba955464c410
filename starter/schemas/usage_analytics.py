"""Usage analytics on the wire: flexprice.md section 3.2, POST /v1/events/analytics."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from activities.usage_analytics import UsageItem, UsageQuestion
from billing.errors import Invalid
from billing.meters import Filter
from billing.money import total
from billing.periods import Period
from models.clickhouse.meter_query import PROPERTY, SOURCE
from models.scope import Scope
from starter.schemas.usage import UsageRequest
from starter.schemas.wire import Answer, DecimalOut, Ids, InstantOut, Name, ShortText

FEATURE: Final = "feature_id"


class UsageAnalyticsRequest(UsageRequest):
    """One customer's usage by feature, further split by `group_by`: source, or properties.NAME."""

    absent: ClassVar[dict[str, str]] = {
        "include_children": "customers have no children",
        "breakdown_bucket": "ask for a window_size",
        "bucket_size": "buckets are those of the meters",
    }
    external_customer_id: Name
    feature_ids: Ids | None = None
    sources: Ids = Field(default=[])
    group_by: Annotated[list[ShortText], Field(max_length=5)] = Field(default=[], examples=[["properties.model"]])
    property_filters: Annotated[
        dict[ShortText, Annotated[list[ShortText], Field(min_length=1, max_length=1000)]], Field(max_length=50)
    ] = Field(default={})

    def question(self, scope: Scope, period: Period, zone: str) -> UsageQuestion:
        """The question for the reader. Raises Invalid."""
        groups = [name for name in dict.fromkeys(self.group_by) if name != FEATURE]  # features are always apart
        for name in groups:
            if name != SOURCE and not (name.startswith(PROPERTY) and name != PROPERTY):
                known = f"{SOURCE}, {FEATURE} or {PROPERTY}NAME"
                raise Invalid(f"group_by must name {known}; got {name!r}", field="group_by")
        filters = tuple(Filter(key, tuple(values)) for key, values in self.property_filters.items())
        return UsageQuestion(
            scope,
            self.external_customer_id,
            period,
            tuple(self.feature_ids) if self.feature_ids else None,
            tuple(self.sources),
            tuple(groups),
            filters,
            self.window(period, zone),
            zone,
            self.billing_anchor,
        )


class PointAnswer(Answer):
    """One window: its start, the usage in it, from how many events, and its share of the cost."""

    timestamp: InstantOut
    usage: DecimalOut
    event_count: int
    cost: DecimalOut | None = None


class UsageItemAnswer(Answer):
    """One feature, or one group of it."""

    feature_id: str
    name: str
    event_name: str
    meter_id: str
    unit: str
    unit_plural: str
    aggregation_type: str
    total_usage: DecimalOut
    event_count: int
    source: str | None = None
    properties: dict[str, str] | None = None
    price_id: str | None = None
    sub_line_item_id: str | None = None
    subscription_id: str | None = None
    total_cost: DecimalOut | None = None
    currency: str | None = None
    points: list[PointAnswer] | None = None

    @classmethod
    def of(cls, item: UsageItem, group_by: Sequence[str], windows: bool) -> "UsageItemAnswer":
        """The item on the wire."""
        groups = dict(zip(group_by, item.groups, strict=True))
        source = groups.pop(SOURCE, None)
        line, price = item.line or (None, None)
        costs = item.point_costs or (None,) * len(item.points)
        points = [
            PointAnswer(timestamp=start, usage=usage.quantity, event_count=usage.event_count, cost=cost)
            for (start, usage), cost in zip(item.points, costs, strict=True)
        ]
        return cls(
            feature_id=item.feature.id,
            name=item.feature.name,
            event_name=item.meter.event_name,
            meter_id=item.meter.id,
            unit=item.feature.unit_singular,
            unit_plural=item.feature.unit_plural,
            aggregation_type=item.meter.aggregation.value,
            total_usage=item.usage.quantity,
            event_count=item.usage.event_count,
            source=source,
            properties={name.removeprefix(PROPERTY): value for name, value in groups.items()} or None,
            price_id=price.id if price else None,
            sub_line_item_id=line.id if line else None,
            subscription_id=line.subscription_id if line else None,
            total_cost=item.cost,
            currency=line.currency if line else None,
            points=points if windows else None,
        )


def analytics_body(items: Sequence[UsageItem], question: UsageQuestion) -> dict[str, Any]:
    """The items, and what they cost together where all that cost anything do so in one currency."""
    windows = question.window is not None
    body: dict[str, Any] = {"items": [UsageItemAnswer.of(item, question.group_by, windows) for item in items]}
    currencies = {item.line[0].currency for item in items if item.line is not None}
    if len(currencies) > 1:
        return body
    cost = total(item.cost or Decimal(0) for item in items)
    return {"total_cost": cost, "currency": min(currencies, default=""), **body}
