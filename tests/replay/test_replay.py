"""Today's workflows make of every recorded history what was made of it then."""

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, WorkflowRunner
from temporalio.workflow import NondeterminismError

import worker
from tests.replay.record import HISTORIES, OF_A_MACHINE
from tests.workflows.next_build import wait_guarded, wait_with_one_step_more
from workflows.subscription import SubscriptionWorkflow

PATIENCE_SECONDS = 20
FILES = sorted(HISTORIES.rglob("*.json"))
WITH_ACTIVITIES = [path for path in FILES if "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED" in path.read_text()]
WORKFLOWS = [each for of_queue in worker.WORKFLOWS.values() for each in of_queue]


def read(path: Path) -> dict[str, Any]:
    """What was recorded: the workflow's id and its history."""
    recorded: dict[str, Any] = json.loads(path.read_text())
    return recorded


async def replay(recorded: dict[str, Any], runner: WorkflowRunner | None = None) -> None:
    """Raises NondeterminismError when today's code does anything else than the history says."""
    replayer = Replayer(
        workflows=WORKFLOWS,
        data_converter=pydantic_data_converter,
        workflow_runner=runner or worker.workflow_runner(sandbox=True),
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        await replayer.replay_workflow(WorkflowHistory.from_json(recorded["workflow_id"], recorded["history"]))


def type_of(recorded: dict[str, Any]) -> str:
    """The workflow's name."""
    name: str = recorded["history"]["events"][0]["workflowExecutionStartedEventAttributes"]["workflowType"]["name"]
    return name


def without_an_activity(recorded: dict[str, Any]) -> dict[str, Any]:
    """The same history as if the workflow had never asked for its first activity."""
    changed = copy.deepcopy(recorded)
    events = changed["history"]["events"]
    scheduled = next(e["eventId"] for e in events if e["eventType"] == "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED")
    for event in events:
        attributes: dict[str, Any] = next(
            (value for key, value in event.items() if key.endswith("EventAttributes")), {}
        )
        if event["eventId"] == scheduled or (
            "ACTIVITY_TASK" in event["eventType"] and attributes.get("scheduledEventId") == scheduled
        ):
            kept = {key: value for key, value in event.items() if not key.endswith("EventAttributes")}
            event.clear()
            event.update(kept, eventType="EVENT_TYPE_MARKER_RECORDED", markerRecordedEventAttributes={})
    return changed


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_it_is_replayed(path: Path) -> None:
    await replay(read(path))


async def test_every_workflow_has_a_history() -> None:
    names = {getattr(workflow, "__temporal_workflow_definition").name for workflow in WORKFLOWS}

    assert {type_of(read(path)) for path in FILES} == names


@pytest.mark.parametrize("path", WITH_ACTIVITIES[::4], ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_a_history_that_lacks_an_activity_is_noticed(path: Path) -> None:
    with pytest.raises(NondeterminismError):
        await replay(without_an_activity(read(path)))


async def test_code_that_leaves_out_an_activity_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget_to_close(self: SubscriptionWorkflow) -> None:
        self._closed += 1

    monkeypatch.setattr(SubscriptionWorkflow, "_close_period", forget_to_close)
    recorded = read(HISTORIES / "subscription" / "real_time_1.json")

    with pytest.raises(NondeterminismError):
        await replay(recorded, worker.workflow_runner(sandbox=False))


async def test_a_step_more_without_a_guard_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SubscriptionWorkflow, "_something_to_do", wait_with_one_step_more)

    with pytest.raises(NondeterminismError):
        await replay(read(HISTORIES / "subscription" / "test_clock_1.json"), worker.workflow_runner(sandbox=False))


async def test_a_step_more_behind_a_guard_leaves_every_history_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SubscriptionWorkflow, "_something_to_do", wait_guarded)

    for path in (HISTORIES / "subscription").glob("*.json"):
        await replay(read(path), worker.workflow_runner(sandbox=False))


def test_no_history_names_a_machine() -> None:
    for path in FILES:
        recorded = path.read_text()
        assert not [key for key in OF_A_MACHINE if f'"{key}"' in recorded]
        assert "/site-packages/" not in recorded
