"""Schedules: a namespace is brought to the table, whatever was there before."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)
from typer.testing import CliRunner

from starter.cli.app import app
from tests.world import until
from workflows.schedules import SCHEDULES, ScheduleEntry, apply_schedules

ENTRY = ScheduleEntry("nightly", "AuditWorkflow", "41 3 * * *", zone="Asia/Kolkata", catchup_window=timedelta(days=1))


async def _of_namespace(client: Client) -> set[str]:
    return {each.id async for each in await client.list_schedules()}


def _is(client: Client, ids: set[str]) -> Callable[[], Awaitable[bool]]:
    """Whether the namespace lists these: its list follows a moment later."""

    async def same() -> bool:
        return await _of_namespace(client) == ids

    return same


async def test_a_namespace_is_brought_to_the_table(temporal_address: str) -> None:
    client = await Client.connect(temporal_address)
    foreign = f"somebody-elses-{uuid4().hex}"
    action = ScheduleActionStartWorkflow("Other", id="theirs", task_queue="theirs")
    spec = ScheduleSpec(cron_expressions=["0 0 1 1 *"])
    await client.create_schedule(foreign, Schedule(action=action, spec=spec, policy=SchedulePolicy()))
    old = ScheduleEntry("given-up", "AuditWorkflow", "1 1 * * *")
    assert (await apply_schedules(client, (ENTRY, old))).kept == ("nightly", "given-up")
    await until(_is(client, {foreign, "nightly", "given-up"}))
    handle = client.get_schedule_handle("nightly")
    await handle.pause(note="by an operator")

    changed = replace(ENTRY, cron="5 4 * * *", overlap=ScheduleOverlapPolicy.BUFFER_ONE)
    assert (await apply_schedules(client, (changed,))).removed == ("given-up",)

    await until(_is(client, {foreign, "nightly"}))
    found = (await handle.describe()).schedule
    assert found.state.paused
    assert found.policy.overlap is ScheduleOverlapPolicy.BUFFER_ONE
    assert found.policy.catchup_window == timedelta(days=1)
    assert found.spec.time_zone_name == "Asia/Kolkata"
    assert isinstance(found.action, ScheduleActionStartWorkflow)
    assert (found.action.workflow, found.action.id) == ("AuditWorkflow", "schedule/nightly")
    assert (await apply_schedules(client, ())).removed == ("nightly",)
    await client.get_schedule_handle(foreign).delete()


def test_the_table_is_shown_whole() -> None:
    shown = CliRunner().invoke(app, ["schedules", "list"], env={"COLUMNS": "250"})
    assert shown.exit_code == 0
    for entry in SCHEDULES:
        (line,) = [each for each in shown.output.splitlines() if f" {entry.id} " in each]
        for value in (entry.cron, entry.zone, entry.overlap.name, f"{entry.catchup_window.total_seconds():.0f}"):
            assert value in line
        assert entry.queue in line
    assert len({entry.id for entry in SCHEDULES}) == len(SCHEDULES)
