"""One webhook event on its way to one endpoint: tried for three days, then reported."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.options import DATABASE, DELIVERY
    from activities.webhooks import DeliverWebhook, GiveUpDelivery, WebhookActivities

from workflows.contracts import DeliveryInput
from workflows.perseverance import cause_of


@workflow.defn(name="WebhookDeliveryWorkflow")
class WebhookDeliveryWorkflow:
    """Webhook retries run on real time, never on a test clock."""

    @workflow.run
    async def run(self, start: DeliveryInput) -> str:
        """`delivered`, or `failed` when three days of tries were not enough or the endpoint is gone."""
        workflow.set_current_details(f"`{start.event_type}` to {start.endpoint_url}")
        try:
            return await workflow.execute_activity_method(
                WebhookActivities.deliver,
                DeliverWebhook(start.scope, start.delivery_id),
                summary=start.event_type,
                **DELIVERY,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return await workflow.execute_activity_method(
                WebhookActivities.give_up, GiveUpDelivery(start.scope, start.delivery_id, cause_of(error)), **DATABASE
            )
