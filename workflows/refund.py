"""A refund: asked for at the provider until it is settled; one that is refused waits for a person."""

from datetime import timedelta
from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.options import VENDOR
    from activities.refunds import RefundActivities, SendRefund
    from activities.states import RefundState

from workflows.contracts import RefundInput, payments_queue
from workflows.perseverance import Perseverance
from workflows.search_attributes import NEEDS_ATTENTION
from workflows.wording import refund_details

LOOK_AGAIN: Final = timedelta(hours=12)
"""Banks take days over some refunds; asking again tells the state."""


@workflow.defn(name="RefundWorkflow")
class RefundWorkflow:
    """Ends when the money has gone back, or somebody has given the refund up."""

    @workflow.init
    def __init__(self, start: RefundInput) -> None:
        self._state = start.state
        self._steps = Perseverance(self._describe)
        self._facts = False

    @workflow.run
    async def run(self, start: RefundInput) -> RefundState:
        """From asked for to given back."""
        while True:
            self._describe()
            await self._send()
            if self._state.is_settled:
                self._describe()
                return self._state
            await self._wait()

    @workflow.signal(name="facts_changed", description="Postgres knows something new about this refund.")
    def facts_changed(self) -> None:
        """It was retried or given up, or the provider has reported."""
        self._facts = True
        self._steps.retry_now()

    @workflow.signal(name="retry", description="The cause of the problem is mended: try again now.")
    def retry(self) -> None:
        """Ends the hour's wait of a step that needed attention."""
        self.facts_changed()

    async def _send(self) -> None:
        command = SendRefund(self._state.scope, self._state.refund_id, workflow.now())
        self._facts = False
        self._state = await self._steps.until_done(
            "give the money back",
            lambda: workflow.execute_activity_method(
                RefundActivities.send,
                command,
                task_queue=payments_queue(self._state.provider),
                summary=f"refund {self._state.amount} {self._state.currency}",
                **VENDOR,
            ),
        )

    async def _wait(self) -> None:
        """For news, or until it is time to ask what has become of it; a refused one only for a person."""
        refused = self._state.status == "FAILED"
        self._describe()
        if refused:
            workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(True)])
        try:
            await workflow.wait_condition(
                lambda: self._facts,
                timeout=None if refused else LOOK_AGAIN,
                timeout_summary=None if refused else "until the provider is asked again",
            )
        except TimeoutError:
            return  # it is time to ask
        finally:
            if refused:
                workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(False)])

    def _describe(self) -> None:
        workflow.set_current_details(refund_details(self._state, self._steps.problem, self._steps.paused))
