"""Boundaries that passed while nobody was at work."""

import itertools
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowHistory

from billing.periods import BillingPeriod
from models.tables import SubscriptionRow
from tests.world import World, until

DAY = timedelta(days=1)


async def runs_of(world: World, subscription_id: str) -> list[WorkflowHistory]:
    """The histories of the subscription's runs, first to last."""
    workflow_id = world.subscription_workflow(subscription_id).id
    run_id: str | None = (await world.subscription_workflow(subscription_id).describe()).raw_info.first_run_id
    histories = []
    while run_id:
        history = await world.temporal.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        histories.append(history)
        last = history.events[-1]
        run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id or None
    return histories


def closes_in(history: WorkflowHistory) -> int:
    """How many boundaries a run crossed."""
    return sum(
        event.activity_task_scheduled_event_attributes.activity_type.name == "subscriptions.close_period"
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    )


async def subscribed_since(world: World, days: int) -> SubscriptionRow:
    """A daily subscription whose last `days` boundaries nobody has crossed."""
    await world.configure(finalization_delay_seconds=0)
    await world.sell(BillingPeriod.DAILY)
    customer = await world.customer("acme")
    now = datetime.now(UTC)
    return await world.subscribe(customer, now - days * DAY - timedelta(hours=1), now=now)


async def test_twelve_missed_boundaries_are_closed_in_order_and_every_invoice_is_paid(world: World) -> None:
    subscription = await subscribed_since(world, 12)

    async def caught_up() -> bool:
        return (await world.subscription(subscription.id)).current_period_end > datetime.now(UTC)

    await until(caught_up)

    invoices = await world.invoices(subscription.id)
    assert len({(invoice.period_start, invoice.billing_reason) for invoice in invoices}) == len(invoices) == 13
    in_order = sorted(invoices, key=lambda invoice: (invoice.created_at, invoice.period_end))
    assert all(one.period_end == next_.period_start for one, next_ in itertools.pairwise(in_order[1:]))
    for invoice in invoices:
        assert (await world.closed(invoice.id)).payment_status == "SUCCEEDED"
        assert [charge["status"] for charge in await world.charges(invoice.id)] == ["succeeded"]
    runs = await runs_of(world, subscription.id)
    assert [closes_in(run) for run in runs] == [12, 0]


async def test_a_run_closes_twelve_at_most_and_the_next_goes_on(world: World) -> None:
    subscription = await subscribed_since(world, 15)

    async def caught_up() -> bool:
        return (await world.subscription(subscription.id)).current_period_end > datetime.now(UTC)

    await until(caught_up)
    await world.commands.cancel_subscription(world.scope, subscription.id, "end_of_period")  # the next run is there

    runs = await runs_of(world, subscription.id)
    assert [closes_in(run) for run in runs] == [12, 3, 0]
    described = await world.subscription_workflow(subscription.id).describe()
    assert described.status is WorkflowExecutionStatus.RUNNING
