"""The webhooks of an endpoint that gets them in order: one after the other, the next once this one has ended."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.options import DATABASE
    from activities.webhook_queues import Due, NextDelivery, WebhookQueueActivities

from workflows.contracts import WEBHOOKS, WebhookQueueInput
from workflows.delivering import deliver

MOST_A_RUN = 200


@workflow.defn(name="WebhookQueueWorkflow")
class WebhookQueueWorkflow:
    """Ends when nothing is left; the relay starts it, or signals the one that runs, for each new event."""

    def __init__(self) -> None:
        self._more = True
        self._sent = 0

    @workflow.signal(name="more", description="There is something new to send.")
    def more(self) -> None:
        """Looks once more before it ends."""
        self._more = True

    @workflow.run
    async def run(self, start: WebhookQueueInput) -> int:
        """Returns how many were sent in the last run; a long queue continues as new."""
        while self._more:
            self._more = False
            while (due := await self._next(start)).delivery_id is not None:
                workflow.set_current_details(f"`{due.event_type}` to {start.endpoint_url}; before it: {self._sent}")
                await deliver(start.scope, due.delivery_id, due.event_type)
                self._sent += 1
                if self._sent >= MOST_A_RUN:
                    workflow.continue_as_new(start)
        return self._sent

    async def _next(self, start: WebhookQueueInput) -> Due:
        return await workflow.execute_activity_method(
            WebhookQueueActivities.next,
            NextDelivery(start.scope, start.endpoint_id),
            task_queue=WEBHOOKS,
            summary="what is next",
            **DATABASE,
        )
