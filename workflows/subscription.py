"""A subscription: sleeps until its next boundary, closes the period, begins the next; takes commands in between."""

from datetime import datetime, timedelta
from zlib import crc32

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.options import DATABASE
    from activities.states import SubscriptionState
    from activities.subscriptions import (
        CancelSubscription,
        ChangeMethod,
        ClosePeriod,
        ReadSubscription,
        SubscriptionActivities,
    )

from workflows import search_attributes
from workflows.contracts import RETRY, AdvanceClock, Cancel, ChangePaymentMethod, SubscriptionInput
from workflows.inbox import Delivery, Inbox
from workflows.perseverance import Perseverance, failure_of
from workflows.wording import instant, subscription_details

MOST_BOUNDARIES_A_RUN = 12


@workflow.defn(name="SubscriptionWorkflow")
class SubscriptionWorkflow:
    """One run per billing period; more boundaries that are already due are closed in order, up to 12 in a run."""

    @workflow.init
    def __init__(self, start: SubscriptionInput) -> None:
        self._state = start.state
        self._clock = start.clock
        self._spread = timedelta(seconds=wake_delay(start.state.subscription_id, start.wake_spread_seconds))
        self._inbox: Inbox[SubscriptionState] = Inbox()
        self._steps = Perseverance(self._describe)
        self._closed = 0
        self._facts = False
        self._over_said = start.state.is_over

    @workflow.run
    async def run(self, start: SubscriptionInput) -> SubscriptionState:
        """Runs until the period is closed, then continues as new; returns once the subscription has ended."""
        while True:
            while not self._run_is_over():
                self._describe()
                await self._something_to_do()
                if self._facts or (self._boundary_due() and not self._told_by_the_clock()):
                    await self._do_what_is_due()
                elif self._inbox:
                    await self._act_on(self._inbox.take())
            await self._inbox.finish(self._act_on)
            if not self._facts:
                break  # news that come while the run ends are not left to nobody
        if not self._ended():
            workflow.continue_as_new(
                SubscriptionInput(self._state, self._clock, start.wake_spread_seconds),
                search_attributes=search_attributes.of_subscription(self._state),
            )
        self._say_ended()
        return self._state

    @workflow.update(name="cancel", description="Cancel the subscription at once, at period end, or at a date.")
    async def cancel(self, command: Cancel) -> SubscriptionState:
        """Answers with the state after the cancellation took effect or was scheduled."""
        return await self._inbox.submit("cancel", command)

    @cancel.validator
    def _check_cancel(self, command: Cancel) -> None:
        self._inbox.check(command)

    @workflow.update(name="change_payment_method", description="Collect by another payment method from now on.")
    async def change_payment_method(self, command: ChangePaymentMethod) -> SubscriptionState:
        """Answers once the next attempt will use it."""
        return await self._inbox.submit("change_payment_method", command)

    @change_payment_method.validator
    def _check_change_payment_method(self, command: ChangePaymentMethod) -> None:
        self._inbox.check(command)

    @workflow.update(name="advance_clock", description="The test clock has moved; catch up with it.")
    async def advance_clock(self, command: AdvanceClock) -> SubscriptionState:
        """Answers once everything due at or before the clock's new time has been done."""
        return await self._inbox.submit("advance_clock", command)

    @advance_clock.validator
    def _check_advance_clock(self, command: AdvanceClock) -> None:
        self._inbox.check(command)

    @workflow.signal(name="retry", description="The cause of the problem is mended: try again now.")
    def retry(self) -> None:
        """Ends the hour's wait of a step that needed attention."""
        self._steps.retry_now()

    @workflow.signal(name="facts_changed", description="Somebody else has changed the subscription in Postgres.")
    def facts_changed(self) -> None:
        """Dunning that was exhausted may have ended it: read it and go on."""
        self._facts = True

    def _now(self) -> datetime:
        return self._clock or workflow.now()

    def _ended(self) -> bool:
        return self._state.next_action_at is None

    def _boundary_due(self) -> bool:
        return self._state.next_action_at is not None and self._now() >= self._state.next_action_at

    def _run_is_over(self) -> bool:
        if self._facts:
            return False
        if self._ended() or workflow.info().is_continue_as_new_suggested():
            return True
        return self._closed >= MOST_BOUNDARIES_A_RUN or (self._closed > 0 and not self._boundary_due())

    async def _something_to_do(self) -> None:
        """Waits for a command or for the next boundary; under a test clock only commands move time."""
        due = self._state.next_action_at
        timeout = None if self._clock or due is None else max(due + self._spread - workflow.now(), timedelta())
        try:
            await workflow.wait_condition(
                lambda: bool(self._inbox) or self._facts or self._boundary_due(),
                timeout=timeout,
                timeout_summary=None if timeout is None else f"until the boundary at {instant(due)}",
            )
        except TimeoutError:
            return  # the boundary has been reached

    def _told_by_the_clock(self) -> bool:
        """Under a test clock whoever moves it waits for the close, and is told when it fails."""
        return self._clock is not None and bool(self._inbox)

    async def _do_what_is_due(self) -> None:
        try:
            await (self._look() if self._facts else self._close_period())
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await self._steps.pause(interrupted=self._told_by_the_clock)

    async def _look(self) -> None:
        """Takes over what Postgres knows."""
        command = ReadSubscription(self._state.scope, self._state.subscription_id)
        self._facts = False
        try:
            self._state = await self._steps.once(
                "read the subscription",
                lambda: workflow.execute_activity_method(
                    SubscriptionActivities.read, command, summary="what was changed meanwhile", **DATABASE
                ),
            )
        except ActivityError:
            self._facts = True
            raise
        self._say_over()

    async def _close_period(self) -> None:
        due = self._state.next_action_at
        assert due is not None
        command = ClosePeriod(self._state.scope, self._state.subscription_id, due, self._clock)
        what = "bill the usage that came late" if self._state.is_over else "close the period that ends"
        self._state = await self._steps.once(
            f"{what} at {instant(due)}",
            lambda: workflow.execute_activity_method(
                SubscriptionActivities.close_period, command, summary=f"boundary at {instant(due)}", **DATABASE
            ),
        )
        self._closed += 1

    async def _act_on(self, delivery: Delivery[SubscriptionState]) -> None:
        """One command, start to end; its failure is its sender's, never the subscription's."""
        command = delivery.command
        if command.command_id in self._state.seen_commands:
            delivery.answer = self._state
            return
        try:
            self._inbox.check_time(command)
            if isinstance(command, AdvanceClock):
                await self._catch_up(command)
            elif self._boundary_due():
                raise ApplicationError("boundaries that have passed are closed first; send it again", type=RETRY)
            elif isinstance(command, Cancel):
                await self._cancel(command)
            elif isinstance(command, ChangePaymentMethod):
                await self._change_payment_method(command)
            delivery.answer = self._state
        except ActivityError as error:
            delivery.failure = failure_of(error)
        except ApplicationError as error:
            delivery.failure = error

    async def _catch_up(self, command: AdvanceClock) -> None:
        self._clock = max(command.to, self._clock or command.to)
        while self._boundary_due() and self._closed < MOST_BOUNDARIES_A_RUN:
            await self._close_period()

    async def _cancel(self, command: Cancel) -> None:
        self._state = await workflow.execute_activity_method(
            SubscriptionActivities.cancel,
            CancelSubscription(
                scope=self._state.scope,
                subscription_id=self._state.subscription_id,
                command_id=command.command_id,
                cancellation_type=command.cancellation_type,
                now=self._now(),
                cancel_at=command.cancel_at,
                proration_behavior=command.proration_behavior,
                final_usage=command.final_usage,
                reason=command.reason,
            ),
            summary=f"cancel {command.cancellation_type}",
            **DATABASE,
        )
        self._say_over()

    async def _change_payment_method(self, command: ChangePaymentMethod) -> None:
        change = ChangeMethod(
            self._state.scope,
            self._state.subscription_id,
            command.command_id,
            command.provider,
            command.payment_method,
            self._now(),
        )
        self._state = await workflow.execute_activity_method(
            SubscriptionActivities.change_payment_method, change, summary="change payment method", **DATABASE
        )

    def _describe(self) -> None:
        workflow.set_current_details(subscription_details(self._state, self._clock, self._steps.problem))

    def _say_over(self) -> None:
        """One that has ended still waits for late usage; whoever filters by status finds it as what it is."""
        due = self._state.next_action_at
        if self._over_said or due is None or not self._state.is_over:
            return
        self._over_said = True
        workflow.upsert_search_attributes(
            [
                search_attributes.SUBSCRIPTION_STATUS.value_set(self._state.status),
                search_attributes.NEXT_ACTION_AT.value_set(due),
            ]
        )

    def _say_ended(self) -> None:
        workflow.upsert_search_attributes(
            [
                search_attributes.SUBSCRIPTION_STATUS.value_set(self._state.status),
                search_attributes.NEXT_ACTION_AT.value_unset(),
            ]
        )
        self._describe()


def wake_delay(subscription_id: str, spread_seconds: int) -> int:
    """Seconds after a boundary at which this subscription wakes; the same for the same id, even over many."""
    return crc32(subscription_id.encode()) % spread_seconds if spread_seconds > 0 else 0
