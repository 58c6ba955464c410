"""When an hour is full: invoices at thresholds of usage, alerts on balances, and usage of what is over is sealed."""

from datetime import datetime

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.full_hours import FullHourActivities, LookAt, Looked
    from activities.options import LOOKING, SEALING
    from activities.usage_sealing import SealedUsage, SealingActivities, SealUsage

from workflows.wording import full_hour_details, instant


@workflow.defn(name="UsageAggregationWorkflow")
class UsageAggregationWorkflow:
    """One pass over all tenants, in real time. Customers of test clocks are looked at by their clock."""

    def __init__(self) -> None:
        self._hour: datetime | None = None
        self._thresholds: Looked | None = None
        self._balances: Looked | None = None
        self._sealed: SealedUsage | None = None

    @workflow.run
    async def run(self) -> SealedUsage:
        """Returns how much had come since the last pass, and whose usage could not be sealed."""
        if workflow.patched("thresholds-and-alerts"):
            await self._look(workflow.now())  # money first: a customer hears at once, however long sealing takes
        sealed: SealedUsage = await workflow.execute_activity_method(
            SealingActivities.seal, SealUsage(workflow.now()), summary="seal usage of past hours", **SEALING
        )
        self._sealed = sealed
        self._describe()
        return sealed

    async def _look(self, now: datetime) -> None:
        self._hour = now.replace(minute=0, second=0, microsecond=0)
        command = LookAt(self._hour, now)
        self._thresholds = await workflow.execute_activity_method(
            FullHourActivities.check_thresholds, command, summary=f"thresholds at {instant(self._hour)}", **LOOKING
        )
        self._describe()
        self._balances = await workflow.execute_activity_method(
            FullHourActivities.check_balances, command, summary=f"balances at {instant(self._hour)}", **LOOKING
        )
        self._describe()

    def _describe(self) -> None:
        workflow.set_current_details(full_hour_details(self._hour, self._thresholds, self._balances, self._sealed))
