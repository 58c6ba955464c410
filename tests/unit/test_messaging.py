"""Sending commands: a caller who goes away in the middle leaves nothing behind that complains."""

import asyncio
import gc
from datetime import UTC, datetime
from typing import Any

from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError

from workflows.contracts import Command
from workflows.messaging import send_command


class NobodyAnswers:
    """A client as the SDK's is: an update that is cancelled while it waits fails with an error of its own."""

    def __init__(self) -> None:
        self.sent = asyncio.Event()

    def get_workflow_handle(self, workflow_id: str) -> "NobodyAnswers":
        return self

    async def execute_update(self, *args: Any, **kwargs: Any) -> None:
        self.sent.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            raise WorkflowUpdateRPCTimeoutOrCancelledError from error


async def test_a_sender_that_is_cancelled_leaves_no_error_that_nobody_hears() -> None:
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(context))
    client = NobodyAnswers()
    command = Command("cmd-1", datetime.now(UTC))
    sender = asyncio.create_task(send_command(client, "subscription/1", "cancel", command, str))  # type: ignore[arg-type]
    await client.sent.wait()

    sender.cancel()

    await asyncio.wait({sender})
    assert sender.cancelled()
    del sender  # what it has left behind goes with it
    gc.collect()
    assert unheard == []
