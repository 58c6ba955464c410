"""Billing runs from outside: starting one, following it, finding those of before."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError

from activities.billing_run_states import BillingRunReport
from workflows.contracts import RUNS, BillingRunInput, billing_run_workflow_id
from workflows.search_attributes import TENANT_ID

Run = WorkflowHandle[object, BillingRunReport]
LOOK = timedelta(seconds=1)


class RunFailed(Exception):
    """The run has ended without a report; the message says why. The same run may be started again."""


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run as the list of workflows shows it."""

    id: str
    status: str
    started_at: datetime
    closed_at: datetime | None


async def start_run(client: Client, wanted: BillingRunInput) -> Run:
    """Starts the run, or joins the one of the same instant and filters that is under way. Needs `as_of`."""
    if wanted.as_of is None:
        raise ValueError("as_of must be given")
    run_id = billing_run_workflow_id(wanted.as_of, wanted.tenant_id, wanted.customer_id, dry_run=wanted.dry_run)
    pairs = [] if wanted.tenant_id is None else [SearchAttributePair(TENANT_ID, wanted.tenant_id)]
    await client.start_workflow(
        "BillingRunWorkflow",
        wanted,
        id=run_id,
        task_queue=RUNS,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        search_attributes=TypedSearchAttributes(pairs),
        static_summary="what is due and not done",
    )
    return run_of(client, run_id)


def run_of(client: Client, run_id: str) -> Run:
    """The run of that workflow id."""
    return client.get_workflow_handle(run_id, result_type=BillingRunReport)


async def follow(run: Run, tell: Callable[[BillingRunReport | None], None]) -> BillingRunReport:
    """The report when the run is over; `tell` gets each one on the way, None while no worker answers.

    Raises RunFailed.
    """
    result = asyncio.ensure_future(run.result())
    try:
        while not result.done():
            await asyncio.wait({result}, timeout=LOOK.total_seconds())
            if not result.done():
                tell(await _progress(run))
        return result.result()
    except WorkflowFailureError as failure:
        raise RunFailed(_reason(failure)) from failure
    finally:
        result.cancel()


async def report_of(run: Run) -> tuple[str, BillingRunReport | None]:
    """Its status, and the report as far as it has come; None when nobody answers. Raises RPCError, as NOT_FOUND."""
    found = await run.describe()
    status = found.status.name.lower() if found.status else "unknown"
    if found.status is WorkflowExecutionStatus.COMPLETED:
        return status, await run.result()
    return status, await _progress(run)


async def recent_runs(client: Client, most: int) -> list[KnownRun]:
    """Runs and previews, newest first."""
    query = 'WorkflowType = "BillingRunWorkflow"'
    return [
        KnownRun(each.id, each.status.name.lower() if each.status else "", each.start_time, each.close_time)
        async for each in client.list_workflows(query, limit=most)
    ]


async def _progress(run: Run) -> BillingRunReport | None:
    try:
        report: BillingRunReport = await run.query("progress", result_type=BillingRunReport, rpc_timeout=2 * LOOK)
    except RPCError:
        return None
    return report


def _reason(failure: WorkflowFailureError) -> str:
    cause: BaseException = failure
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return getattr(cause, "message", None) or str(cause)
