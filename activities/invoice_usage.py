"""The usage of one invoice: read once, with the facts that prove it and the daily totals that its document shows."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import scope_of
from activities.event_corrections import apply_pending
from activities.usage_reader import Days, UsageReader
from billing.codec import to_json
from billing.invoices import InvoiceInputs
from billing.late_usage import RECEIVED
from billing.meters import AggregationType, Meter, UsageSnapshot, share_so_far
from billing.money import decimal_text, shown_decimal
from billing.periods import Period, to_local
from billing.terms import BillingReason, DueInvoice, DueLine, LineKind
from models.clickhouse.usage import BucketedUsage, bucket_window, in_batches, in_bucketed_batches
from models.conversions import meter_from_row
from models.database import Database
from models.ids import derived_id
from models.scope import Scope
from models.tables import CustomerRow, InvoiceRow, MeterRow


@dataclass(frozen=True, slots=True)
class Frozen:
    """Snapshots of an invoice's usage, and for each its daily totals (local date, quantity as text).

    `meters` are those that it was measured by, by id.
    """

    snapshots: tuple[UsageSnapshot, ...]
    daily: tuple[tuple[tuple[str, str], ...], ...]
    meters: Mapping[str, Meter] = field(default_factory=dict)

    def daily_of(self, snapshot_id: str) -> list[list[str]]:
        """The daily totals that belong to a snapshot."""
        for snapshot, days in zip(self.snapshots, self.daily, strict=True):
            if snapshot.id == snapshot_id:
                return [list(day) for day in days]
        return []


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose usage is read, and where its windows are cut: in `zone`, months at those of `anchor`."""

    scope: Scope
    external_id: str
    zone: str
    anchor: datetime | None


async def read_usage(
    database: Database, usage: UsageReader, row: InvoiceRow, inputs: InvoiceInputs, cutoff: datetime
) -> Frozen:
    """Reads every usage line's quantity: one query for the meters of a period, and one for their charts.

    What cannot be told by day has no chart. Everything accepted before `cutoff`, in business time, has been stored. An
    invoice in the midst of a period reads what has passed of it.
    """
    external_id, meters = await customer_and_meters(database, scope_of(row), row.customer_id, inputs.due.lines)
    # A correction of an event that was written down counts, whatever has died since.
    await apply_pending(database, usage.clickhouse, scope_of(row), external_customer_id=external_id)
    snapshots: list[UsageSnapshot] = []
    daily: list[tuple[tuple[str, str], ...]] = []
    whose = Whose(scope_of(row), external_id, row.timezone, inputs.anchor)
    for period, wanted in by_period(inputs.due.lines, meters).items():
        passed = passed_of(inputs.due, period)
        measured = await measure_so_far(usage, whose, wanted, period, passed)
        statements = statements_of(usage, whose, wanted, passed)
        drawn = [meter for meter in wanted if not meter.is_cumulative and meter.bucket_size is None]
        charts = await usage.daily(scope_of(row), external_id, drawn, passed, row.timezone)
        for meter in wanted:
            snapshot_id = derived_id("snap", row.id, meter.id, to_json(period.start))
            found = snapshot_of(snapshot_id, meter, period, cutoff, measured[meter.id], statements[meter.id])
            snapshots.append(found)
            daily.append(_days(row, meter, found, charts.get(meter.id, [])))
    return Frozen(tuple(snapshots), tuple(daily), meters)


def known_until(cutoff: datetime, clock: datetime | None) -> datetime:
    """The same as `cutoff`, a real instant, in business time: where a test clock stands, all that has come is known."""
    return cutoff if clock is None else clock + RECEIVED


async def measure(
    usage: UsageReader, whose: Whose, meters: list[Meter], period: Period, known_before: datetime | None = None
) -> dict[str, BucketedUsage]:
    """What each meter measured in the period, by its id; with `known_before`, as events were known before it."""
    return await usage.measure(whose.scope, whose.external_id, meters, period, whose.zone, whose.anchor, known_before)


def passed_of(due: DueInvoice, period: Period) -> Period:
    """The part of a line's period of which an invoice bills the usage: all, where it is not in the midst of it."""
    if due.reason is not BillingReason.AUTO_INVOICE_THRESHOLD:
        return period
    return Period(period.start, min(due.at, period.end))


async def measure_so_far(
    usage: UsageReader, whose: Whose, meters: list[Meter], period: Period, passed: Period
) -> dict[str, BucketedUsage]:
    """What each meter measured in the `passed` beginning of `period`, as a part of the whole period's usage."""
    measured = await measure(usage, whose, meters, passed)
    if passed == period:
        return measured
    return {meter.id: _so_far(meter, measured[meter.id], whose, period, passed) for meter in meters}


def _so_far(meter: Meter, measured: BucketedUsage, whose: Whose, period: Period, passed: Period) -> BucketedUsage:
    """A level lasts on, and a bucket that has begun ends where it would."""
    if meter.aggregation is AggregationType.WEIGHTED_SUM:
        return replace(measured, usage=share_so_far(measured.usage, passed, period))
    if meter.bucket_size is None or not measured.parts:
        return measured
    window, last = bucket_window(meter, whose.zone, whose.anchor), measured.parts[-1].period.start
    ends = min(window.at(last).end, period.end)
    parts = tuple(
        replace(part, period=Period(last, ends)) if part.period.start == last else part for part in measured.parts
    )
    return replace(measured, parts=parts)


def statements_of(
    usage: UsageReader, whose: Whose, meters: list[Meter], period: Period, known_before: datetime | None = None
) -> dict[str, str]:
    """The statements that are run, by the meters that are read by them."""
    asked, found = (whose.scope, whose.external_id), dict[str, str]()
    for batch in in_batches([meter for meter in meters if meter.bucket_size is None]):
        query = usage.query_of(*asked, batch, period, known_before=known_before)
        found |= {meter.id: query.to_sql()[0] for meter in batch}
    for batch in in_bucketed_batches([meter for meter in meters if meter.bucket_size is not None]):
        query = usage.buckets_query(*asked, batch, period, whose.zone, whose.anchor, known_before)
        found |= {meter.id: query.to_sql()[0] for meter in batch}
    return found


def snapshot_of(
    snapshot_id: str, meter: Meter, period: Period, cutoff: datetime, measured: BucketedUsage, statement: str
) -> UsageSnapshot:
    """What was measured, as it is frozen."""
    bucketed = meter.bucket_size is not None
    return UsageSnapshot(snapshot_id, meter.id, period, cutoff, measured.usage, statement, measured.parts, bucketed)


def _days(row: InvoiceRow, meter: Meter, snapshot: UsageSnapshot, days: Days) -> tuple[tuple[str, str], ...]:
    """By local day; a bucket belongs to the day in which it begins."""
    if meter.is_cumulative:
        return ()
    if snapshot.bucketed:
        found: dict[date, Fraction] = defaultdict(Fraction)
        for part in snapshot.parts:
            found[to_local(part.period.start, row.timezone).date()] += part.quantity
        days = [(day, shown_decimal(quantity)) for day, quantity in sorted(found.items())]
    return tuple((day.isoformat(), decimal_text(quantity)) for day, quantity in days)


async def read_quantities(
    database: Database, usage: UsageReader, row: InvoiceRow, inputs: InvoiceInputs, cutoff: datetime
) -> tuple[UsageSnapshot, ...]:
    """The same quantities for looking ahead: without what proves them, and nothing of the invoice is written."""
    external_id, meters = await customer_and_meters(database, scope_of(row), row.customer_id, inputs.due.lines)
    await apply_pending(database, usage.clickhouse, scope_of(row), external_customer_id=external_id)
    snapshots: list[UsageSnapshot] = []
    whose = Whose(scope_of(row), external_id, row.timezone, inputs.anchor)
    for period, wanted in by_period(inputs.due.lines, meters).items():
        measured = await measure_so_far(usage, whose, wanted, period, passed_of(inputs.due, period))
        for meter in wanted:
            snapshot_id = derived_id("snap", row.id, meter.id, to_json(period.start))
            snapshots.append(snapshot_of(snapshot_id, meter, period, cutoff, measured[meter.id], ""))
    return tuple(snapshots)


async def customer_and_meters(
    database: Database, scope: Scope, customer_id: str, lines: Iterable[DueLine]
) -> tuple[str, dict[str, Meter]]:
    """How the tenant calls the customer, and the meters that the lines are measured by, by id."""
    async with database.transaction(scope) as session:
        return await load_customer_and_meters(session, customer_id, lines)


async def load_customer_and_meters(
    session: AsyncSession, customer_id: str, lines: Iterable[DueLine]
) -> tuple[str, dict[str, Meter]]:
    """The same, within a transaction."""
    wanted = {line.price.meter_id for line in lines if line.price.meter_id}
    customer: Any = await session.get_one(CustomerRow, customer_id)
    rows = (await session.exec(select(MeterRow).where(col(MeterRow.id).in_(wanted)))).all()
    return customer.external_id, {meter.id: meter_from_row(meter) for meter in rows}


def by_period(lines: Iterable[DueLine], meters: dict[str, Meter]) -> dict[Period, list[Meter]]:
    """Each period's meters once, however many lines a meter has."""
    wanted: dict[Period, dict[str, Meter]] = defaultdict(dict)
    for line in lines:
        if line.kind is LineKind.usage and line.price.meter_id:
            wanted[line.period][line.price.meter_id] = meters[line.price.meter_id]
    return {period: list(found.values()) for period, found in wanted.items()}
