"""Looks, every few minutes, whether everything accepted has been stored or accounted for. Run by a Schedule."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.event_reconciliation import ReconcileUsage, ReconciliationActivities, UsageFindings
    from activities.options import DATABASE


@workflow.defn(name="UsageReconciliationWorkflow")
class UsageReconciliationWorkflow:
    """One pass over the last day of all tenants, in real time."""

    @workflow.run
    async def run(self) -> UsageFindings:
        """Returns what does not add up; the activity logs it and raises the metric that alerts watch."""
        return await workflow.execute_activity_method(
            ReconciliationActivities.reconcile,
            ReconcileUsage(workflow.now()),
            summary="accepted = stored + duplicates + dead letters?",
            **{**DATABASE, "start_to_close_timeout": timedelta(minutes=2)},
        )
