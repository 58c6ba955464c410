"""Seals the usage of hours and days that are over. Run by a Schedule every hour."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.options import SEALING
    from activities.usage_sealing import SealedUsage, SealingActivities, SealUsage


@workflow.defn(name="UsageAggregationWorkflow")
class UsageAggregationWorkflow:
    """One pass over all tenants, in real time. Reads are exact without it; it makes them fast."""

    @workflow.run
    async def run(self) -> SealedUsage:
        """Returns how much had come since the last pass, and whose usage could not be sealed."""
        sealed: SealedUsage = await workflow.execute_activity_method(
            SealingActivities.seal, SealUsage(workflow.now()), summary="seal usage of past hours", **SEALING
        )
        failed = "".join(f"\n- {each}" for each in sealed.failures)
        workflow.set_current_details(
            f"{sealed.rows} rows of events had come; {sealed.environments} environments"
            + (f". Not sealed, read from the events instead:{failed}" if failed else "")
        )
        return sealed
