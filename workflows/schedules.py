"""Every Schedule there is, as one table, and making a namespace agree with it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from workflows.contracts import BILLING, RUNS, BillingRunInput


@dataclass(frozen=True, slots=True)
class ScheduleEntry:
    """One Schedule. `cron` is in `zone`; a run missed by more than `catchup_window` is left out."""

    id: str
    workflow: str
    cron: str
    zone: str = "UTC"
    overlap: ScheduleOverlapPolicy = ScheduleOverlapPolicy.SKIP
    catchup_window: timedelta = timedelta(hours=1)
    queue: str = BILLING
    note: str = ""
    arguments: tuple[object, ...] = ()


SCHEDULES: Final[tuple[ScheduleEntry, ...]] = (
    ScheduleEntry(
        "revenue-release",
        "RevenueReleaseWorkflow",
        "7 * * * *",
        note="Deferred revenue of subscriptions that have ended becomes revenue when its period is over.",
    ),
    ScheduleEntry(
        "wallets",
        "WalletWorkflow",
        "23 2 * * *",
        catchup_window=timedelta(days=1),
        note="Credits that have expired are taken out of their wallets.",
    ),
    ScheduleEntry(
        "usage-aggregation",
        "UsageAggregationWorkflow",
        "4 * * * *",
        note="At each full hour: invoices at thresholds, alerts on balances, and usage that is over is sealed.",
    ),
    ScheduleEntry(
        "usage-reconciliation",
        "UsageReconciliationWorkflow",
        "*/10 * * * *",
        note="Accepted events against stored ones, duplicates and dead letters, of the last day.",
    ),
    ScheduleEntry(
        "reconciliation",
        "ReconciliationWorkflow",
        "*/10 * * * *",
        catchup_window=timedelta(minutes=10),
        note="What Postgres says must happen against what is under way; sets going what stands still.",
    ),
    ScheduleEntry(
        "audit",
        "AuditWorkflow",
        "41 3 * * *",
        catchup_window=timedelta(days=1),
        note="Everything that must hold whatever has happened; keeps what does not as a finding.",
    ),
    ScheduleEntry(
        "billing-run",
        "BillingRunWorkflow",
        "37 * * * *",
        queue=RUNS,
        note="Safety net: what has been due for an hour and is not done is woken, and reported if that does not help.",
        arguments=(BillingRunInput(),),
    ),
)


MARK: Final = "of_the_table"
"""Memo of the Schedules that this table made: others of a namespace are nobody's business."""


@dataclass(frozen=True, slots=True)
class Applied:
    """Ids of the table, in its order, and of those that were taken away because it has them no more."""

    kept: tuple[str, ...]
    removed: tuple[str, ...]


async def apply_schedules(client: Client, entries: Sequence[ScheduleEntry] = SCHEDULES) -> Applied:
    """Creates what is missing, brings what exists to the table's values, and takes away what the table lacks.

    Only Schedules that an earlier table made are taken away; others of the namespace are left alone.
    """
    for entry in entries:
        wanted = _schedule(entry)
        try:
            await client.create_schedule(entry.id, wanted, memo={MARK: True})
        except ScheduleAlreadyRunningError:
            await client.get_schedule_handle(entry.id).update(partial(_keep_pause, wanted=wanted))
    kept = tuple(entry.id for entry in entries)
    removed = [name async for name in _made_before(client) if name not in kept]
    for name in removed:
        await client.get_schedule_handle(name).delete()
    return Applied(kept, tuple(removed))


async def _made_before(client: Client) -> AsyncIterator[str]:
    """The Schedules of the namespace that carry our mark."""
    async for listed in await client.list_schedules():
        if await listed.memo_value(MARK, False):
            yield listed.id


def _keep_pause(found: ScheduleUpdateInput, wanted: Schedule) -> ScheduleUpdate:
    """A Schedule that an operator has paused stays paused."""
    wanted.state.paused = found.description.schedule.state.paused
    return ScheduleUpdate(wanted)


def _schedule(entry: ScheduleEntry) -> Schedule:
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            entry.workflow, args=entry.arguments, id=f"schedule/{entry.id}", task_queue=entry.queue
        ),
        spec=ScheduleSpec(cron_expressions=[entry.cron], time_zone_name=entry.zone),
        policy=SchedulePolicy(overlap=entry.overlap, catchup_window=entry.catchup_window),
    )
    schedule.state.note = entry.note
    return schedule
