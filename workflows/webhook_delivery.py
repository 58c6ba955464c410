"""One webhook event on its way to one endpoint."""

from temporalio import workflow

from workflows.contracts import DeliveryInput
from workflows.delivering import deliver


@workflow.defn(name="WebhookDeliveryWorkflow")
class WebhookDeliveryWorkflow:
    """Webhook retries run on real time, never on a test clock."""

    @workflow.run
    async def run(self, start: DeliveryInput) -> str:
        """`delivered`, or `failed` when three days of tries were not enough or the endpoint is gone."""
        workflow.set_current_details(f"`{start.event_type}` to {start.endpoint_url}")
        return await deliver(start.scope, start.delivery_id, start.event_type)
