"""What a subscription's usage comes to so far: quantities read, rated with the prices that the subscription pays.

The same pure rating as the invoice's; taxes, and what is fixed, are not in it.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.business_time import business_time
from activities.usage_reader import UsageReader
from billing.errors import Invalid
from billing.meters import AggregationType, Meter, share_so_far
from billing.money import round_amount, total
from billing.periods import Period
from billing.prices import rate
from billing.usage_lines import rate_buckets
from models.clickhouse.usage import BucketedUsage
from models.conversions import meter_from_row, price_from_row
from models.database import Database
from models.queries.catalog import find_meters
from models.queries.customers import get_customer
from models.queries.subscriptions import get_subscription, list_line_items
from models.scope import Scope
from models.tables import PriceRow, SubscriptionLineItemRow, SubscriptionRow


@dataclass(frozen=True, slots=True)
class UsageCharge:
    """One usage line: its quantity in its part of the period, and its amount rounded to the currency."""

    line: SubscriptionLineItemRow
    price: PriceRow
    meter: Meter
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class SubscriptionUsage:
    """The usage lines of a subscription over one period; `amount` is the sum of the charges, in major units."""

    currency: str
    period: Period
    charges: tuple[UsageCharge, ...]
    amount: Decimal


@dataclass(frozen=True, slots=True)
class _UsageLine:
    line: SubscriptionLineItemRow
    price: PriceRow
    meter: Meter
    period: Period


async def read_subscription_usage(
    database: Database, usage: UsageReader, scope: Scope, subscription_id: str, start: datetime | None,
    end: datetime | None, now: datetime,
) -> SubscriptionUsage:  # fmt: skip
    """Usage in [start, end), which default to the current period's. Raises NotFound, Invalid, ClickHouseError.

    At `now`, or at the subscription's test clock, a level counts for the time that has passed.
    """
    async with database.transaction(scope) as session:
        row = await get_subscription(session, subscription_id)
        period = _period(row, start, end)
        lines = await _usage_lines(session, scope, row, period)
        external_id = (await get_customer(session, scope, row.customer_id)).external_id
        at = await business_time(session, row.test_clock_id, now)
    quantities = await _quantities(usage, scope, row, external_id, lines, at)
    charges = tuple(_charge(line, quantities[line.line.id], row.currency) for line in lines)
    return SubscriptionUsage(row.currency, period, charges, total(charge.amount for charge in charges))


def _period(row: SubscriptionRow, start: datetime | None, end: datetime | None) -> Period:
    first, last = start or row.current_period_start, end or row.current_period_end
    if last < first:
        raise Invalid("end_time must not lie before start_time", field="end_time")
    return Period(first, last)


async def _usage_lines(session: AsyncSession, scope: Scope, row: SubscriptionRow, period: Period) -> list[_UsageLine]:
    """The usage lines with the part of the period in which they count."""
    found = [(line, price) for line, price in await list_line_items(session, row.id) if line.meter_id]
    meters = await find_meters(session, scope, [line.meter_id or "" for line, _ in found])
    lines = []
    for line, price in found:
        start, end = max(period.start, line.start_date), min(period.end, line.end_date or period.end)
        if start <= end:
            meter = meter_from_row(meters[line.meter_id or ""])
            lines.append(_UsageLine(line, price, meter, Period(start, end)))
    return lines


async def _quantities(
    usage: UsageReader, scope: Scope, row: SubscriptionRow, external_id: str, lines: list[_UsageLine], at: datetime
) -> dict[str, BucketedUsage]:
    """Each line's quantity by the line's id; one read for all lines of the same period."""
    by_period: dict[Period, dict[str, Meter]] = defaultdict(dict)
    for line in lines:
        by_period[_passed(line, at)][line.meter.id] = line.meter
    read = {
        period: await usage.measure(scope, external_id, list(meters.values()), period, row.timezone, row.billing_anchor)
        for period, meters in by_period.items()
    }
    found = {}
    for line in lines:
        passed = _passed(line, at)
        measured = read[passed][line.meter.id]
        found[line.line.id] = replace(measured, usage=share_so_far(measured.usage, passed, line.period))
    return found


def _passed(line: _UsageLine, at: datetime) -> Period:
    """The part of the line's period that is read: of a level, which lasts until it changes, what has passed."""
    if line.meter.aggregation is not AggregationType.WEIGHTED_SUM:
        return line.period
    return Period(line.period.start, min(max(at, line.period.start), line.period.end))


def _charge(line: _UsageLine, measured: BucketedUsage, currency: str) -> UsageCharge:
    price = price_from_row(line.price)
    if line.meter.bucket_size is None:
        amount = rate(price, measured.usage.value).amount
    else:
        amount = rate_buckets(price, measured.parts)
    return UsageCharge(line.line, line.price, line.meter, measured.usage.quantity, round_amount(amount, currency))
