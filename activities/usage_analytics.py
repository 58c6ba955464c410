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

from activities.usage_reader import NO_BUCKETS, NOTHING, UsageReader
from billing.errors import Invalid
from billing.meters import AggregationType, Filter, Meter, UsageQuantity
from billing.money import allocate, round_amount
from billing.periods import Period
from billing.prices import Price, rate
from billing.usage_lines import rate_buckets
from models.clickhouse.meter_query import MeterQuery
from models.clickhouse.usage import (
    BucketedUsage,
    bucket_groups,
    bucket_window,
    in_batches,
    in_bucketed_batches,
    usage_by_bucket,
    usage_by_group,
)
from models.clickhouse.windows import Window
from models.conversions import meter_from_row, price_from_row
from models.database import Database
from models.queries.catalog import FeatureFilter, find_meters, list_features
from models.queries.customers import find_customer_by_external_id
from models.queries.paging import Page
from models.queries.subscription_lists import usage_lines_of
from models.queries.subscriptions import get_subscription
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
    zone: str = "UTC"
    anchor: datetime | None = None
    """Of buckets that are months; None: those of the subscription that pays for them, else of the calendar."""


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
    point_costs: tuple[Decimal, ...] = ()
    """What of the cost belongs to each point, where these add up to the whole."""


async def read_usage_analytics(database: Database, usage: UsageReader, question: UsageQuestion) -> list[UsageItem]:
    """The items in the order of the features, groups by their values. Raises Invalid, ClickHouseError.

    Without groups each feature is an item, also one without usage; with groups, those that have events.
    """
    features, meters, lines, anchor = await _catalog(database, question)
    question = replace(question, anchor=anchor)
    items: dict[tuple[str, Groups], UsageItem] = {}
    for groups, found in await _read(usage, question, meters):
        for feature in features:
            measured = found[feature.meter_id or ""]
            if measured.usage.event_count or not question.group_by:
                item = UsageItem(feature, meters[feature.meter_id or ""], groups, measured.usage)
                items[(feature.id, groups)] = item
                if question.window is not None and item.meter.bucket_size is not None:
                    item.points = measured.in_windows(question.window)
    if question.window is not None:
        await _add_points(usage, question, meters, items)
    await _add_costs(usage, question, items, lines)
    order = {feature.id: number for number, feature in enumerate(features)}
    return sorted(items.values(), key=lambda item: (order[item.feature.id], item.groups))


async def _catalog(
    database: Database, question: UsageQuestion
) -> tuple[list[FeatureRow], dict[str, Meter], dict[str, list[Line]], datetime | None]:
    """Metered features, their meters by id, the lines that charge the customer for them in the period, the anchor."""
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
        anchor = question.anchor
        if customer is not None:
            for line, price in await usage_lines_of(
                session, scope, customer.id, question.period.start, question.period.end
            ):
                if anchor is None:
                    anchor = (await get_subscription(session, line.subscription_id)).billing_anchor
                lines[line.meter_id or ""].append((line, price))
    meters = {row.id: meter_from_row(row) for row in meter_rows.values()}
    narrowed = {key: replace(meter, filters=meter.filters + question.filters) for key, meter in meters.items()}
    return features, narrowed, lines, anchor


async def _read(
    usage: UsageReader, question: UsageQuestion, meters: dict[str, Meter]
) -> list[tuple[Groups, dict[str, BucketedUsage]]]:
    """By group, what every meter measured; one that has nothing there measured nothing."""
    found: dict[Groups, dict[str, BucketedUsage]] = {}
    nothing = dict.fromkeys(meters, NO_BUCKETS)
    plain = [meter for meter in meters.values() if meter.bucket_size is None]
    for batch in in_batches(plain):
        for _, groups, read in await usage_by_group(usage.clickhouse, _query(question, batch)):
            own = {meter_id: BucketedUsage(measured) for meter_id, measured in read.items()}
            found.setdefault(groups, dict(nothing)).update(own)
    bucketed = [meter for meter in meters.values() if meter.bucket_size is not None]
    for batch in in_bucketed_batches(bucketed):
        window = bucket_window(batch[0], question.zone, question.anchor)
        query = _query(question, batch, window)
        query = replace(query, group_by=(*question.group_by, *bucket_groups(batch[0])))
        for groups, buckets in (await usage_by_bucket(usage.clickhouse, query)).items():
            found.setdefault(groups, dict(nothing)).update(buckets)
    if not question.group_by:
        found.setdefault((), nothing)
    return list(found.items())


def _query(question: UsageQuestion, meters: tuple[Meter, ...], window: Window | None = None) -> MeterQuery:
    return MeterQuery(
        question.scope.tenant_id,
        question.scope.environment_id,
        question.external_customer_id,
        meters,
        question.period.start,
        question.period.end,
        window,
        group_by=question.group_by,
        sources=question.sources,
    )


async def _add_points(
    usage: UsageReader,
    question: UsageQuestion,
    meters: dict[str, Meter],
    items: dict[tuple[str, Groups], UsageItem],
) -> None:
    """Window by window; what belongs to a period as a whole has none."""
    shown = [meter for meter in meters.values() if not meter.is_cumulative and meter.bucket_size is None]
    for batch in in_batches(shown):
        for start, groups, found in await usage_by_group(usage.clickhouse, _query(question, batch, question.window)):
            for item in items.values():
                measured = found.get(item.meter.id, NOTHING)
                if start is not None and item.groups == groups and measured.event_count:
                    item.points.append((start, measured))
    for item in items.values():
        item.points.sort(key=lambda point: point[0])


async def _add_costs(
    usage: UsageReader,
    question: UsageQuestion,
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
        within = replace(question, period=span)
        charged = {groups: found[meter.id] for groups, found in await _read(usage, within, {meter.id: meter})}
        measured = [charged.get(part.groups, NO_BUCKETS) for part in parts]
        weights = [each.usage.quantity for each in measured]
        whole = sum((each.usage.value for each in measured), Fraction(0))
        cost = round_amount(await _amount(usage, within, meter, price, whole), line.currency)
        shares = allocate(cost, weights, line.currency) if whole else _all_zero(cost, parts)
        for part, share, each in zip(parts, shares, measured, strict=True):
            part.line, part.cost = (line, price), share
            if span == asked and question.window is not None:
                part.point_costs = _point_costs(part, each, price_from_row(price), question.window, line.currency)


def _point_costs(
    item: UsageItem, measured: BucketedUsage, price: Price, window: Window, currency: str
) -> tuple[Decimal, ...]:
    """An item's cost by its points: by what their buckets cost, else by their quantities where these add up."""
    if item.meter.bucket_size is not None:
        amounts: dict[datetime, Fraction] = defaultdict(Fraction)
        for part in measured.parts:
            amounts[window.at(part.period.start).start] += rate_buckets(price, [part])
        weights = [amounts[start] for start, _ in item.points]
    elif item.meter.aggregation in ADDED_UP and not item.meter.is_cumulative:
        weights = [usage.value for _, usage in item.points]
    else:
        return ()
    return tuple(allocate(item.cost or Decimal(0), weights, currency)) if any(weights) else ()


async def _amount(
    usage: UsageReader, question: UsageQuestion, meter: Meter, price: PriceRow, whole: Fraction
) -> Fraction:
    """What all groups together cost; with buckets, each of these by itself, whatever the groups."""
    if meter.bucket_size is None:
        return rate(price_from_row(price), whole).amount
    ((_, found),) = await _read(usage, replace(question, group_by=()), {meter.id: meter})
    return rate_buckets(price_from_row(price), found[meter.id].parts)


def _all_zero(cost: Decimal, parts: Sequence[UsageItem]) -> list[Decimal]:
    return [cost, *(Decimal(0) for _ in parts[1:])]
