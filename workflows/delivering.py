"""How one webhook is delivered: tried for three days, then reported."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.options import DATABASE, DELIVERY
    from activities.webhooks import DeliverWebhook, GiveUpDelivery, WebhookActivities
    from models.scope import Scope

from workflows.contracts import WEBHOOKS
from workflows.perseverance import cause_of


async def deliver(scope: Scope, delivery_id: str, event_type: str) -> str:
    """`delivered`, or `failed` when three days of tries were not enough or the endpoint is gone."""
    try:
        return await workflow.execute_activity_method(
            WebhookActivities.deliver,
            DeliverWebhook(scope, delivery_id),
            task_queue=WEBHOOKS,
            summary=event_type,
            **DELIVERY,
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        return await workflow.execute_activity_method(
            WebhookActivities.give_up, GiveUpDelivery(scope, delivery_id, cause_of(error)), task_queue=WEBHOOKS,
            **DATABASE,
        )  # fmt: skip
