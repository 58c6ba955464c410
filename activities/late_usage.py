"""Late usage: the closed periods that a close looks back on, their usage read anew, and what is written of corrections.

What a period comes to is `billing.late_usage`'s. Usage is read outside of the transaction that uses it, so both sides
carry the state of the corrections: where another invoice has corrected one of the periods meanwhile, or has been
voided, usage is read again. Nothing is ever computed from usage that is older than what has been counted.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.exceptions import ApplicationError

from activities.bookkeeping import new_columns, scope_of
from activities.business_time import clock_now
from activities.drafting import inputs_from_row, line_from_row
from activities.event_corrections import apply_pending
from activities.ingestion.ports import UsageProgress
from activities.invoice_usage import (
    Whose,
    by_period,
    customer_and_meters,
    known_until,
    measure,
    snapshot_of,
    statements_of,
)
from activities.refunds import balance_of
from activities.settings import load_billing_settings
from activities.usage_reader import UsageReader
from billing import late_usage as rules
from billing.codec import from_json, to_json
from billing.credit_notes import InvoiceBalance
from billing.invoice_lines import InvoiceInputs, InvoiceLine, PeriodCorrection
from billing.invoice_states import InvoiceStatus, PaymentStatus
from billing.late_usage import ClosedPeriod, LateUsagePolicy, LateUsageSettings, SettledCorrection
from billing.meters import Filter, UsageSnapshot
from billing.terms import LineKind
from models.database import Database
from models.ids import derived_id
from models.queries.invoices import lock_invoices
from models.queries.late_usage import (
    list_first_snapshots,
    list_invoices_before,
    list_lines_by_invoice,
    list_usage_corrections,
)
from models.queries.subscriptions import get_subscription
from models.scope import Scope
from models.tables import InvoiceLineRow, InvoiceRow, SubscriptionRow, UsageCorrectionRow, UsageSnapshotRow

PAUSE: Final = timedelta(seconds=1)
AT_ONCE: Final = timedelta(milliseconds=50)
MOST_READS: Final = 3
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
CHARGES: Final = tuple(sorted(rules.OF_USAGE))
ADJUSTMENT: Final = LineKind.adjustment.value
State = tuple[tuple[str, ...], ...]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class FrozenPeriod:
    """A closed period as it is counted by now; `settled` are its corrections in their order."""

    invoice_id: str
    scope: Scope
    customer_id: str
    zone: str
    inputs: InvoiceInputs
    lines: tuple[InvoiceLine, ...]
    settled: tuple[SettledCorrection, ...]
    counted: ClosedPeriod
    state: tuple[str, ...]
    filters: dict[str, tuple[Filter, ...]]
    """Of each meter as it was read for the invoice, where that is known."""
    written_at: datetime
    """The real instant at which it was counted last: nothing that came later is in it."""
    balance: InvoiceBalance | None = None
    """Of its invoice, where a credit note may credit it: by policy, and while no provider is charging it."""

    def recounted(self, further: Sequence[SettledCorrection]) -> ClosedPeriod:
        """As it would be counted after `further` corrections."""
        return rules.closed_period(self.invoice_id, self.inputs, self.lines, (*self.settled, *further))


@dataclass(frozen=True, slots=True)
class LookBack:
    """What a close looks back on, in the order of time; nothing where the tenant does not look back.

    `clock` is where the customer's test clock stands, `at` the business time until which usage is known.
    """

    settings: LateUsageSettings
    periods: tuple[FrozenPeriod, ...] = ()
    clock: datetime | None = None

    @property
    def state(self) -> State:
        """Which corrections of which periods stand."""
        return tuple(period.state for period in self.periods)


@dataclass(frozen=True, slots=True)
class ReadAnew:
    """Usage of closed periods, by the id of their invoices, read while the corrections stood as `state` says."""

    state: State = ()
    usage: dict[str, tuple[UsageSnapshot, ...]] = field(default_factory=dict)


LATER: Final = ReadAnew((("later",),))
"""Instead of usage: what has changed is left to the next close, or to the end of the look-back."""


class UsageWanted(Exception):
    """A transaction needs the usage of closed periods: it is rolled back, usage is read, and it is done again."""

    def __init__(self, look_back: LookBack) -> None:
        super().__init__("usage of closed periods has to be read first")
        self.look_back = look_back


async def look_back_of(
    session: AsyncSession,
    subscription: SubscriptionRow,
    before: int | None,
    settings: LateUsageSettings,
    *,
    lock: bool = False,
) -> LookBack:
    """What the invoice with billing sequence `before` looks back on; None: one that is drafted next.

    `lock` keeps the invoices that credit notes may credit as they are until the transaction ends.
    """
    if not settings.looks_back:
        return LookBack(settings)
    closes = rules.read_anew(settings, await closes_of(session, subscription.id, before, settings.periods))
    frozen = [(row, inputs) for row, inputs in closes if row.invoice_status == InvoiceStatus.FINALIZED]
    if not frozen:
        return LookBack(settings)
    ids = [row.id for row, _ in frozen]
    if lock and settings.policy is LateUsagePolicy.credit_note:
        await lock_invoices(session, ids)
    settled, charged = await _settled(session, ids), await list_lines_by_invoice(session, ids, CHARGES)
    first = await list_first_snapshots(session, ids)
    periods = []
    for row, inputs in frozen:
        own = settled[row.id]
        lines = tuple(line_from_row(line) for line in charged[row.id])
        made = tuple(each.settled for each in own)
        counted = rules.closed_period(row.id, inputs, lines, made)
        state = (row.id, *(each.name for each in own))
        whose = (row.id, scope_of(row), row.customer_id, row.timezone)
        filters = {one.meter_id: _filters(one) for one in first[row.id] if one.filters is not None}
        written_at = max([*(one.created_at for one in first[row.id]), *(each.at for each in own)], default=LONG_AGO)
        balance = await _creditable(session, row, settings)
        periods.append(FrozenPeriod(*whose, inputs, lines, made, counted, state, filters, written_at, balance))
    return LookBack(settings, tuple(periods), await clock_now(session, subscription.test_clock_id))


async def look_back_of_invoice(
    session: AsyncSession, row: InvoiceRow, inputs: InvoiceInputs, *, lock: bool = False
) -> LookBack:
    """What a draft looks back on. `lock` keeps its subscription's other invoices from correcting the same meanwhile."""
    settings = await load_billing_settings(session)
    if row.subscription_id is None or not settings.late_usage.looks_back or not rules.closes_a_period(inputs.due):
        return LookBack(settings.late_usage)
    if lock and settings.late_usage.policy is LateUsagePolicy.credit_note:
        # Whoever is paid, or voids, locks the invoice and then its subscription: so does this.
        closes = await closes_of(session, row.subscription_id, row.billing_sequence, settings.late_usage.periods)
        await lock_invoices(session, [each.id for each, _ in closes if each.invoice_status == InvoiceStatus.FINALIZED])
    subscription = await get_subscription(session, row.subscription_id, lock=lock)
    return await look_back_of(session, subscription, row.billing_sequence, settings.late_usage, lock=lock)


async def _creditable(session: AsyncSession, row: InvoiceRow, settings: LateUsageSettings) -> InvoiceBalance | None:
    if settings.policy is not LateUsagePolicy.credit_note or row.payment_status == PaymentStatus.PROCESSING:
        return None
    return await balance_of(session, row)


async def closes_of(
    session: AsyncSession, subscription_id: str, before: int | None, most: int
) -> list[tuple[InvoiceRow, InvoiceInputs]]:
    """The last invoices that closed a period with a line of its own, in time order."""
    found: list[tuple[InvoiceRow, InvoiceInputs]] = []
    page = 2 * most
    while len(found) < most:
        rows = await list_invoices_before(session, subscription_id, before, page)
        known = [(row, inputs_from_row(row)) for row in rows]
        found += [(row, inputs) for row, inputs in known if inputs.due.lines and rules.closes_a_period(inputs.due)]
        if len(rows) < page:
            break
        before = rows[-1].billing_sequence
    return found[:most][::-1]


@dataclass(frozen=True, slots=True)
class _Made:
    """A correction that was made: what names it and the state of its carrier, and the real instant."""

    name: str
    settled: SettledCorrection
    at: datetime


async def _settled(session: AsyncSession, invoice_ids: Sequence[str]) -> dict[str, list[_Made]]:
    """The corrections of each invoice in their order."""
    rows = await list_usage_corrections(session, invoice_ids)
    carriers = {row.carrier_invoice_id for row, _ in rows if row.carrier_invoice_id}
    lines = await list_lines_by_invoice(session, carriers, (ADJUSTMENT,)) if carriers else {}
    found: dict[str, list[_Made]] = defaultdict(list)
    for row, status in rows:
        correction = from_json(PeriodCorrection, row.correction)
        voided = status == InvoiceStatus.VOIDED
        own = tuple(line_from_row(line) for line in lines.get(row.carrier_invoice_id or "", ()))
        settled = SettledCorrection(correction, own, voided)
        found[row.invoice_id].append(_Made(f"{row.id} {voided}", settled, row.created_at))
    return found


def _filters(row: UsageSnapshotRow) -> tuple[Filter, ...]:
    """By which filters a meter was read; it may have others by now, for what comes."""
    return tuple(from_json(Filter, each) for each in row.filters or ())


class LateUsage:
    """Reads the usage of closed periods anew."""

    def __init__(self, database: Database, usage: UsageReader, progress: UsageProgress) -> None:
        self._database = database
        self._usage = usage
        self._progress = progress

    async def read(self, look_back: LookBack, cutoff: datetime, usage: UsageReader | None = None) -> ReadAnew:
        """With every event accepted before the real instant `cutoff`; raises while one of them is not stored yet.

        By another reader where one is given.
        """
        if not look_back.periods:
            return ReadAnew(look_back.state)
        await require_settled(self._progress, cutoff)
        return await read_anew(self._database, usage or self._usage, look_back, cutoff)

    async def reading(self, work: Callable[[ReadAnew | None], Awaitable[Result]], cutoff: datetime) -> Result:
        """Does `work` again with usage that it wants; each time in a transaction of its own."""
        read: ReadAnew | None = None
        for _ in range(MOST_READS):
            try:
                return await work(read)
            except UsageWanted as wanted:
                read = await self.read(wanted.look_back, cutoff)
        raise moved()


async def require_settled(progress: UsageProgress, cutoff: datetime) -> None:
    """Raises a failure that is retried while an event that was accepted before `cutoff` is not stored."""
    if not await progress.settled(cutoff):
        raise ApplicationError(
            "events that were accepted before the cut-off are not stored yet; the consumer is behind or down",
            type="usage_pending",
            next_retry_delay=PAUSE,
        )


async def read_anew(database: Database, usage: UsageReader, look_back: LookBack, cutoff: datetime) -> ReadAnew:
    """The usage of all periods that are looked back on, as it is known at the real instant `cutoff`.

    Raises ClickHouseError.
    """
    now = known_until(cutoff, look_back.clock)
    scope, customer_id = look_back.periods[0].scope, look_back.periods[0].customer_id
    lines = [line for period in look_back.periods for line in period.counted.inputs.due.lines]
    external_id, meters = await customer_and_meters(database, scope, customer_id, lines)
    await apply_pending(database, usage.clickhouse, scope, external_customer_id=external_id)
    found: dict[str, tuple[UsageSnapshot, ...]] = {}
    for period in look_back.periods:
        frozen = {(one.meter_id, one.period): one for one in period.counted.inputs.usage}
        own = {key: replace(each, filters=period.filters.get(key, each.filters)) for key, each in meters.items()}
        whose = Whose(scope, external_id, period.zone, period.inputs.anchor)
        snapshots = []
        for span, wanted in by_period(period.counted.inputs.due.lines, own).items():
            before = [frozen[(meter.id, span)] for meter in wanted]  # read together, so that one instant is for all
            known = max(rules.known_until(one, now, look_back.settings.days) for one in before)
            counted = known if look_back.clock else max(known, min(now, period.written_at))
            known_before = None if counted == now else counted
            measured = await measure(usage, whose, wanted, span, known_before)
            statements = statements_of(usage, whose, wanted, span, known_before)
            for meter in wanted:
                name = derived_id("snap", "anew", *period.state, meter.id, to_json(span.start))
                read = snapshot_of(name, meter, span, known, measured[meter.id], statements[meter.id])
                snapshots.append(read)
        found[period.invoice_id] = tuple(snapshots)
    return ReadAnew(look_back.state, found)


def corrections_of(look_back: LookBack, read: ReadAnew | None) -> tuple[PeriodCorrection, ...]:
    """What has changed in the periods that are looked back on.

    Raises UsageWanted where `read` was read before one of them was corrected, or is missing.
    """
    if not look_back.periods or read is LATER:
        return ()
    if read is None or read.state != look_back.state:
        raise UsageWanted(look_back)
    balances = {period.invoice_id: period.balance for period in look_back.periods}
    found = rules.corrections([period.counted for period in look_back.periods], read.usage)
    return tuple(rules.in_its_way(look_back.settings, one, balances[one.invoice_id]) for one in found)


def moved() -> ApplicationError:
    """The failure of a step whose periods were corrected by another one meanwhile: it is tried again at once."""
    return ApplicationError(
        "another invoice has corrected the same periods meanwhile", type="late_usage_moved", next_retry_delay=AT_ONCE
    )


def correction_id(period: FrozenPeriod) -> str:
    """Of the next correction of a period."""
    return derived_id("usage_correction", period.invoice_id, str(len(period.settled) + 1))


def settle(
    session: AsyncSession,
    subscription_id: str,
    carrier: InvoiceRow | None,
    look_back: LookBack,
    found: Iterable[PeriodCorrection],
    lines: Sequence[InvoiceLineRow],
    at: datetime,
) -> None:
    """Writes down what was corrected, on which invoice (or by its credit notes), and which snapshot stands for which.

    To be called while the carrier, whose lines are `lines`, is not finalized.
    """
    periods = {period.invoice_id: period for period in look_back.periods}
    for one in found:
        period = periods[one.invoice_id]
        scope = period.scope
        sequence = len(period.settled) + 1
        session.add(
            UsageCorrectionRow(
                id=correction_id(period),
                **new_columns(scope),
                subscription_id=subscription_id,
                customer_id=period.customer_id,
                invoice_id=one.invoice_id,
                carrier_invoice_id=None if carrier is None or one.by_credit_note else carrier.id,
                sequence=sequence,
                settled_at=at,
                correction=to_json(one),
            )
        )
        if carrier is not None:
            session.add_all(_superseding(scope, carrier, period, one, lines))


def _superseding(
    scope: Scope, carrier: InvoiceRow, period: FrozenPeriod, one: PeriodCorrection, lines: Sequence[InvoiceLineRow]
) -> list[UsageSnapshotRow]:
    before = {(known.meter_id, known.period): known for known in period.counted.inputs.usage}
    own = {
        (line.meter_id, line.period_start, line.period_end): line for line in lines if _corrects(line, one.invoice_id)
    }
    rows = []
    for snapshot in one.inputs.usage:
        line = own.get((snapshot.meter_id, snapshot.period.start, snapshot.period.end))
        rows.append(
            UsageSnapshotRow(
                id=snapshot.id,
                **new_columns(scope),
                invoice_id=carrier.id,
                invoice_line_id=None if line is None else line.id,
                supersedes=before[(snapshot.meter_id, snapshot.period)].id,
                subscription_line_item_id=(line.subscription_line_item_id or "") if line is not None else "",
                meter_id=snapshot.meter_id,
                period_start=snapshot.period.start,
                period_end=snapshot.period.end,
                cutoff_at=snapshot.cutoff,
                quantity=snapshot.usage.quantity,
                event_count=snapshot.usage.event_count,
                rejected_count=snapshot.usage.rejected_values,
                checksum=snapshot.usage.checksum,
                query=snapshot.query,
                filters=to_json(period.filters[snapshot.meter_id]) if snapshot.meter_id in period.filters else None,
            )
        )
    return rows


def _corrects(line: InvoiceLineRow, invoice_id: str) -> bool:
    if line.kind != ADJUSTMENT:
        return False
    correction = line_from_row(line).derivation.correction
    return correction is not None and correction.invoice_id == invoice_id
