"""Invoices at a threshold: looking at unbilled usage at full hours, and what such invoices billed before a close.

What they bill, and when, is `billing.thresholds`'. An invoice is drafted under the subscription's lock and finalized by
its own workflow, as any other; a close of the same period waits for it, and then bills the rest. Usage is read outside
of the transaction that uses it: where the subscription has moved on meanwhile, nothing is drafted, and the next hour
looks again.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.exceptions import ApplicationError

from activities.drafting import draft_invoice, line_from_row
from activities.invoice_usage import Whose, by_period, customer_and_meters, measure_so_far, passed_of, snapshot_of
from activities.outbox import START_INVOICE, enqueue
from activities.settings import load_billing_settings
from activities.usage_reader import UsageReader
from billing.billed_usage import billed_usage
from billing.invoice_lines import BilledUsage
from billing.invoices import InvoiceInputs
from billing.late_usage import counted_lines
from billing.money import ZERO, total
from billing.terms import BillingReason, DueInvoice, LineKind, Terms
from billing.thresholds import is_checked, is_reached, threshold_invoice
from models.conversions import state_from_row, terms_from_rows
from models.database import Database
from models.ids import derived_id
from models.queries.late_usage import list_lines_by_invoice
from models.queries.subscriptions import get_subscription, list_line_items, list_tax_rates_of
from models.scope import Scope
from models.tables import InvoiceLineRow, InvoiceRow, SubscriptionRow

ON_ACCOUNT: Final = BillingReason.AUTO_INVOICE_THRESHOLD
_BILLED: Final = (LineKind.usage.value, LineKind.overage.value)
_SOON: Final = timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True)
class _Look:
    """A running subscription at a full hour: what an invoice could bill, and the version that this was true of."""

    customer_id: str
    zone: str
    version: int
    inputs: InvoiceInputs


class Thresholds:
    """Looks at subscriptions."""

    def __init__(self, database: Database, usage: UsageReader) -> None:
        self._database = database
        self._usage = usage

    async def check(self, scope: Scope, subscription_id: str, at: datetime, cutoff: datetime) -> str | None:
        """Drafts the invoice of the full hour `at` where unbilled usage has come to the threshold; returns its id.

        Every event accepted before the real instant `cutoff` has been stored. Looking again at the same hour finds the
        same invoice. Raises ClickHouseError.
        """
        async with self._database.transaction(scope) as session:
            row = await get_subscription(session, subscription_id)
            look = await _look(session, row, at)
        if look is None:
            return None
        inputs = await self._measured(scope, subscription_id, look, cutoff)
        async with self._database.transaction(scope) as session:
            row = await get_subscription(session, subscription_id, lock=True)
            if row.version != look.version or row.auto_invoice_threshold is None:
                return None  # it has moved on: its close bills what has not been billed
            if await _unfinished(session, row, inputs.due):
                return None
            inputs = replace(inputs, billed=await _billed(session, row.id, inputs.due))
            if not is_reached(row.auto_invoice_threshold, counted_lines(inputs)):
                return None
            terms = await _terms(session, row, at)
            invoice = await draft_invoice(session, scope, row, terms, inputs.due, await load_billing_settings(session))
            await enqueue(session, scope, START_INVOICE, invoice.id)
            return invoice.id

    async def _measured(self, scope: Scope, subscription_id: str, look: _Look, cutoff: datetime) -> InvoiceInputs:
        due, anchor = look.inputs.due, look.inputs.anchor
        external_id, meters = await customer_and_meters(self._database, scope, look.customer_id, due.lines)
        whose, snapshots = Whose(scope, external_id, look.zone, anchor), []
        for period, wanted in by_period(due.lines, meters).items():
            measured = await measure_so_far(self._usage, whose, wanted, period, passed_of(due, period))
            for meter in wanted:
                name = derived_id("snap", subscription_id, due.at.isoformat(), meter.id)
                snapshots.append(snapshot_of(name, meter, period, cutoff, measured[meter.id], ""))
        return replace(look.inputs, usage=tuple(snapshots))


async def _look(session: AsyncSession, row: SubscriptionRow, at: datetime) -> _Look | None:
    """What an invoice at `at` could bill; None where there is nothing to look at."""
    if row.auto_invoice_threshold is None or not row.opened or not is_checked(state_from_row(row), at):
        return None
    terms = await _terms(session, row, at)
    due = threshold_invoice(terms, state_from_row(row), at)
    if not due.lines:
        return None
    inputs = InvoiceInputs(row.currency, due, anchor=terms.anchor)
    return _Look(row.customer_id, row.timezone, row.version, inputs)


async def _terms(session: AsyncSession, row: SubscriptionRow, at: datetime) -> Terms:
    """What was agreed, with the tax rates that apply at `at`."""
    rates = await list_tax_rates_of(session, row.customer_id, row.id, row.currency, at)
    return terms_from_rows(row, await list_line_items(session, row.id), rates)


async def _unfinished(session: AsyncSession, row: SubscriptionRow, due: DueInvoice) -> bool:
    """Whether an invoice of an earlier hour of the period is not finalized yet, or this hour's has been drafted."""
    query = select(InvoiceRow.id).where(
        InvoiceRow.subscription_id == row.id,
        InvoiceRow.billing_reason == ON_ACCOUNT.value,
        InvoiceRow.period_start == due.period.start,
        (col(InvoiceRow.invoice_status) == "DRAFT") | (col(InvoiceRow.period_end) >= due.period.end),
    )
    return (await session.exec(query.limit(1))).first() is not None


async def _billed(session: AsyncSession, subscription_id: str, due: DueInvoice) -> tuple[BilledUsage, ...]:
    """What the threshold invoices in force billed of the usage that an invoice is due for."""
    query = (
        select(InvoiceRow.id)
        .where(
            InvoiceRow.subscription_id == subscription_id,
            InvoiceRow.billing_reason == ON_ACCOUNT.value,
            InvoiceRow.invoice_status == "FINALIZED",
            col(InvoiceRow.period_end) > min(line.period.start for line in due.lines),
        )
        .order_by(col(InvoiceRow.billing_sequence))
    )
    ids = (await session.exec(query)).all()
    lines = await list_lines_by_invoice(session, ids, _BILLED) if ids else {}
    return billed_usage((each, [line_from_row(line) for line in lines[each]]) for each in ids if each in lines)


async def billed_so_far(session: AsyncSession, row: InvoiceRow, due: DueInvoice) -> tuple[BilledUsage, ...]:
    """What threshold invoices billed of a draft's usage by now, for looking ahead."""
    if row.subscription_id is None or not due.has_usage:
        return ()
    subscription = await session.get_one(SubscriptionRow, row.subscription_id)
    if subscription.auto_invoice_threshold is None:
        return ()
    return await _billed(session, subscription.id, due)


async def billed_on_account(session: AsyncSession, row: SubscriptionRow) -> Decimal:
    """What threshold invoices in force billed of the running period's usage, in major units."""
    if row.auto_invoice_threshold is None:
        return ZERO
    query = (
        select(col(InvoiceLineRow.amount))
        .join(InvoiceRow, col(InvoiceRow.id) == col(InvoiceLineRow.invoice_id))
        .where(
            InvoiceRow.subscription_id == row.id,
            InvoiceRow.billing_reason == ON_ACCOUNT.value,
            InvoiceRow.invoice_status == "FINALIZED",
            InvoiceRow.period_start == row.current_period_start,
            col(InvoiceLineRow.kind).in_(_BILLED),
        )
    )
    return total((await session.exec(query)).all())


async def billed_before(session: AsyncSession, row: InvoiceRow, due: DueInvoice) -> tuple[BilledUsage, ...]:
    """What threshold invoices billed of the usage of a draft that is finalized now; none can be finalized meanwhile.

    Raises a failure that is retried while one that was drafted before is not finalized.
    """
    if row.subscription_id is None or not due.has_usage:
        return ()
    subscription = await session.get_one(SubscriptionRow, row.subscription_id)
    if subscription.auto_invoice_threshold is None:
        return ()
    await get_subscription(session, row.subscription_id, lock=True)
    query = select(InvoiceRow.id).where(
        InvoiceRow.subscription_id == row.subscription_id,
        InvoiceRow.billing_reason == ON_ACCOUNT.value,
        InvoiceRow.invoice_status == "DRAFT",
        InvoiceRow.id != row.id,
        col(InvoiceRow.billing_sequence) < (row.billing_sequence or 0),
    )
    if (first := (await session.exec(query.limit(1))).first()) is not None:
        raise ApplicationError(
            f"invoice {first}, which bills a part of the same usage, is finalized first",
            type="threshold_invoice_first",
            next_retry_delay=_SOON,
        )
    return await _billed(session, subscription.id, due)
