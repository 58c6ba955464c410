"""A test clock: moves the time of the customers attached to it from one due instant to the next, in order."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.options import CLOCK_STEP, DATABASE
    from activities.states import ClockState
    from activities.test_clocks import BeginAdvance, ClockActivities, FailAdvance, StepClock

from workflows.contracts import AdvanceClock, ClockInput
from workflows.inbox import Delivery, Inbox
from workflows.perseverance import cause_of, failure_of
from workflows.search_attributes import NEEDS_ATTENTION
from workflows.wording import clock_details, instant


@workflow.defn(name="TestClockWorkflow")
class TestClockWorkflow:
    """Waits for `advance`; a run lasts until its history is long enough to continue as new."""

    __test__ = False  # not a test class, whatever its name says to pytest

    @workflow.init
    def __init__(self, start: ClockInput) -> None:
        self._state = start.state
        self._inbox: Inbox[ClockState] = Inbox()

    @workflow.run
    async def run(self, start: ClockInput) -> None:
        """Never returns: continues as new."""
        while not workflow.info().is_continue_as_new_suggested():
            self._describe()
            await workflow.wait_condition(lambda: bool(self._inbox) or self._advancing())
            if self._inbox:
                await self._begin(self._inbox.take())
            else:
                await self._step()
        await self._inbox.finish(self._begin)
        workflow.continue_as_new(ClockInput(self._state))

    @workflow.update(name="advance", description="Move the clock forward; answers once the move has begun.")
    async def advance(self, command: AdvanceClock) -> ClockState:
        """The clock's state with its new target; it is `ready` again when everything has caught up."""
        return await self._inbox.submit("advance", command)

    @advance.validator
    def _check_advance(self, command: AdvanceClock) -> None:
        self._inbox.check(command)

    def _advancing(self) -> bool:
        return self._state.status == "advancing"

    async def _begin(self, delivery: Delivery[ClockState]) -> None:
        command = delivery.command
        assert isinstance(command, AdvanceClock)
        failed = self._state.problem is not None
        try:
            self._inbox.check_time(command)
            # Whether it may move is Postgres' to say: there it may have arrived while this workflow has not heard yet.
            self._state = await workflow.execute_activity_method(
                ClockActivities.begin,
                BeginAdvance(self._state.scope, self._state.clock_id, command.to),
                summary=f"advance to {instant(command.to)}",
                **DATABASE,
            )
            if failed:
                workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(False)])
            delivery.answer = self._state
        except ActivityError as error:
            delivery.failure = failure_of(error)
        except ApplicationError as error:
            delivery.failure = error

    async def _step(self) -> None:
        """Everything at the next due instant, or the arrival at the target."""
        try:
            self._state = await workflow.execute_activity_method(
                ClockActivities.step, StepClock(self._state.scope, self._state.clock_id, workflow.now()), **CLOCK_STEP
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await self._fail(cause_of(error))

    async def _fail(self, problem: str) -> None:
        """The clock stands still and says why, until it is sent on its way again."""
        failure = FailAdvance(self._state.scope, self._state.clock_id, problem)
        self._state = await workflow.execute_activity_method(
            # Without a limit: a clock that could not even say so would look as if it were still on its way.
            ClockActivities.fail,
            failure,
            **{**DATABASE, "schedule_to_close_timeout": None},
        )
        workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(True)])

    def _describe(self) -> None:
        workflow.set_current_details(clock_details(self._state))
