"""A dispute: shown to operators as long as it is open. What the provider reports is in Postgres already."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.disputes import DisputeActivities, ReadDispute
    from activities.options import DATABASE
    from activities.states import DisputeState

from workflows.contracts import DisputeInput
from workflows.perseverance import Perseverance
from workflows.search_attributes import NEEDS_ATTENTION
from workflows.wording import dispute_details


@workflow.defn(name="DisputeWorkflow")
class DisputeWorkflow:
    """Ends when the bank has decided. Until then it needs a person: evidence is given at the provider."""

    @workflow.init
    def __init__(self, start: DisputeInput) -> None:
        self._state = start.state
        self._steps = Perseverance(self._describe)
        self._facts = False

    @workflow.run
    async def run(self, start: DisputeInput) -> DisputeState:
        """From the first report to the decision."""
        while not self._state.is_closed:
            self._describe()
            await workflow.wait_condition(lambda: self._facts)
            self._facts = False
            command = ReadDispute(self._state.scope, self._state.dispute_id)
            self._state = await self._steps.until_done(
                "read the dispute",
                lambda read=command: workflow.execute_activity_method(  # type: ignore[misc]
                    DisputeActivities.read, read, summary="what was reported", **DATABASE
                ),
            )
        self._describe()
        workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(False)])
        return self._state

    @workflow.signal(name="facts_changed", description="Postgres knows something new about this dispute.")
    def facts_changed(self) -> None:
        """The provider has reported."""
        self._facts = True
        self._steps.retry_now()

    def _describe(self) -> None:
        workflow.set_current_details(dispute_details(self._state, self._steps.problem))
