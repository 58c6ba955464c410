"""The next build of the worker: before a subscription waits it takes one step more, guarded as docs/operations.md says.

`python -m tests.workflows.next_build` is that build as a process.
"""

from temporalio import workflow

import worker
from activities.options import DATABASE
from activities.subscriptions import ReadSubscription, SubscriptionActivities
from workflows.subscription import SubscriptionWorkflow

wait_as_ever = SubscriptionWorkflow._something_to_do


async def wait_with_one_step_more(self: SubscriptionWorkflow) -> None:
    """A change of the sequence of steps that no history of before knows."""
    read = ReadSubscription(self._state.scope, self._state.subscription_id)
    await workflow.execute_activity_method(SubscriptionActivities.read, read, summary="a new step", **DATABASE)
    await wait_as_ever(self)


async def wait_guarded(self: SubscriptionWorkflow) -> None:
    """The same change as it must be made: a run that began without the new step goes on without it."""
    if workflow.patched("read-before-waiting"):
        await wait_with_one_step_more(self)
    else:
        await wait_as_ever(self)


if __name__ == "__main__":
    SubscriptionWorkflow._something_to_do = wait_guarded  # type: ignore[method-assign]
    worker.main()
