"""Why a workflow has not done what is due, in words for an operator. Runs beside workflows, never inside one."""

from datetime import timedelta
from typing import Any

from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from workflows.search_attributes import NEEDS_ATTENTION

PATIENCE = timedelta(seconds=5)


async def workflow_standing(client: Client, workflow_id: str) -> str:
    """What the workflow is at, or what holds it up."""
    handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(workflow_id)
    try:
        found = await handle.describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return "it has no workflow"
    if found.status is not WorkflowExecutionStatus.RUNNING:
        return f"its workflow has ended ({found.status.name.lower() if found.status else 'unknown'})"
    if found.typed_search_attributes.get(NEEDS_ATTENTION, False):
        return await _problem(handle)
    return _at_work(found)


async def _problem(handle: WorkflowHandle[Any, Any]) -> str:
    """The first paragraph of its current details names the problem."""
    try:
        said = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata, rpc_timeout=PATIENCE)
    except RPCError:
        return "it needs attention; no worker answers to say why"
    return str(said.current_details).split("\n\n")[0].replace("**", "")


def _at_work(found: WorkflowExecutionDescription) -> str:
    described = found.raw_description
    if described.pending_workflow_task.attempt > 1:
        return f"its code fails: {described.pending_workflow_task.attempt} tries (saved view Task Failures)"
    for pending in described.pending_activities:
        if pending.HasField("last_failure"):
            return f"{pending.activity_type.name}, try {pending.attempt}: {pending.last_failure.message}"
    return "its workflow is at work"
