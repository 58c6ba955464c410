"""The check that compares what invoices were computed from with the events that are stored now.

Events that came later, corrections and meters that were changed explain a difference; anything else is a finding:
durabill never takes an event away, so a hand or a restored backup has.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from activities.bookkeeping import scope_of
from activities.findings import SNAPSHOT_CHANGED, Check, Look, Means, Met
from activities.usage_reader import UsageReader
from billing.late_usage import LateUsageSettings
from billing.meters import AggregationType, Meter, UsageQuantity
from billing.money import decimal_text
from billing.periods import Period
from models.clickhouse.times import milliseconds
from models.conversions import meter_from_row
from models.queries.findings import Finding
from models.queries.reconciliation import Frozen, correction_of_period, list_frozen_usage
from models.scope import Scope
from models.tables import MeterRow

LOOKED_BACK: Final = timedelta(days=LateUsageSettings().days)
"""What was frozen before is left alone: as far back as late usage is looked for."""
READ_BEFORE: Final = timedelta(hours=1)
"""Usage is read so long before its snapshot is written, at most: what was corrected meanwhile explains a difference."""
PAGE: Final = 500
MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class _Differs:
    """A snapshot and what its meter measures now, in events accepted until it was frozen."""

    frozen: Frozen
    now: UsageQuantity


def usage_checks(usage: UsageReader) -> Mapping[str, Check]:
    """The check, over that reader."""

    async def snapshots_changed(means: Means, look: Look) -> Met:
        found: dict[str, Finding] = {}
        behind = ""
        while len(found) < MOST:
            async with means.database.system_transaction() as session:
                page = await list_frozen_usage(session, look.now - LOOKED_BACK, behind, PAGE)
            for differs in await _differing(means, usage, page):
                found.setdefault(differs.frozen.snapshot.invoice_id, _finding(differs))
            if len(page) < PAGE:
                return Met(tuple(found.values()))
            behind = page[-1].snapshot.id
        return Met(tuple(found.values()), complete=False)

    return {SNAPSHOT_CHANGED: snapshots_changed}


async def _differing(means: Means, usage: UsageReader, page: Sequence[Frozen]) -> list[_Differs]:
    """What no late event, no correction and no change of a meter explains. Nearly all agree at the first look."""
    alike: dict[tuple[Scope, str, Period], list[Frozen]] = defaultdict(list)
    for frozen in page:
        row = frozen.snapshot
        # A closed period is counted by the filters that its meter had, also when it is counted anew.
        as_ever = row.filters is None or row.filters == frozen.meter.filters
        if as_ever and frozen.meter.updated_at <= row.created_at:
            alike[scope_of(row), row.meter_id, Period(row.period_start, row.period_end)].append(frozen)
    differing = []
    for (scope, _, period), some in alike.items():
        customers = {frozen.external_customer_id for frozen in some}
        now = await usage.stored(scope, sorted(customers), _counting(some[0].meter), period)
        for frozen in some:
            if now[frozen.external_customer_id].checksum != frozen.snapshot.checksum:
                differs = await _until_frozen(usage, frozen)
                if differs is not None and not await _corrected(means, frozen):
                    differing.append(differs)
    return differing


async def _until_frozen(usage: UsageReader, frozen: Frozen) -> _Differs | None:
    """None when the events that were there are there still.

    What was accepted before the cut-off was counted, and nothing accepted after the invoice was final. Of the events
    in between, if there are any, nobody can say.
    """
    row, customer = frozen.snapshot, frozen.external_customer_id
    meter, period = _counting(frozen.meter), Period(row.period_start, row.period_end)
    least, most = [
        (await usage.stored(scope_of(row), [customer], meter, period, before=at))[customer]
        for at in (row.cutoff_at, row.created_at)
    ]
    if row.checksum in (least.checksum, most.checksum) or least.event_count < row.event_count < most.event_count:
        return None
    return _Differs(frozen, most)


def _counting(row: MeterRow) -> Meter:
    """Counts the events that the meter counts, whatever it makes of them: which they are is what the checksum knows."""
    meter = meter_from_row(row)
    return Meter(meter.id, meter.name, meter.event_name, AggregationType.COUNT, None, meter.filters, meter.reset_usage)


async def _corrected(means: Means, frozen: Frozen) -> bool:
    row, meter = frozen.snapshot, meter_from_row(frozen.meter)
    async with means.database.system_transaction() as session:
        return await correction_of_period(
            session,
            scope_of(row),
            frozen.external_customer_id,
            since=row.created_at - READ_BEFORE,
            start=0 if meter.is_cumulative else milliseconds(row.period_start),
            end=milliseconds(row.period_end),
        )


def _finding(differs: _Differs) -> Finding:
    row, now = differs.frozen.snapshot, differs.now
    period = f"from {row.period_start:%Y-%m-%d %H:%M} to {row.period_end:%Y-%m-%d %H:%M} UTC"
    said = (
        f"Meter {differs.frozen.meter.name} {period} was invoiced by {row.event_count} events"
        f" ({decimal_text(row.quantity)}). Of the events accepted until then ClickHouse now has {now.event_count}"
        ", and no correction says why. Was ClickHouse restored, or changed by a hand?"
        " Bring the events back (`durabill events replay`, or a backup); what is to count differently is voided or"
        " amended by POST /v1/events/EVENT/void and /amend."
    )
    return Finding(scope_of(row), row.invoice_id, said)
