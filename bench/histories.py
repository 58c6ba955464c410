"""What a billing period costs in Temporal, counted in the histories of its workflows.

Actions are counted as Temporal Cloud bills them: one for a start (or continue-as-new), a timer, an activity and each of
its retries, a signal, an update and an upsert of search attributes; https://docs.temporal.io/cloud/actions
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from models.scope import Scope
from workflows.contracts import invoice_workflow_id, subscription_workflow_id

_ACTIONS: Final = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: "start or continue-as-new",
    EventType.EVENT_TYPE_TIMER_STARTED: "timer",
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: "activity",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: "signal",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: "update",
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: "search attributes",
}
_AT_ONCE: Final = 10


@dataclass(frozen=True)
class Cost:
    """Of one period, on average over the periods looked at."""

    periods: int
    actions: dict[str, float]
    events: float
    workflow_tasks: float
    retries: float
    """Activities that had to be tried again: each is an action, and none is counted in `actions`."""

    @property
    def total_actions(self) -> float:
        """Billable actions of a period that goes well."""
        return sum(self.actions.values())


async def cost_of_periods(client: Client, scope: Scope, periods: Sequence[tuple[str, str]]) -> Cost:
    """Counts the subscription's run that closed the period, and the invoice's; `periods` are pairs of their ids."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def of_one(subscription_id: str, invoice_id: str) -> list[HistoryEvent]:
        async with gate:
            closed = await _closed_run(client, subscription_workflow_id(scope, subscription_id))
            invoice = await client.get_workflow_handle(invoice_workflow_id(scope, invoice_id)).fetch_history()
            return [*closed, *invoice.events]

    histories = await asyncio.gather(*(of_one(*period) for period in periods))
    counts = [Counter(event.event_type for event in events) for events in histories]
    actions = {name: fmean(count[kind] for count in counts) for kind, name in _ACTIONS.items()}
    return Cost(
        periods=len(histories),
        actions={name: number for name, number in actions.items() if number},
        events=fmean(len(events) for events in histories),
        workflow_tasks=fmean(count[EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED] for count in counts),
        retries=fmean(sum(_retries(event) for event in events) for events in histories),
    )


async def _closed_run(client: Client, workflow_id: str) -> Sequence[HistoryEvent]:
    """The events of the run before the one that sleeps until the next boundary."""
    sleeping = await client.get_workflow_handle(workflow_id).fetch_history()
    before = sleeping.events[0].workflow_execution_started_event_attributes.continued_execution_run_id
    if not before:
        raise ValueError(f"{workflow_id} has not continued as new: its period is not closed")
    return (await client.get_workflow_handle(workflow_id, run_id=before).fetch_history()).events


def _retries(event: HistoryEvent) -> int:
    if event.event_type != EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
        return 0
    return event.activity_task_started_event_attributes.attempt - 1
