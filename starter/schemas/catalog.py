"""Meters, features and plans on the wire."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from activities.catalog import FeatureChange, MeterFilter, NewFeature, NewMeter, NewPlan, PlanChange
from billing.expressions.parsing import LENGTH_MAX
from models.queries.catalog import FeatureFilter
from models.tables import FeatureRow, MeterRow, PlanRow, PriceRow
from starter.schemas.prices import PriceAnswer
from starter.schemas.wire import (
    Answer,
    Changes,
    DecimalIn,
    EntityAnswer,
    Ids,
    InstantOut,
    ListParams,
    Metadata,
    Name,
    Request,
    SearchParams,
    ShortText,
    Text,
    entity_columns,
    one_or_many,
)

Order = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]


class MeterFilterBody(Request):
    """Events count whose property `key`, as text, is one of `values`."""

    key: Name
    values: Annotated[list[Text], Field(min_length=1, max_length=1000)]

    def value(self) -> MeterFilter:
        """The filter for the command."""
        return MeterFilter(self.key, tuple(self.values))


class AggregationBody(Request):
    """How a period's events fold into one quantity: a count, or a sum, mean, extreme or level of `field`.

    A CEL `expression` over the properties may stand in place of the field (SUM, AVG, MAX, LATEST). `multiplier` is for
    SUM_WITH_MULTIPLIER and expressions. With `bucket_size` (SUM, MAX) each bucket is measured and priced by itself, in
    the customer's time zone; with `group_by` (MAX) each value of that property within it as well.
    """

    type: ShortText
    field: ShortText | None = None
    expression: Annotated[str, Field(max_length=LENGTH_MAX)] | None = None
    multiplier: DecimalIn | None = None
    bucket_size: ShortText | None = None
    group_by: ShortText | None = None


MeterFilters = Annotated[list[MeterFilterBody], Field(max_length=100)]


class CreateMeterRequest(Request):
    """A new meter."""

    name: Name
    event_name: Name
    aggregation: AggregationBody
    filters: MeterFilters = Field(default=[])
    reset_usage: ShortText = "BILLING_PERIOD"

    def new_meter(self) -> NewMeter:
        """The meter for the command."""
        return NewMeter(
            name=self.name,
            event_name=self.event_name,
            aggregation=self.aggregation.type,
            field=self.aggregation.field,
            filters=tuple(entry.value() for entry in self.filters),
            reset_usage=self.reset_usage,
            multiplier=self.aggregation.multiplier,
            expression=self.aggregation.expression,
            bucket_size=self.aggregation.bucket_size,
            group_by=self.aggregation.group_by,
        )


class UpdateMeterRequest(Request):
    """The filters are all that can change about a meter."""

    filters: MeterFilters

    def new_filters(self) -> tuple[MeterFilter, ...]:
        """The filters for the command."""
        return tuple(entry.value() for entry in self.filters)


class MeterAnswer(Answer):
    """A meter."""

    id: str
    name: str
    event_name: str
    aggregation: dict[str, Any]
    filters: list[dict[str, Any]]
    reset_usage: str
    tenant_id: str
    environment_id: str
    status: str
    created_at: InstantOut
    updated_at: InstantOut

    @classmethod
    def of(cls, row: MeterRow) -> "MeterAnswer":
        """The row on the wire."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class MeterListParams(ListParams):
    """Filters of GET /meters."""

    event_name: ShortText | None = None


class ReportingUnit(Request):
    """A unit for people: shown value = quantity x conversion_rate."""

    unit_singular: Name
    unit_plural: Name
    conversion_rate: Annotated[DecimalIn, Field(gt=0)]


class CreateFeatureRequest(Request):
    """A new feature; a metered one names its meter (`meter_id`) or brings a new one (`meter`)."""

    absent: ClassVar[dict[str, str]] = {
        "group_id": "features are not grouped",
        "alert_settings": "features have no alerts",
    }
    name: Name
    type: ShortText
    lookup_key: ShortText = ""
    description: Text = ""
    meter_id: ShortText | None = None
    meter: CreateMeterRequest | None = None
    unit_singular: ShortText = ""
    unit_plural: ShortText = ""
    reporting_unit: ReportingUnit | None = None
    metadata: Metadata = Field(default={})

    def new_feature(self) -> NewFeature:
        """The feature for the command."""
        return NewFeature(
            name=self.name,
            type=self.type,
            lookup_key=self.lookup_key,
            description=self.description,
            meter_id=self.meter_id or None,
            meter=self.meter.new_meter() if self.meter else None,
            unit_singular=self.unit_singular,
            unit_plural=self.unit_plural,
            reporting_unit=_reporting_unit(self.reporting_unit),
            metadata=self.metadata,
        )


class UpdateFeatureRequest(Changes):
    """Fields to change; `filters` changes the feature's meter."""

    absent: ClassVar[dict[str, str]] = CreateFeatureRequest.absent
    name: Name | None = None
    description: Text | None = None
    unit_singular: ShortText | None = None
    unit_plural: ShortText | None = None
    reporting_unit: ReportingUnit | None = None
    metadata: Metadata | None = None
    filters: MeterFilters | None = None

    def change(self) -> FeatureChange:
        """The change for the command."""
        given = self.given(skip=("filters", "reporting_unit"))
        filters = None if self.filters is None else tuple(entry.value() for entry in self.filters)
        return FeatureChange(**given, filters=filters, reporting_unit=_reporting_unit(self.reporting_unit))


def _reporting_unit(unit: ReportingUnit | None) -> dict[str, Any] | None:
    return None if unit is None else {**unit.model_dump(), "conversion_rate": str(unit.conversion_rate)}


class FeatureAnswer(EntityAnswer):
    """A feature, with its meter where it has one."""

    name: str
    lookup_key: str
    type: str
    description: str
    meter_id: str | None
    meter: MeterAnswer | None
    unit_singular: str
    unit_plural: str
    reporting_unit: dict[str, Any] | None
    metadata: dict[str, str]

    @classmethod
    def of(cls, row: FeatureRow, meter: MeterRow | None = None) -> "FeatureAnswer":
        """The row on the wire."""
        return cls(
            **entity_columns(row),
            name=row.name,
            lookup_key=row.lookup_key,
            type=row.type,
            description=row.description,
            meter_id=row.meter_id,
            meter=MeterAnswer.of(meter) if meter else None,
            unit_singular=row.unit_singular,
            unit_plural=row.unit_plural,
            reporting_unit=row.reporting_unit,
            metadata=row.feature_metadata,
        )


class FeatureListParams(ListParams):
    """Filters of GET /features."""

    lookup_key: ShortText | None = None
    name_contains: ShortText | None = None

    def wanted(self) -> FeatureFilter:
        """The filter for the query."""
        return FeatureFilter(lookup_keys=one_or_many(self.lookup_key, None), name_contains=self.name_contains)


class FeatureSearch(SearchParams):
    """Filters of POST /features/search."""

    feature_ids: Ids | None = None
    lookup_key: ShortText | None = None
    lookup_keys: Ids | None = None
    meter_ids: Ids | None = None
    name_contains: ShortText | None = None

    def wanted(self) -> FeatureFilter:
        """The filter for the query."""
        lookup_keys = one_or_many(self.lookup_key, self.lookup_keys)
        return FeatureFilter(self.feature_ids, lookup_keys, self.meter_ids, self.name_contains)


class CreatePlanRequest(Request):
    """A new plan; its prices are created for it afterwards."""

    absent: ClassVar[dict[str, str]] = {
        "prices": "create them by POST /v1/prices with entity_type PLAN",
        "entitlements": "plans have no entitlements",
        "credit_grants": "plans have no credit grants",
    }
    name: Name
    lookup_key: ShortText = ""
    description: Text = ""
    display_order: Order | None = None
    metadata: Metadata = Field(default={})

    def new_plan(self) -> NewPlan:
        """The plan for the command."""
        return NewPlan(self.name, self.lookup_key, self.description, self.display_order, self.metadata)


class UpdatePlanRequest(Changes):
    """Fields to change."""

    name: Name | None = None
    lookup_key: ShortText | None = None
    description: Text | None = None
    display_order: Order | None = None
    metadata: Metadata | None = None

    def change(self) -> PlanChange:
        """The change for the command."""
        return PlanChange(**self.given())


class PlanAnswer(EntityAnswer):
    """A plan, with its prices in invoice order where they were asked for."""

    name: str
    lookup_key: str
    description: str
    display_order: int | None
    metadata: dict[str, str]
    prices: list[PriceAnswer] | None

    @classmethod
    def of(cls, row: PlanRow, prices: Sequence[PriceRow] | None = None) -> "PlanAnswer":
        """The row on the wire."""
        return cls(
            **entity_columns(row),
            name=row.name,
            lookup_key=row.lookup_key,
            description=row.description,
            display_order=row.display_order,
            metadata=row.plan_metadata,
            prices=None if prices is None else [PriceAnswer.of(price) for price in prices],
        )


class PlanListParams(ListParams):
    """Filters of GET /plans."""

    lookup_key: ShortText | None = None


class PlanSearch(SearchParams):
    """Filters of POST /plans/search."""

    absent: ClassVar[dict[str, str]] = {"metadata": "plans are not searched by metadata"}
    plan_ids: Ids | None = None
    lookup_key: ShortText | None = None
