"""Sending a command to a running workflow, once in effect, however often it has to be sent."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from billing.errors import BillingError, Conflict, Invalid, InvariantBroken, NotFound
from workflows.contracts import COMMAND_LIFETIME, EXPIRED, RETRY, Command

State = TypeVar("State")

_TRY_AGAIN = frozenset(
    {
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.ABORTED,
    }
)
# The server aborts an update that it accepted when the run continues as new before the update finished.
_MET_CONTINUE_AS_NEW = frozenset({"AcceptedUpdateCompletedWorkflow", RETRY})
_PAUSE = 0.1
_LONGEST_PAUSE = 1.0


class Unavailable(Exception):
    """Nobody answered the command in time, and it is not begun any more. Send it again after `retry_after_seconds`.

    Under the same command id that is safe whatever has become of the first one.
    """

    def __init__(self, message: str, retry_after_seconds: int = 5) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class WorkflowGone(Exception):
    """No workflow of that id is running: it has ended, or was never started."""


async def send_command(
    client: Client,
    workflow_id: str,
    update: str,
    command: Command,
    result_type: type[State],
    *,
    lifetime: timedelta = COMMAND_LIFETIME,
) -> State:
    """Sends `command` until it is answered or `lifetime` is over, always under its own command id.

    Raises what the workflow refused with as a BillingError, `WorkflowGone`, or `Unavailable` once time is up.
    """
    deadline = datetime.now(UTC) + lifetime
    command = replace(command, expires_at=deadline)
    handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(workflow_id)
    pause = _PAUSE
    sending = 1
    while (left := (deadline - datetime.now(UTC)).total_seconds()) > 0:
        try:
            return await _send_once(handle, update, command, result_type, left, sending)
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
            continue
        except WorkflowUpdateFailedError as error:
            if not _is_retry(error.cause):
                raise _refusal(error.cause) from error
            sending += 1
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise WorkflowGone(workflow_id) from error
            if error.status not in _TRY_AGAIN:
                raise
        await asyncio.sleep(min(pause, max(left, 0)))
        pause = min(pause * 2, _LONGEST_PAUSE)
    raise Unavailable(
        f"no worker answered within {lifetime.total_seconds():g} s; the command is not begun any more, send it again"
    )


async def _send_once(
    handle: WorkflowHandle[Any, Any], update: str, command: Command, result_type: type[State], left: float, sending: int
) -> State:
    # A sending after a refusal needs an update id of its own (the run remembers the refusal under the old one); one
    # after a lost answer joins the update that may be at work. What makes a command act once is its command id.
    update_id = f"{command.command_id}/{sending}"
    sent = asyncio.ensure_future(handle.execute_update(update, command, id=update_id, result_type=result_type))
    sent.add_done_callback(_heard)
    answer: State = await asyncio.wait_for(sent, left)
    return answer


def _heard(sent: "asyncio.Future[Any]") -> None:
    """When the caller is cancelled, the client ends with an error of its own that nobody waits for any more."""
    if not sent.cancelled():
        sent.exception()


def _is_retry(cause: BaseException | None) -> bool:
    return isinstance(cause, ApplicationError) and cause.type in _MET_CONTINUE_AS_NEW


def _refusal(cause: BaseException | None) -> Exception:
    """The workflow's refusal as the error that a route answers with."""
    if not isinstance(cause, ApplicationError):
        return Unavailable(str(cause))
    if cause.type == EXPIRED:
        return Unavailable(cause.message)
    made = _ERRORS.get(cause.type or "")
    if made is None and cause.non_retryable:
        return InvariantBroken(cause.message, code=cause.type)
    details = cause.details[0] if cause.details and isinstance(cause.details[0], dict) else {}
    return made(cause.message, details) if made else Unavailable(cause.message)


_ERRORS: dict[str, Callable[[str, dict[str, Any]], BillingError]] = {
    "conflict": lambda message, details: Conflict(
        message, str(details.get("state") or ""), tuple(details.get("possible") or ()), details.get("field")
    ),
    "validation_error": lambda message, details: Invalid(message, field=details.get("field")),
    "not_found": lambda message, details: NotFound(message),
}
