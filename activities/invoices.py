"""Invoices: finalizing and verifying; voiding is in `activities.voids`. Rules are `billing.invoices`'s."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.bookkeeping import new_columns, remember_command, scope_of, touch
from activities.business_time import business_time, clock_now
from activities.closing_usage import ClosingUsage
from activities.collection import collection_state, payment_source
from activities.drafting import inputs_from_row, rewrite_invoice, stored_invoice
from activities.ingestion.ports import UsageProgress
from activities.invoice_usage import Frozen, known_until, passed_of, read_usage
from activities.late_notes import issue_notes
from activities.late_usage import (
    LateUsage,
    LookBack,
    ReadAnew,
    UsageWanted,
    corrections_of,
    look_back_of_invoice,
    moved,
    require_settled,
    settle,
)
from activities.outbox import emit
from activities.payloads import invoice_payload
from activities.revenue import defer_revenue, release_due
from activities.states import InvoiceState
from activities.thresholds import billed_before
from activities.usage_reader import UsageReader
from activities.voids import void_invoice
from activities.wallet_payments import has_postpaid
from activities.wallets import draw_down, give_back, open_prepaid
from billing.codec import to_json
from billing.collection import at_finalizing, first_attempt_at
from billing.errors import Conflict
from billing.invoice_lines import PeriodCorrection
from billing.invoice_states import PAID, InvoiceCommand, InvoiceStatus, next_invoice_status
from billing.invoices import Invoice, InvoiceInputs, build_final_invoice, invoice_number, verify
from billing.ledger import post_finalized
from billing.terms import DueInvoice
from billing.wallets import EntryReason
from models.database import Database
from models.queries.invoices import get_invoice, list_lines, take_number
from models.queries.ledger import insert_posting
from models.scope import Scope
from models.tables import InvoiceLineRow, InvoiceRow, UsageSnapshotRow


@dataclass(frozen=True, slots=True)
class FinalizeInvoice:
    """Finalize a draft at business instant `now`; events accepted before the real instant `cutoff` must count."""

    scope: Scope
    invoice_id: str
    now: datetime
    cutoff: datetime
    forced: bool = False
    """True: by command, before the grace is over."""
    command_id: str = ""
    """Of that command, so that one which is sent again is answered as done."""


@dataclass(frozen=True, slots=True)
class VoidInvoice:
    """Void an invoice at business instant `now`."""

    scope: Scope
    invoice_id: str
    command_id: str
    now: datetime
    reason: str = ""


class InvoiceActivities:
    """One transaction each; finalizing reads usage first."""

    def __init__(
        self, database: Database, usage: UsageReader, progress: UsageProgress, closing: ClosingUsage | None = None
    ) -> None:
        self._database = database
        self._usage = usage
        self._progress = progress
        self._closing = closing
        self._late = LateUsage(database, usage, progress)

    @activity.defn(name="invoices.finalize")
    async def finalize(self, command: FinalizeInvoice) -> InvoiceState:
        """Freezes usage and rates, takes the number, posts to the ledger. A finalized invoice is answered as it is."""
        async with self._database.transaction(command.scope) as session:
            row = await get_invoice(session, command.invoice_id)
            if not _is_due(row, command):
                return await collection_state(session, row)
            inputs = inputs_from_row(row)
            look_back = await look_back_of_invoice(session, row, inputs)
            clock = await clock_now(session, row.test_clock_id)
        usage, cutoff = self._usage, command.cutoff
        if self._closing is not None and not command.forced:
            usage, cutoff = await self._closing.reader(row, inputs.due, cutoff)
        frozen = await self._freeze_usage(usage, row, inputs, cutoff, clock)
        late = await self._late.read(look_back, cutoff, usage)
        async with self._database.transaction(command.scope) as session:
            row = await get_invoice(session, command.invoice_id, lock=True)
            if _is_due(row, command):
                now = await business_time(session, row.test_clock_id, command.now)
                look_back = await look_back_of_invoice(session, row, inputs, lock=True)
                found = _corrections(look_back, late)
                billed = await billed_before(session, row, inputs.due)
                inputs = replace(inputs, usage=frozen.snapshots, corrections=found, billed=billed)
                await finalize_invoice(session, row, inputs, frozen, now, look_back)
                if command.command_id:
                    remember_command(row, command.command_id)
            return await collection_state(session, row)

    @activity.defn(name="invoices.void")
    async def void(self, command: VoidInvoice) -> InvoiceState:
        """Takes the invoice back: nothing is owed, what was paid is the customer's. Raises Conflict for its state."""
        async with self._database.transaction(command.scope) as session:
            row = await get_invoice(session, command.invoice_id, lock=True)
            if command.command_id not in row.seen_commands:
                now = await business_time(session, row.test_clock_id, command.now)
                await void_invoice(session, row, now, command.reason)
                remember_command(row, command.command_id)
            return await collection_state(session, row)

    async def _freeze_usage(
        self, usage: UsageReader, row: InvoiceRow, inputs: InvoiceInputs, cutoff: datetime, clock: datetime | None
    ) -> Frozen:
        if not inputs.due.has_usage:
            return Frozen((), ())
        await require_settled(self._progress, cutoff)
        return await read_usage(self._database, usage, row, inputs, known_until(cutoff, clock))


def _is_due(row: InvoiceRow, command: FinalizeInvoice) -> bool:
    return row.invoice_status == "DRAFT" and (command.forced or row.finalize_at <= command.now)


def _corrections(look_back: LookBack, late: ReadAnew) -> tuple[PeriodCorrection, ...]:
    """What has changed in earlier periods; raises a failure that is retried where they were corrected meanwhile."""
    try:
        return corrections_of(look_back, late)
    except UsageWanted:
        raise moved() from None


async def finalize_invoice(
    session: AsyncSession,
    row: InvoiceRow,
    inputs: InvoiceInputs,
    frozen: Frozen,
    now: datetime,
    look_back: LookBack | None = None,
) -> None:
    """Writes a locked draft as the finalized invoice that follows from `inputs`, with everything that belongs to it.

    Its credits are drawn from the customer's wallet as that stands now, and what it owes the customer goes there. Its
    corrections are of periods of `look_back`. One that has no line is skipped.
    """
    scope = scope_of(row)
    prepaid = await open_prepaid(session, row)
    inputs = replace(inputs, wallet=None if prepaid is None else prepaid.wallet)
    invoice = build_final_invoice(inputs)
    lines, taxes = await rewrite_invoice(session, scope, row, inputs, invoice)
    session.add_all(_snapshot_rows(scope, row, inputs.due, lines, frozen))
    if look_back is not None and row.subscription_id is not None:
        settle(session, row.subscription_id, row, look_back, inputs.corrections, lines, now)
        if await issue_notes(session, look_back, inputs.corrections, now) and prepaid is not None:
            prepaid = await open_prepaid(session, row)  # the invoice draws what it drew, and the wallet has more now
    if invoice.status is InvoiceStatus.SKIPPED:
        _skip(row)
        return
    await session.flush()  # once the invoice is finalized, the database takes nothing more that belongs to it
    row.invoice_number = invoice_number(await take_number(session, scope, f"{now:%Y%m}"), now)
    row.invoice_status = next_invoice_status(InvoiceStatus.DRAFT, InvoiceCommand.finalize).value
    row.finalized_at = row.issue_date = now
    row.next_action_at = None
    row.version += 1
    touch(row)
    await insert_posting(
        session, scope, post_finalized(row.id, invoice), now, invoice_id=row.id, customer_id=row.customer_id
    )
    await defer_revenue(session, row, invoice, lines, now)
    if prepaid is not None:
        await draw_down(session, prepaid, row, invoice, now)
    if row.carried_credit:
        await give_back(session, row, row.carried_credit, EntryReason.adjustment, now)
    await session.flush()
    if row.subscription_id is not None:
        await release_due(session, min(now, row.period_end), subscription_id=row.subscription_id)
    await _decide_collection(session, row, now)
    await session.flush()
    await emit(session, scope, "invoice.update.finalized", row.id, {"invoice": invoice_payload(row, lines, taxes)}, now)


def _skip(row: InvoiceRow) -> None:
    """What was to be corrected when it was drafted has been settled by another invoice meanwhile."""
    row.invoice_status = next_invoice_status(InvoiceStatus.DRAFT, InvoiceCommand.skip).value
    row.next_action_at = None
    row.version += 1
    touch(row)


async def _decide_collection(session: AsyncSession, row: InvoiceRow, now: datetime) -> None:
    """An invoice of 0 is paid by itself; one that a method or a wallet may pay is collected at once; others wait."""
    payment = at_finalizing(row.amount_due)
    row.payment_status = payment.value
    if payment in PAID:
        row.paid_at = now
        return
    is_payable = await payment_source(session, row) is not None or await has_postpaid(session, row)
    row.next_action_at = first_attempt_at(payment, is_payable, now)


def _snapshot_rows(
    scope: Scope, row: InvoiceRow, due: DueInvoice, lines: list[InvoiceLineRow], frozen: Frozen
) -> list[UsageSnapshotRow]:
    by_key = {(line.meter_id, line.period_start, line.period_end): line for line in lines if line.kind == "usage"}
    rows = []
    for snapshot in frozen.snapshots:
        period = passed_of(due, snapshot.period)
        line = by_key.get((snapshot.meter_id, period.start, period.end))
        if line is None and period != snapshot.period:
            continue  # nothing of it was left to bill at a threshold
        assert line is not None
        rows.append(
            UsageSnapshotRow(
                id=snapshot.id,
                **new_columns(scope),
                invoice_id=row.id,
                invoice_line_id=line.id,
                subscription_line_item_id=line.subscription_line_item_id or "",
                meter_id=snapshot.meter_id,
                period_start=period.start,
                period_end=period.end,
                cutoff_at=snapshot.cutoff,
                quantity=snapshot.usage.quantity,
                event_count=snapshot.usage.event_count,
                rejected_count=snapshot.usage.rejected_values,
                checksum=snapshot.usage.checksum,
                query=snapshot.query,
                filters=to_json(frozen.meters[snapshot.meter_id].filters),
                daily=frozen.daily_of(snapshot.id),
            )
        )
    return rows


async def verify_invoice(session: AsyncSession, invoice_id: str) -> tuple[str, ...]:
    """Recomputes a finalized invoice from its stored inputs: the places where it differs, () when it is right."""
    row = await get_invoice(session, invoice_id)
    if row.invoice_status == "DRAFT":
        raise Conflict("a draft cannot be verified: its usage is not frozen yet", state="DRAFT", possible=("finalize",))
    stored: Invoice = stored_invoice(row, await list_lines(session, invoice_id))
    return verify(inputs_from_row(row), stored)
