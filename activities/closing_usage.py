"""The usage of invoices whose grace is over, frozen together: the first that is finalized reads for those behind it.

A worker finalizes some fifty invoices at a time, and thousands fall due at one instant. Those of one plan, period and
set of meters are a cohort: one cut-off is for all of them, and one statement reads for all. Who is finalized within
FRESH of it takes the answer from there. An event that was accepted before the cohort's cut-off counts. This is never
before the end of anybody's grace, so what comes after it is late usage, as what comes after any finalizing is.
"""

import asyncio
import time
from collections.abc import Hashable, Sequence
from datetime import datetime, timedelta
from typing import Final

from activities.bookkeeping import scope_of
from activities.event_corrections import apply_pending
from activities.grouped_usage import GroupedUsage, Made, Question
from activities.usage_reader import UsageReader
from billing.terms import BillingReason, DueInvoice, LineKind
from models.database import Database
from models.queries.due_work import WaitingDraft, list_drafts_like
from models.queries.event_corrections import PENDING_MOST
from models.scope import Scope
from models.tables import InvoiceRow

FRESH: Final = timedelta(minutes=2)
"""So long a cohort's cut-off stands for who comes later: the longest that an event may be late, find its invoice a
draft, and yet not be in it."""

FIRST: Final = 250
MOST: Final = 1000
"""Customers that are read together: more than a worker finalizes within FRESH; fewer where that is slow."""

SLOW_SECONDS: Final = 3.0
READS_MOST: Final = 12
"""Different reads that a cohort shares: totals, charts, the periods that are looked back on. What single ones of it ask
besides, who once had other meters, is read for them alone."""


class Cohort:
    """Some drafts, and what has been read for all their customers as of `cutoff`."""

    def __init__(self, cutoff: datetime, drafts: Sequence[WaitingDraft]) -> None:
        self.cutoff = cutoff
        self.invoices = frozenset(draft.invoice_id for draft in drafts)
        self.last = max(draft.place for draft in drafts)
        self.slowest = 0.0
        self.failed = False
        self._customers = tuple(dict.fromkeys(draft.external_customer_id for draft in drafts))
        self._reads: dict[Hashable, asyncio.Task[dict[str, Made | BaseException]]] = {}

    async def answer(self, usage: GroupedUsage, question: Question, customer: str) -> Made:
        """The answer for one customer, from a read for all of them. Raises what that raised for this customer."""
        reading = self._reads.get(question.key)
        if reading is None:
            if len(self._reads) == READS_MOST or customer not in self._customers:
                return await usage.ask(question, customer)
            reading = self._reads[question.key] = asyncio.create_task(self._read(usage, question))
        # Who gives up takes nobody's answer away; a step that is tried again finds it.
        answer = (await asyncio.shield(reading))[customer]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def _read(self, usage: GroupedUsage, question: Question) -> dict[str, Made | BaseException]:
        begun = time.monotonic()
        asked = [usage.ask(question, customer) for customer in self._customers]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self.failed = self.failed or any(isinstance(answer, BaseException) for answer in answers)
        return dict(zip(self._customers, answers, strict=True))


class CohortUsage(GroupedUsage):
    """The reader for an invoice of a cohort."""

    def __init__(self, usage: GroupedUsage, cohort: Cohort) -> None:
        super().__init__(usage.clickhouse, usage.rollups)
        self._usage, self._cohort = usage, cohort

    async def ask(self, question: Question, customer: str) -> Made:
        """From what the cohort has read."""
        return await self._cohort.answer(self._usage, question, customer)


class ClosingUsage:
    """Tells whose usage an invoice's is frozen with."""

    def __init__(self, database: Database, usage: GroupedUsage) -> None:
        self._database, self._usage = database, usage
        self._cohorts: dict[Hashable, list[Cohort]] = {}
        self._sizes: dict[Hashable, int] = {}
        self._making = asyncio.Lock()

    async def reader(self, row: InvoiceRow, due: DueInvoice, cutoff: datetime) -> tuple[UsageReader, datetime]:
        """The reader for a draft whose grace ended before `cutoff`, and the cut-off as of which it reads.

        Raises ClickHouseError where a correction that waits cannot be applied.
        """
        if row.subscription_id is None or row.test_clock_id is not None or not _waits(due):
            return self._usage, cutoff
        meters = frozenset(line.price.meter_id or "" for line in due.lines if line.kind is LineKind.usage)
        alike = (scope_of(row), row.billing_reason, row.period_start, row.period_end, row.timezone, meters)
        async with self._making:  # of those who come at once, the first makes it for all
            cohort = self._known(alike, row, cutoff)
            if cohort is None:
                cohort = await self._make(alike, row, meters, cutoff)
        return (self._usage, cutoff) if cohort is None else (CohortUsage(self._usage, cohort), cohort.cutoff)

    def _known(self, alike: Hashable, row: InvoiceRow, cutoff: datetime) -> Cohort | None:
        for cohort in self._fresh(alike, cutoff):
            if row.id in cohort.invoices:
                return cohort
        return None

    def _fresh(self, alike: Hashable, cutoff: datetime) -> list[Cohort]:
        known = self._cohorts.get(alike, [])
        return [cohort for cohort in known if not cohort.failed and cutoff - cohort.cutoff <= FRESH]

    async def _make(self, alike: Hashable, row: InvoiceRow, meters: frozenset[str], cutoff: datetime) -> Cohort | None:
        fresh, scope = self._fresh(alike, cutoff), scope_of(row)
        after = fresh[-1].last if fresh else None
        async with self._database.transaction(scope) as session:
            drafts = await list_drafts_like(session, row, cutoff, after, self._size(scope, meters, alike))
        drafts = [draft for draft in drafts if draft.meter_ids == meters]
        if len(drafts) < 2 or row.id not in {draft.invoice_id for draft in drafts}:
            return None
        # A correction of an event that was written down counts, whatever has died since.
        while await apply_pending(self._database, self._usage.clickhouse, scope) == PENDING_MOST:
            pass
        cohort = Cohort(cutoff, drafts)
        self._cohorts[alike] = [*fresh, cohort]
        asyncio.get_running_loop().call_later(2 * FRESH.total_seconds(), self._forget, alike, cohort)
        return cohort

    def _size(self, scope: Scope, meters: frozenset[str], alike: Hashable) -> int:
        """How many are read together, by how long it took those before."""
        key, before = (scope, meters), self._cohorts.get(alike, [])
        size = self._sizes.get(key, FIRST)
        if before and (before[-1].failed or before[-1].slowest > SLOW_SECONDS):
            size = max(size // 4, 1)
        elif before:
            size = min(size * 2, MOST)
        self._sizes[key] = size
        return size

    def _forget(self, alike: Hashable, cohort: Cohort) -> None:
        left = [each for each in self._cohorts.get(alike, []) if each is not cohort]
        if left:
            self._cohorts[alike] = left
        else:
            self._cohorts.pop(alike, None)


def _waits(due: DueInvoice) -> bool:
    """Whether it waits out a grace, as the others do that close the same period."""
    return due.has_usage and due.reason is not BillingReason.AUTO_INVOICE_THRESHOLD
