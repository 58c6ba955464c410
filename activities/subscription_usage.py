"""What a subscription's usage comes to so far: the usage of the running period, put through the invoice's own steps.

What a draft fixes, and how its lines are rated, is the same function as for the draft that will bill it, so that this
and the invoice cannot differ; taxes on top, and what is fixed, are not in it.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from activities.business_time import business_time
from activities.invoice_usage import Whose, by_period, load_customer_and_meters, measure_so_far, snapshot_of
from activities.subscriptions import load_terms
from activities.usage_reader import UsageReader
from billing.errors import Invalid
from billing.invoices import Invoice, InvoiceLine, build_invoice, draft_inputs
from billing.meters import AggregationType, Meter, UsageSnapshot
from billing.money import total
from billing.periods import Period
from billing.running_usage import running_usage, usage_within
from billing.terms import DueLine, LineKind
from models.conversions import state_from_row
from models.database import Database
from models.queries.subscriptions import get_subscription, list_line_items
from models.scope import Scope
from models.tables import PriceRow, SubscriptionLineItemRow


@dataclass(frozen=True, slots=True)
class UsageCharge:
    """One line of usage, as the invoice would say it now: its quantity and its amount, before discounts."""

    line: SubscriptionLineItemRow
    price: PriceRow
    meter: Meter
    quantity: Decimal
    amount: Decimal
    is_overage: bool = False


@dataclass(frozen=True, slots=True)
class SubscriptionUsage:
    """The usage of a subscription over one period: `invoice` is what would bill it alone."""

    currency: str
    period: Period
    charges: tuple[UsageCharge, ...]
    invoice: Invoice

    @property
    def amount(self) -> Decimal:
        """The sum of the charges, in major units."""
        return total(charge.amount for charge in self.charges)


async def read_subscription_usage(
    database: Database, usage: UsageReader, scope: Scope, subscription_id: str, start: datetime | None,
    end: datetime | None, now: datetime, dated_before: datetime | None = None,
) -> SubscriptionUsage:  # fmt: skip
    """Usage in [start, end), which default to the current period's. Raises NotFound, Invalid, ClickHouseError.

    At `now`, or at the subscription's test clock, a level counts for the time that has passed. With `dated_before`,
    usage that was sent ahead and is dated later does not count yet.
    """
    async with database.transaction(scope) as session:
        row = await get_subscription(session, subscription_id)
        lines = await list_line_items(session, row.id)
        terms, state = await load_terms(session, row, lines), state_from_row(row)
        items = {item.id: (item, price) for item, price in lines}
        at = await business_time(session, row.test_clock_id, now)
        period = _span(state.current_period, start, end)
        due = running_usage(terms, state) if period == state.current_period else usage_within(terms, period)
        external_id, meters = await load_customer_and_meters(session, row.customer_id, due.lines)
    whose = Whose(scope, external_id, terms.zone, terms.anchor)
    measured = await _so_far(usage, whose, due.lines, meters, at, dated_before)
    invoice = build_invoice(replace(draft_inputs(terms, due), usage=measured))
    return SubscriptionUsage(row.currency, period, tuple(_charges(invoice.lines, items, meters)), invoice)


def _span(current: Period, start: datetime | None, end: datetime | None) -> Period:
    first, last = start or current.start, end or current.end
    if last < first:
        raise Invalid("end_time must not lie before start_time", field="end_time")
    return Period(first, last)


def _charges(
    lines: Iterable[InvoiceLine],
    items: dict[str, tuple[SubscriptionLineItemRow, PriceRow]],
    meters: dict[str, Meter],
) -> Iterable[UsageCharge]:
    for line in lines:
        if line.kind in (LineKind.usage, LineKind.overage):
            item, price = items[line.line_item_id or ""]
            is_overage = line.kind is LineKind.overage
            yield UsageCharge(item, price, meters[price.meter_id or ""], line.quantity, line.amount, is_overage)


async def _so_far(
    usage: UsageReader,
    whose: Whose,
    lines: Iterable[DueLine],
    meters: dict[str, Meter],
    at: datetime,
    dated_before: datetime | None,
) -> tuple[UsageSnapshot, ...]:
    """What each line measured by `at`; one read for all meters that are read over the same time."""
    snapshots = []
    for period, wanted in by_period(lines, meters).items():
        by_time: dict[Period, list[Meter]] = defaultdict(list)
        for meter in wanted:
            by_time[_passed(meter, period, at, dated_before)].append(meter)
        for passed, own in by_time.items():
            read = await measure_so_far(usage, whose, own, period, passed)
            snapshots += [snapshot_of(meter.id, meter, period, at, read[meter.id], "") for meter in own]
    return tuple(snapshots)


def _passed(meter: Meter, period: Period, at: datetime, dated_before: datetime | None) -> Period:
    """The part of a line's period that is read: of a level, which lasts until it changes, what has passed."""
    level = meter.aggregation is AggregationType.WEIGHTED_SUM
    until = at if level else dated_before
    return period if until is None else Period(period.start, min(max(until, period.start), period.end))
