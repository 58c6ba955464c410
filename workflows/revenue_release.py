"""Releases deferred revenue that no period end takes care of: of subscriptions that have ended. Run by a Schedule."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.options import DATABASE
    from activities.revenue import ReleaseRevenue, RevenueActivities


@workflow.defn(name="RevenueReleaseWorkflow")
class RevenueReleaseWorkflow:
    """One pass over what is due now, in real time; customers on test clocks are released as their clock moves."""

    @workflow.run
    async def run(self) -> int:
        """Returns how many lines were released."""
        return await workflow.execute_activity_method(
            RevenueActivities.release,
            ReleaseRevenue(workflow.now()),
            summary="release what is due",
            **{**DATABASE, "start_to_close_timeout": timedelta(minutes=10), "heartbeat_timeout": timedelta(seconds=30)},
        )
