"""What a period that is paid at the first try costs: history events and billable actions."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from billing.periods import BillingPeriod
from tests.world import World, until

# Temporal's price list: the start of a run, a timer, an activity, an upsert of search attributes, a signal, an update.
BILLED = {
    "WORKFLOW_EXECUTION_STARTED",
    "TIMER_STARTED",
    "ACTIVITY_TASK_SCHEDULED",
    "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES",
    "WORKFLOW_EXECUTION_SIGNALED",
    "WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
}
MOST_ACTIONS = 10
MOST_EVENTS = 50


async def test_a_period_paid_at_the_first_try_keeps_to_the_budget(world: World) -> None:
    await world.configure(finalization_delay_seconds=1)
    await world.sell(BillingPeriod.DAILY)
    customer = await world.customer("acme")
    boundary = datetime.now(UTC) + timedelta(seconds=2)
    subscription = await world.subscribe(customer, boundary - timedelta(days=1), now=datetime.now(UTC))
    workflow = world.subscription_workflow(subscription.id)

    async def is_closed() -> bool:
        return len(await world.invoices(subscription.id)) == 2

    await until(is_closed)
    run = await workflow.describe()
    first = world.temporal.get_workflow_handle(run.id, run_id=run.raw_info.first_run_id)
    period = await first.fetch_history()
    invoice = (await world.invoices(subscription.id))[-1]
    paid = await world.closed(invoice.id)
    way = await world.invoice_workflow(invoice.id).fetch_history()

    assert paid.payment_status == "SUCCEEDED"
    actions = _count(period, BILLED) + _count(way, BILLED)
    events = len(period.events) + len(way.events)
    print(f"\nactions {actions} ({_named(period)}; {_named(way)}), events {events}")
    assert actions <= MOST_ACTIONS
    assert events <= MOST_EVENTS


def _count(history: WorkflowHistory, names: set[str]) -> int:
    return sum(_name(event.event_type) in names for event in history.events)


def _named(history: WorkflowHistory) -> str:
    counts = Counter(name for event in history.events if (name := _name(event.event_type)) in BILLED)
    return ", ".join(f"{name.lower()} {count}" for name, count in counts.items())


def _name(event_type: "EventType.ValueType") -> str:
    return EventType.Name(event_type).removeprefix("EVENT_TYPE_")
