"""The usage of one invoice: read once, with the facts that prove it and the daily totals that its document shows."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from sqlmodel import col, select

from activities.bookkeeping import scope_of
from activities.event_corrections import apply_pending
from activities.usage_reader import Days, UsageReader
from billing.codec import to_json
from billing.invoices import InvoiceInputs
from billing.meters import Meter, UsageSnapshot
from billing.money import decimal_text, shown_decimal
from billing.periods import Period, to_local
from billing.terms import LineKind
from models.clickhouse.usage import BucketedUsage, in_batches, in_bucketed_batches
from models.conversions import meter_from_row
from models.database import Database
from models.ids import derived_id
from models.tables import CustomerRow, InvoiceRow, MeterRow


@dataclass(frozen=True, slots=True)
class Frozen:
    """Snapshots of an invoice's usage, and for each its daily totals (local date, quantity as text)."""

    snapshots: tuple[UsageSnapshot, ...]
    daily: tuple[tuple[tuple[str, str], ...], ...]

    def daily_of(self, snapshot_id: str) -> list[list[str]]:
        """The daily totals that belong to a snapshot."""
        for snapshot, days in zip(self.snapshots, self.daily, strict=True):
            if snapshot.id == snapshot_id:
                return [list(day) for day in days]
        return []


async def read_usage(
    database: Database, usage: UsageReader, row: InvoiceRow, inputs: InvoiceInputs, cutoff: datetime
) -> Frozen:
    """Reads every usage line's quantity: one query for the meters of a period, and one for their charts.

    What cannot be told by day has no chart.
    """
    external_id, meters = await _customer_and_meters(database, row, inputs)
    # A correction of an event that was written down counts, whatever has died since.
    await apply_pending(database, usage.clickhouse, scope_of(row), external_customer_id=external_id)
    snapshots: list[UsageSnapshot] = []
    daily: list[tuple[tuple[str, str], ...]] = []
    for period, wanted in _by_period(inputs, meters).items():
        measured = await usage.measure(scope_of(row), external_id, wanted, period, row.timezone, inputs.anchor)
        statements = _statements(usage, row, external_id, wanted, period, inputs.anchor)
        drawn = [meter for meter in wanted if not meter.is_cumulative and meter.bucket_size is None]
        charts = await usage.daily(scope_of(row), external_id, drawn, period, row.timezone)
        for meter in wanted:
            snapshots.append(_snapshot(row, meter, period, cutoff, measured[meter.id], statements[meter.id]))
            daily.append(_days(row, meter, snapshots[-1], charts.get(meter.id, [])))
    return Frozen(tuple(snapshots), tuple(daily))


def _snapshot(
    row: InvoiceRow, meter: Meter, period: Period, cutoff: datetime, measured: BucketedUsage, statement: str = ""
) -> UsageSnapshot:
    snapshot_id, bucketed = derived_id("snap", row.id, meter.id, to_json(period.start)), meter.bucket_size is not None
    return UsageSnapshot(snapshot_id, meter.id, period, cutoff, measured.usage, statement, measured.parts, bucketed)


def _statements(
    usage: UsageReader, row: InvoiceRow, external_id: str, meters: list[Meter], period: Period, anchor: datetime | None
) -> dict[str, str]:
    """The statements that are run, by the meters that are read by them."""
    scope = scope_of(row)
    found: dict[str, str] = {}
    for batch in in_batches([meter for meter in meters if meter.bucket_size is None]):
        statement = usage.query_of(scope, external_id, batch, period).to_sql()[0]
        found |= {meter.id: statement for meter in batch}
    for batch in in_bucketed_batches([meter for meter in meters if meter.bucket_size is not None]):
        statement = usage.buckets_query(scope, external_id, batch, period, row.timezone, anchor).to_sql()[0]
        found |= {meter.id: statement for meter in batch}
    return found


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
    """The same quantities for looking ahead: without what proves them, and nothing is written."""
    external_id, meters = await _customer_and_meters(database, row, inputs)
    snapshots: list[UsageSnapshot] = []
    for period, wanted in _by_period(inputs, meters).items():
        measured = await usage.measure(scope_of(row), external_id, wanted, period, row.timezone, inputs.anchor)
        snapshots += [_snapshot(row, meter, period, cutoff, measured[meter.id]) for meter in wanted]
    return tuple(snapshots)


async def _customer_and_meters(
    database: Database, row: InvoiceRow, inputs: InvoiceInputs
) -> tuple[str, dict[str, Meter]]:
    wanted = {line.price.meter_id for line in inputs.due.lines if line.price.meter_id}
    async with database.transaction(scope_of(row)) as session:
        customer: Any = await session.get_one(CustomerRow, row.customer_id)
        rows = (await session.exec(select(MeterRow).where(col(MeterRow.id).in_(wanted)))).all()
    return customer.external_id, {meter.id: meter_from_row(meter) for meter in rows}


def _by_period(inputs: InvoiceInputs, meters: dict[str, Meter]) -> dict[Period, list[Meter]]:
    """Each period's meters once, however many lines a meter has."""
    wanted: dict[Period, dict[str, Meter]] = defaultdict(dict)
    for line in inputs.due.lines:
        if line.kind is LineKind.usage and line.price.meter_id:
            wanted[line.period][line.price.meter_id] = meters[line.price.meter_id]
    return {period: list(found.values()) for period, found in wanted.items()}
