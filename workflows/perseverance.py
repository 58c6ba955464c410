"""What happens when a step cannot be done: someone is told, and it is tried again, by request or after an hour."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.options import ATTENTION_PAUSE, PROVIDER_PAUSED
from workflows.search_attributes import NEEDS_ATTENTION

Result = TypeVar("Result")


class Perseverance:
    """The steps of one workflow that could not be done, each with what to do about it; shown by `describe`."""

    def __init__(self, describe: Callable[[], None]) -> None:
        self._describe = describe
        self._problems: dict[str, str] = {}
        self._requests = 0
        self.paused: str | None = None
        """In words: which payment provider is left alone because it is down, while a step waits for it."""

    @property
    def problem(self) -> str | None:
        """In words: what could not be done, and why."""
        return " ".join(self._problems.values()) or None

    def retry_now(self) -> None:
        """An operator has mended the cause: try again at once."""
        self._requests += 1

    async def once(self, what: str, step: Callable[[], Awaitable[Result]]) -> Result:
        """The step's result. A failure is noted and raised, for the caller to answer with or to `pause` on."""
        began = workflow.now()
        while True:
            try:
                result = await step()
            except ActivityError as error:
                seconds = seconds_paused(error)
                if seconds is None or workflow.now() - began >= ATTENTION_PAUSE:
                    if not is_cancelled_exception(error):
                        self._note(what, f"Could not {what}: {cause_of(error)}")
                    raise
                await self._wait_out(cause_of(error), seconds)
            else:
                self._forget(what)
                return result

    async def _wait_out(self, why: str, seconds: int) -> None:
        """The provider is down and is asked again in so many seconds; an operator may ask at once."""
        asked = self._requests
        self.paused = why
        self._describe()
        try:
            await workflow.wait_condition(
                lambda: self._requests != asked,
                timeout=timedelta(seconds=seconds, milliseconds=workflow.random().randrange(1000)),
                timeout_summary="the payment provider is down",
            )
        except TimeoutError:
            workflow.logger.info("asking the provider again: %s", why)
        self.paused = None

    async def pause(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """After a failure: until someone asks to try again, an hour has passed, or `interrupted`."""
        asked = self._requests
        try:
            await workflow.wait_condition(
                lambda: self._requests != asked or interrupted(),
                timeout=ATTENTION_PAUSE,
                timeout_summary="needs attention; tries again by itself",
            )
        except TimeoutError:
            workflow.logger.info("trying again after an hour: %s", self.problem)

    async def until_done(self, what: str, step: Callable[[], Awaitable[Result]]) -> Result:
        """The step's result, however often it takes."""
        while True:
            try:
                return await self.once(what, step)
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                await self.pause()

    def _note(self, what: str, problem: str) -> None:
        if not self._problems:
            workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(True)])
        self._problems[what] = problem
        self._describe()

    def _forget(self, what: str) -> None:
        if self._problems.pop(what, None) is not None and not self._problems:
            workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(False)])


def cause_of(error: BaseException) -> str:
    """What the activity itself said: under a timeout, that is why its last try failed."""
    while not isinstance(error, ApplicationError) and error.__cause__ is not None:
        error = error.__cause__
    return error.message if isinstance(error, ApplicationError) else str(error)


def seconds_paused(error: ActivityError) -> int | None:
    """For how long the payment provider is left alone, when that is all that is wrong."""
    cause = error.cause
    if not isinstance(cause, ApplicationError) or cause.type != PROVIDER_PAUSED:
        return None
    return int(cause.details[0])


def failure_of(error: ActivityError) -> ApplicationError:
    """What the sender of a command is answered with when its step failed."""
    cause = error.cause
    return cause if isinstance(cause, ApplicationError) else ApplicationError(cause_of(error))
