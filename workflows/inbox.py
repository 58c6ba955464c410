"""Commands on their way to the one place that acts on them.

Handlers only put a command here and wait; `run()` is the single writer. Once the inbox is closed (the run is about to
continue as new) validators answer `retry`, so that no command can be lost between two runs.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from workflows.contracts import EXPIRED, RETRY, Command

State = TypeVar("State")


class Delivery(Generic[State]):
    """One command and, later, what became of it."""

    def __init__(self, name: str, command: Command) -> None:
        self.name = name
        self.command = command
        self.answer: State | None = None
        self.failure: FailureError | None = None

    def settled(self) -> bool:
        """Whether the command has been acted on or refused."""
        return self.answer is not None or self.failure is not None


class Inbox(Generic[State]):
    """A queue of commands in the order of their acceptance."""

    def __init__(self) -> None:
        self._waiting: deque[Delivery[State]] = deque()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def check(self, command: Command) -> None:
        """The validators' part: refuses what came too late for this run or for its sender."""
        if self._closed:
            raise ApplicationError("the run is about to end; send the command again", type=RETRY)
        self.check_time(command)

    @staticmethod
    def check_time(command: Command) -> None:
        """Whoever is about to act looks again: a command may have waited long behind another step."""
        if workflow.now() > command.expires_at:
            raise ApplicationError(
                f"command {command.command_id} expired at {command.expires_at.isoformat()}; its sender has given up",
                type=EXPIRED,
            )

    async def submit(self, name: str, command: Command) -> State:
        """The handlers' part: queue the command, wait until it has been acted on, answer or fail as it did."""
        delivery: Delivery[State] = Delivery(name, command)
        self._waiting.append(delivery)
        await workflow.wait_condition(delivery.settled)
        if delivery.failure is not None:
            raise delivery.failure
        assert delivery.answer is not None
        return delivery.answer

    def take(self) -> Delivery[State]:
        """The oldest command that waits."""
        return self._waiting.popleft()

    async def finish(self, act_on: Callable[[Delivery[State]], Awaitable[None]]) -> None:
        """At a run's end: validators answer `retry` from now on, and what was accepted is carried out in this run.

        Nothing is awaited after the last look.
        """
        self._closed = True
        while self._waiting or not workflow.all_handlers_finished():
            if self._waiting:
                await act_on(self._waiting.popleft())
            else:
                await workflow.wait_condition(lambda: bool(self._waiting) or workflow.all_handlers_finished())
