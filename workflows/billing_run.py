"""A billing run: finds what is due and not done, wakes it at a bounded rate, reports. It closes nothing itself."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.billing_previews import BillingPreviewActivities, PreviewPage
    from activities.billing_run_states import (
        KINDS,
        BillingRunReport,
        CurrencyTotal,
        Kind,
        PreviewedInvoice,
        RunFilter,
    )
    from activities.billing_runs import BeginRun, BillingRunActivities, DuePage
    from activities.options import SCAN
    from billing.money import decimal_text, total

from workflows.contracts import BillingRunInput, BillingRunProgress
from workflows.wording import instant, table

MOST_A_PAGE = 100
MOST_A_PREVIEW_PAGE = 20
MOST_SHOWN = 100
FIRST_LOOK = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(seconds=15)


@workflow.defn(name="BillingRunWorkflow")
class BillingRunWorkflow:
    """Short; a run that was ended half-way is begun again and finds what is left, because Postgres says what is due."""

    @workflow.init
    def __init__(self, start: BillingRunInput) -> None:
        self._start = start
        self._report = BillingRunReport(start.as_of or workflow.now(), start.dry_run)
        self._known_by = workflow.now()
        self._kind: Kind = KINDS[0]
        self._after = ""

    @workflow.run
    async def run(self, start: BillingRunInput) -> BillingRunReport:
        """Returns what was due, what is done and what is not. Fails for an instant to come, unless it is a dry run."""
        await self._begin()
        for kind in KINDS[KINDS.index(self._kind) :]:
            self._kind = kind
            await (self._preview_all() if start.dry_run else self._wake_all())
            self._after = ""
        if not start.dry_run:
            await self._wait()
        self._tell(phase="finished")
        return self._report

    @workflow.query(name="progress", description="What was due, woken and done so far.")
    def progress(self) -> BillingRunReport:
        """The report as far as it has come."""
        return self._report

    async def _begin(self) -> None:
        if (progress := self._start.progress) is not None:
            self._report, self._known_by = progress.report, progress.known_by
            self._kind, self._after = progress.kind, progress.after
            return
        command = BeginRun(self._known_by, self._start.as_of, self._start.overdue_seconds, self._start.dry_run)
        as_of = await workflow.execute_activity_method(
            BillingRunActivities.begin, command, summary="as of when", **SCAN
        )
        self._report = replace(self._report, as_of=as_of)
        due = await workflow.execute_activity_method(
            BillingRunActivities.count, self._wanted(), summary="what is due", **SCAN
        )
        self._tell(due=due, remaining=due.both)

    def _wanted(self) -> RunFilter:
        return RunFilter(self._report.as_of, self._known_by, self._start.tenant_id, self._start.customer_id)

    async def _wake_all(self) -> None:
        """Pages of at most five seconds' worth, each followed by the pause that keeps the rate."""
        self._tell(phase="waking")
        most = min(max(self._start.per_second, 1) * 5, MOST_A_PAGE)
        while True:
            page = DuePage(self._wanted(), self._kind, self._after, most, restart=self._start.as_of is not None)
            woken = await workflow.execute_activity_method(
                BillingRunActivities.wake, page, summary=f"wake {self._kind}s", **SCAN
            )
            self._tell(woken=self._report.woken + woken.count)
            if not woken.after:
                return
            self._after = woken.after
            self._continue_if_long()
            await workflow.sleep(woken.count / max(self._start.per_second, 1), summary="keep the rate")

    async def _preview_all(self) -> None:
        self._tell(phase="previewing")
        while True:
            page = DuePage(self._wanted(), self._kind, self._after, MOST_A_PREVIEW_PAGE)
            found = await workflow.execute_activity_method(
                BillingPreviewActivities.preview, page, summary=f"preview {self._kind}s", **SCAN
            )
            self._add(found)
            if not found.after:
                return
            self._after = found.after
            self._continue_if_long()

    def _add(self, page: PreviewPage) -> None:
        report = self._report
        self._tell(
            invoice_count=report.invoice_count + len(page.invoices),
            invoices=(*report.invoices, *page.invoices)[:MOST_SHOWN],
            totals=added(report.totals, page.invoices),
            not_done=(*report.not_done, *page.problems)[:MOST_SHOWN],
        )

    async def _wait(self) -> None:
        """Until all is done, or nothing has been done for a while: then each that is left says why."""
        self._tell(phase="waiting")
        pause, left, moved = FIRST_LOOK, -1, workflow.now()
        while True:
            due = await workflow.execute_activity_method(
                BillingRunActivities.count, self._wanted(), summary="what is left", **SCAN
            )
            moved = workflow.now() if due.both != left else moved
            left = due.both
            self._tell(remaining=left)
            if left == 0:
                return
            if workflow.now() - moved >= timedelta(seconds=self._start.patience_seconds):
                break
            await workflow.sleep(pause, summary="what was woken is at work")
            pause = min(pause * 2, LONGEST_PAUSE)
        page = DuePage(self._wanted(), KINDS[0], "", MOST_SHOWN)
        not_done = await workflow.execute_activity_method(
            BillingRunActivities.explain, page, summary="why not done", **SCAN
        )
        self._tell(not_done=tuple(not_done))

    def _continue_if_long(self) -> None:
        if workflow.info().is_continue_as_new_suggested():
            progress = BillingRunProgress(self._report, self._known_by, self._kind, self._after)
            workflow.continue_as_new(replace(self._start, progress=progress))

    def _tell(self, **changes: object) -> None:
        self._report = replace(self._report, **changes)  # type: ignore[arg-type]  # names and types are the report's
        workflow.set_current_details(details(self._report))


def added(totals: Iterable[CurrencyTotal], invoices: Iterable[PreviewedInvoice]) -> tuple[CurrencyTotal, ...]:
    """The totals with `invoices` added, by currency."""
    found = {one.currency: one for one in totals}
    for invoice in invoices:
        before = found.get(invoice.currency, CurrencyTotal(invoice.currency, 0, "0", "0", "0"))
        found[invoice.currency] = CurrencyTotal(
            invoice.currency,
            before.invoices + 1,
            _sum(before.subtotal, invoice.subtotal),
            _sum(before.total_tax, invoice.total_tax),
            _sum(before.total, invoice.total),
        )
    return tuple(found[currency] for currency in sorted(found))


def _sum(one: str, other: str) -> str:
    return decimal_text(total((Decimal(one), Decimal(other))))


def details(report: BillingRunReport) -> str:
    """Where the run stands, for the operator."""
    rows = [
        ("Phase", report.phase),
        ("As of", instant(report.as_of)),
        ("Due", f"{report.due.subscriptions} subscriptions, {report.due.invoices} invoices"),
    ]
    if report.dry_run:
        rows.append(("Would be billed", f"{report.invoice_count} invoices"))
        rows += [(each.currency.upper(), each.total) for each in report.totals]
    else:
        rows += [("Woken", str(report.woken)), ("Done", str(report.done)), ("Not done", str(report.remaining))]
    lines = [f"- {one.kind} {one.id}, due {instant(one.due_at)}: {one.reason}" for one in report.not_done]
    return table(rows) + ("\n\nNot done:\n" + "\n".join(lines) if lines else "")
