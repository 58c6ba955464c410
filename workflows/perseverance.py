"""What happens when a step cannot be done: someone is told, and it is tried again, by request or after an hour."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.options import ATTENTION_PAUSE
from workflows.search_attributes import NEEDS_ATTENTION

Result = TypeVar("Result")


class Perseverance:
    """Runs steps until they succeed and says so in the UI while one does not."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self._retry = False

    def retry_now(self) -> None:
        """An operator has mended the cause: try again at once."""
        self._retry = True

    async def until_done(self, what: str, step: Callable[[], Awaitable[Result]]) -> Result:
        """The step's result. While it fails, NeedsAttention is set and `problem` says what to do."""
        while True:
            try:
                result = await step()
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                self._needs_attention(f"Could not {what}: {cause_of(error)}")
                self._retry = False
                try:
                    await workflow.wait_condition(lambda: self._retry, timeout=ATTENTION_PAUSE)
                except TimeoutError:
                    workflow.logger.info("trying again after an hour: %s", what)
            else:
                self._solved()
                return result

    def _needs_attention(self, problem: str) -> None:
        if self.problem is None:
            workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(True)])
        self.problem = problem
        workflow.set_current_details(
            f"**Needs attention.** {problem}\n\nMend the cause, then send the signal `retry`; it is tried again by"
            " itself every hour."
        )

    def _solved(self) -> None:
        if self.problem is not None:
            self.problem = None
            workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(False)])


def cause_of(error: BaseException) -> str:
    """The innermost message, which is the one that was written for people."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error.message if isinstance(error, ApplicationError) else str(error)
