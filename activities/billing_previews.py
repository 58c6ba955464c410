"""What a billing run would make: the run's own steps, in transactions that are rolled back.

Crossing boundaries and drafting is the product's own code, so a preview cannot differ from the run; usage is read
outside of the transaction, and what remains is the pure pipeline of finalizing. Nothing is written.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.billing_run_states import Kind, NotDone, PreviewedInvoice
from activities.billing_runs import DuePage, due_rows
from activities.bookkeeping import scope_of
from activities.drafting import inputs_from_row
from activities.invoice_usage import read_quantities
from activities.late_previews import PreviewedCorrections
from activities.late_usage import (
    LookBack,
    ReadAnew,
    UsageWanted,
    look_back_of_invoice,
    read_anew,
)
from activities.subscriptions import cross_boundary
from activities.thresholds import billed_so_far
from activities.usage_reader import UsageReader
from activities.wallets import open_prepaid
from billing.errors import BillingError
from billing.invoice_lines import BilledUsage
from billing.invoices import Invoice, InvoiceInputs, build_final_invoice
from billing.money import decimal_text
from billing.wallets import Wallet, take_draws
from models.database import Database
from models.queries.invoices import get_invoice
from models.queries.subscriptions import get_subscription
from models.scope import Scope
from models.tables import InvoiceRow, SubscriptionRow

MOST_BOUNDARIES = 60
"""Five years of months: a subscription with more of them due is reported as such."""


@dataclass(frozen=True, slots=True)
class PreviewPage:
    """The invoices of one page, what could not be computed, and the last id while there may be more."""

    invoices: tuple[PreviewedInvoice, ...]
    problems: tuple[NotDone, ...]
    count: int
    after: str


@dataclass(frozen=True, slots=True)
class _Draft:
    """A draft as it would be finalized: detached from the database."""

    row: InvoiceRow
    inputs: InvoiceInputs
    stored: bool
    look_back: LookBack
    billed: tuple[BilledUsage, ...]


class BillingPreviewActivities:
    """Reads only."""

    def __init__(self, database: Database, usage: UsageReader) -> None:
        self._database = database
        self._usage = usage

    @activity.defn(name="billing_runs.preview")
    async def preview(self, page: DuePage) -> PreviewPage:
        """What the due work of one page would be billed. What cannot be computed is named with its reason."""
        async with self._database.system_transaction() as session:
            rows = await due_rows(session, page.wanted, page.kind, page.after, page.most)
        found: list[PreviewedInvoice] = []
        problems: list[NotDone] = []
        for row in rows:
            try:
                found += await self._of(row, page.kind, page.wanted.as_of)
            except (BillingError, KeyError, ValueError) as problem:
                problems.append(_problem(page.kind, row, str(problem)))
            activity.heartbeat()
        after = rows[-1].id if len(rows) == page.most else ""
        return PreviewPage(tuple(found), tuple(problems), len(rows), after)

    async def _of(self, row: SubscriptionRow | InvoiceRow, kind: Kind, as_of: datetime) -> list[PreviewedInvoice]:
        scope = scope_of(row)
        if kind == "subscription":
            drafts, wallet = await self._drafts_of(scope, row.id, as_of)
        else:
            drafts, wallet = await self._draft(scope, row.id)
        previewed = []
        anew = PreviewedCorrections(self._database, self._usage, datetime.now(UTC))
        for draft in drafts:
            usage = await read_quantities(self._database, self._usage, draft.row, draft.inputs, as_of)
            found = await anew.of(draft.look_back)
            inputs = replace(draft.inputs, usage=usage, wallet=wallet, corrections=found, billed=draft.billed)
            invoice = build_final_invoice(inputs)
            anew.note(found, invoice.lines)
            if wallet is not None and invoice.credit_draws:
                wallet = take_draws(wallet, invoice.credit_draws, as_of, draft.row.id).wallet
            if invoice.lines:
                previewed.append(_previewed(draft, invoice))
        return previewed

    async def _drafts_of(
        self, scope: Scope, subscription_id: str, as_of: datetime
    ) -> tuple[list[_Draft], Wallet | None]:
        """With usage of closed periods read as often as a boundary needs it."""
        late: ReadAnew | None = None
        for _ in range(MOST_BOUNDARIES):
            try:
                return await self._crossed(scope, subscription_id, as_of, late)
            except UsageWanted as wanted:
                late = await read_anew(self._database, self._usage, wanted.look_back, datetime.now(UTC))
        raise ValueError(f"more than {MOST_BOUNDARIES} boundaries are due; run it up to an earlier instant")

    async def _crossed(
        self, scope: Scope, subscription_id: str, as_of: datetime, late: ReadAnew | None
    ) -> tuple[list[_Draft], Wallet | None]:
        drafts: list[_Draft] = []
        wallet: Wallet | None = None
        async with _undone(self._database, scope) as session:
            row = await get_subscription(session, subscription_id, lock=True)
            crossed = 0
            while row.next_action_at is not None and row.next_action_at <= as_of:
                if crossed == MOST_BOUNDARIES:
                    raise ValueError(f"more than {MOST_BOUNDARIES} boundaries are due; run it up to an earlier instant")
                for invoice in await cross_boundary(session, row, late):
                    if invoice.invoice_status == "DRAFT":
                        drafts.append(await _draft_of(session, invoice, stored=False))
                await session.flush()
                crossed += 1
            if drafts:
                wallet = await _wallet(session, drafts[0].row)
        return drafts, wallet

    async def _draft(self, scope: Scope, invoice_id: str) -> tuple[list[_Draft], Wallet | None]:
        """A draft whose grace is over; what is finalized and waits for its next payment attempt is billed already."""
        async with _undone(self._database, scope) as session:
            row = await get_invoice(session, invoice_id)
            if row.invoice_status != "DRAFT":
                return [], None
            return [await _draft_of(session, row, stored=True)], await _wallet(session, row)


class _Undo(Exception):
    """Ends a transaction so that it is rolled back."""


@asynccontextmanager
async def _undone(database: Database, scope: Scope) -> AsyncIterator[AsyncSession]:
    """A transaction whose every change is taken back, numbers and events included."""
    try:
        async with database.transaction(scope) as session:
            yield session
            raise _Undo
    except _Undo:
        return


async def _wallet(session: AsyncSession, row: InvoiceRow) -> Wallet | None:
    opened = await open_prepaid(session, row)
    return None if opened is None else opened.wallet


async def _draft_of(session: AsyncSession, row: InvoiceRow, *, stored: bool) -> _Draft:
    inputs = inputs_from_row(row)
    look_back = await look_back_of_invoice(session, row, inputs)
    return _Draft(_detached(row), inputs, stored, look_back, await billed_so_far(session, row, inputs.due))


def _detached(row: InvoiceRow) -> InvoiceRow:
    return InvoiceRow(**row.model_dump())


def _previewed(draft: _Draft, invoice: Invoice) -> PreviewedInvoice:
    row = draft.row
    return PreviewedInvoice(
        tenant_id=row.tenant_id,
        customer_id=row.customer_id,
        subscription_id=row.subscription_id,
        period_start=row.period_start,
        period_end=row.period_end,
        billing_reason=row.billing_reason,
        currency=row.currency,
        subtotal=decimal_text(invoice.subtotal),
        total_tax=decimal_text(invoice.total_tax),
        total=decimal_text(invoice.total),
        finalize_at=row.finalize_at,
        invoice_id=row.id if draft.stored else None,
    )


def _problem(kind: Kind, row: SubscriptionRow | InvoiceRow, reason: str) -> NotDone:
    assert row.next_action_at is not None
    return NotDone(kind, row.id, row.tenant_id, row.customer_id, row.next_action_at, reason)
