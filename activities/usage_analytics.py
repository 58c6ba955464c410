"""Usage of one customer by feature, and by what its events say: exact quantities, windows, and what they cost.

The same exact reads as invoices. A cost is what the subscription's price comes to for the usage asked about, as if that
were one period: before allowances, commitments, discounts and taxes.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from activities.usage_reader import NOTHING, UsageReader
from billing.errors import Invalid
from billing.meters import AggregationType, Filter, Meter, UsageQuantity
from billing.money import allocate, round_amount
from billing.periods import Period
from billing.prices import rate
from models.clickhouse.meter_query import MeterQuery
from models.clickhouse.usage import in_batches, usage_by_group
from models.clickhouse.windows import Window
from models.conversions import meter_from_row, price_from_row
from models.database import Database
from models.queries.catalog import FeatureFilter, find_meters, list_features
from models.queries.customers import find_customer_by_external_id
from models.queries.paging import Page
from models.queries.subscription_lists import usage_lines_of
from models.scope import Scope
from models.tables import FeatureRow, PriceRow, SubscriptionLineItemRow

FEATURES_MAX: Final = 1000
ADDED_UP: Final = (AggregationType.COUNT, AggregationType.SUM)
"""Whose groups add up to the whole, so that its cost can be split over them."""

Line = tuple[SubscriptionLineItemRow, PriceRow]
Groups = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """Whose usage, when, of which features (None: of all metered ones), split by what.

    `group_by` names `source` or `properties.NAME`; features are always apart. `filters` narrow each meter's own.
    """

    scope: Scope
    external_customer_id: str
    period: Period
    feature_ids: tuple[str, ...] | None = None
    sources: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    window: Window | None = None


@dataclass(slots=True)
class UsageItem:
    """One feature, or one group of it. `cost` in major units of `line`'s currency; None where no one price is known."""

    feature: FeatureRow
    meter: Meter
    groups: Groups
    usage: UsageQuantity
    line: Line | None = None
    cost: Decimal | None = None
    points: list[tuple[datetime, UsageQuantity]] = field(default_factory=list)


async def read_usage_analytics(database: Database, usage: UsageReader, question: UsageQuestion) -> list[UsageItem]:
    """The items in the order of the features, groups by their values. Raises Invalid, ClickHouseError.

    Without groups each feature is an item, also one without usage; with groups, those that have events.
    """
    features, meters, lines = await _catalog(database, question)
    items: dict[tuple[str, Groups], UsageItem] = {}
    for _, groups, found in await _read(usage, question, meters, question.group_by, None):
        for feature in features:
            measured = found[feature.meter_id or ""]
            if measured.event_count or not question.group_by:
                item = UsageItem(feature, meters[feature.meter_id or ""], groups, measured)
                items[(feature.id, groups)] = item
    if question.window is not None:
        await _add_points(usage, question, meters, items)
    await _add_costs(usage, question, meters, items, lines)
    order = {feature.id: number for number, feature in enumerate(features)}
    return sorted(items.values(), key=lambda item: (order[item.feature.id], item.groups))


async def _catalog(
    database: Database, question: UsageQuestion
) -> tuple[list[FeatureRow], dict[str, Meter], dict[str, list[Line]]]:
    """Metered features, their meters by id, and the lines that charge the customer for them in the period."""
    scope = question.scope
    async with database.transaction(scope) as session:
        wanted = FeatureFilter(feature_ids=question.feature_ids)
        rows, _ = await list_features(session, scope, Page(limit=FEATURES_MAX), wanted)
        features = sorted((row for row in rows if row.meter_id), key=lambda row: (row.created_at, row.id))
        if question.feature_ids is not None and (unknown := set(question.feature_ids) - {row.id for row in features}):
            raise Invalid(f"feature_ids must name metered features; got {min(unknown)!r}", field="feature_ids")
        meter_rows = await find_meters(session, scope, [row.meter_id or "" for row in features])
        customer = await find_customer_by_external_id(session, scope, question.external_customer_id)
        lines: dict[str, list[Line]] = defaultdict(list)
        if customer is not None:
            for line, price in await usage_lines_of(
                session, scope, customer.id, question.period.start, question.period.end
            ):
                lines[line.meter_id or ""].append((line, price))
    meters = {row.id: meter_from_row(row) for row in meter_rows.values()}
    narrowed = {key: replace(meter, filters=meter.filters + question.filters) for key, meter in meters.items()}
    return features, narrowed, lines


async def _read(
    usage: UsageReader,
    question: UsageQuestion,
    meters: dict[str, Meter],
    group_by: Groups,
    window: Window | None,
    period: Period | None = None,
) -> list[tuple[datetime | None, Groups, dict[str, UsageQuantity]]]:
    """By window and group, what every meter measured; one that has nothing there measured nothing."""
    found: dict[tuple[datetime | None, Groups], dict[str, UsageQuantity]] = {}
    span = period or question.period
    for batch in in_batches(list(meters.values())):
        query = MeterQuery(
            question.scope.tenant_id,
            question.scope.environment_id,
            question.external_customer_id,
            batch,
            span.start,
            span.end,
            window,
            group_by=group_by,
            sources=question.sources,
        )
        for start, groups, quantities in await usage_by_group(usage.clickhouse, query):
            found.setdefault((start, groups), dict.fromkeys(meters, NOTHING)).update(quantities)
    return [(start, groups, quantities) for (start, groups), quantities in found.items()]


async def _add_points(
    usage: UsageReader,
    question: UsageQuestion,
    meters: dict[str, Meter],
    items: dict[tuple[str, Groups], UsageItem],
) -> None:
    """Window by window; what belongs to a period as a whole has none."""
    shown = {key: meter for key, meter in meters.items() if not meter.is_cumulative}
    for start, groups, found in await _read(usage, question, shown, question.group_by, question.window):
        for item in items.values():
            measured = found.get(item.meter.id, NOTHING)
            if start is not None and item.groups == groups and measured.event_count:
                item.points.append((start, measured))
    for item in items.values():
        item.points.sort(key=lambda point: point[0])


async def _add_costs(
    usage: UsageReader,
    question: UsageQuestion,
    meters: dict[str, Meter],
    items: dict[tuple[str, Groups], UsageItem],
    lines: dict[str, list[Line]],
) -> None:
    """Where one line alone charges for a meter; its cost is split over groups that add up to the whole."""
    by_feature: dict[str, list[UsageItem]] = defaultdict(list)
    for item in items.values():
        by_feature[item.feature.id].append(item)
    for parts in by_feature.values():
        meter = parts[0].meter
        charging = lines.get(meter.id, [])
        if len(charging) != 1 or (question.group_by and meter.aggregation not in ADDED_UP):
            continue
        line, price = charging[0]
        asked = question.period
        span = Period(max(asked.start, line.start_date), min(asked.end, line.end_date or asked.end))
        found = await _read(usage, question, {meter.id: meter}, question.group_by, None, span)
        charged = {groups: quantities[meter.id] for _, groups, quantities in found}
        measured = [charged.get(part.groups, NOTHING) for part in parts]
        weights = [each.quantity for each in measured]
        whole = sum((each.value for each in measured), Fraction(0))
        cost = round_amount(rate(price_from_row(price), whole).amount, line.currency)
        shares = allocate(cost, weights, line.currency) if whole else _all_zero(cost, parts)
        for part, share in zip(parts, shares, strict=True):
            part.line, part.cost = (line, price), share


def _all_zero(cost: Decimal, parts: Sequence[UsageItem]) -> list[Decimal]:
    return [cost, *(Decimal(0) for _ in parts[1:])]
