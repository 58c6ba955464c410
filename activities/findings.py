"""Passes over the books and over Temporal: what does not agree is repaired where that is safe, or kept as a finding.

Each check is an execution of its own, by one of the names below; docs/operations.md says what to do about each. Owns
no check: those that compare with Temporal are in `activities.workflow_checks`, those of the books in
`activities.book_checks`, with payment providers in `activities.charge_checks`, with the stored usage in
`activities.usage_checks`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from prometheus_client import Gauge
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.gate import WatchingGate
from activities.invoice_documents import RenderInvoice
from models.database import Database
from models.queries.findings import (
    Finding,
    close_findings,
    count_open,
    keep_findings,
    mark_invoices,
    open_sentences,
    unmark_invoices,
)

SUBSCRIPTION_WITHOUT_WORKFLOW: Final = "subscription_without_workflow"
WORKFLOW_WITHOUT_SUBSCRIPTION: Final = "workflow_without_subscription"
OVERDUE_ACTION: Final = "overdue_action"
INVOICE_WITHOUT_DOCUMENT: Final = "invoice_without_document"
UNBALANCED_LEDGER: Final = "unbalanced_ledger"
NUMBER_GAP: Final = "number_gap"
WALLET_LOT_UNEVEN: Final = "wallet_lot_uneven"
OUTBOX_STUCK: Final = "outbox_stuck"
WEBHOOK_UNDELIVERED: Final = "webhook_undelivered"
CHARGE_UNKNOWN: Final = "charge_unknown"
CHARGE_MISSING: Final = "charge_missing"
SNAPSHOT_CHANGED: Final = "snapshot_changed"

NAMES: Final = (
    SUBSCRIPTION_WITHOUT_WORKFLOW,
    WORKFLOW_WITHOUT_SUBSCRIPTION,
    OVERDUE_ACTION,
    INVOICE_WITHOUT_DOCUMENT,
    UNBALANCED_LEDGER,
    NUMBER_GAP,
    WALLET_LOT_UNEVEN,
    OUTBOX_STUCK,
    WEBHOOK_UNDELIVERED,
    CHARGE_UNKNOWN,
    CHARGE_MISSING,
    SNAPSHOT_CHANGED,
)
ON_INVOICES: Final = frozenset({CHARGE_MISSING, SNAPSHOT_CHANGED})
"""Findings that are about an invoice and wait for a person: its `needs_attention` says so as long as they are open."""

BEAT_SECONDS: Final = 10
OPEN = Gauge("durabill_findings", "Findings of reconciliation and audit that are open", ["name"])
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """Carry out the check `name` at `now` (real time); `everything`: also at what nothing has happened to lately."""

    name: str
    now: datetime
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """How many findings a check met, how many of them it has set a repair going for, what is to be drawn."""

    found: int = 0
    repaired: int = 0
    to_draw: tuple[RenderInvoice, ...] = ()


@dataclass(frozen=True, slots=True)
class Means:
    """What a check works with. `known`: what the findings that are still open are about."""

    database: Database
    gate: WatchingGate
    known: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Met:
    """What a check has met. Not `complete`: there was more than it could look at, so what it lacks is not gone."""

    findings: tuple[Finding, ...] = ()
    complete: bool = True
    to_draw: tuple[RenderInvoice, ...] = ()


Check = Callable[[Means, Look], Awaitable[Met]]


class FindingActivities:
    """One check an execution; its findings are stored in one transaction of their own, so it may be repeated."""

    def __init__(self, database: Database, gate: WatchingGate, checks: Mapping[str, Check]) -> None:
        self._database = database
        self._gate = gate
        self._checks = checks

    @activity.defn(name="findings.look")
    async def look(self, command: Look) -> Looked:
        """Looks, repairs what is safe to repair, stores the findings and closes those that are gone."""
        async with self._database.system_transaction() as session:
            known = await open_sentences(session, command.name)
        beating = asyncio.create_task(_beat())
        try:
            met = await self._checks[command.name](Means(self._database, self._gate, frozenset(known)), command)
        finally:
            beating.cancel()
        async with self._database.system_transaction() as session:
            await keep_findings(session, command.name, met.findings, command.now)
            gone = await close_findings(session, command.name, command.now) if met.complete else {}
            if command.name in ON_INVOICES:
                await unmark_invoices(session, gone)
                await mark_invoices(session, met.findings, known)
        for each in met.findings:
            if each.reference not in known:
                log.warning(
                    "finding.new", finding=command.name, reference=each.reference, sentence=each.sentence,
                    tenant_id=each.scope.tenant_id,
                )  # fmt: skip
        return Looked(len(met.findings), sum(each.repaired for each in met.findings), met.to_draw)


async def _beat() -> None:
    """A question to a large database takes its time: only the end of the worker is to be noticed early."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(BEAT_SECONDS)


async def measure_findings(session: AsyncSession) -> None:
    """Sets the metric to what is open; every process that relays the outbox does so, so that none grows stale."""
    counts = await count_open(session)
    for name in {*NAMES, *counts}:
        OPEN.labels(name).set(counts.get(name, 0))
