"""Billing runs: what was lost is found and done once, what is looked at is not touched, what is left says why."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.billing_run_states import BillingRunReport
from activities.subscriptions import subscription_state
from billing.periods import BillingPeriod
from models.tables import InvoiceRow, SubscriptionRow
from starter.billing_runs import Run, RunFailed, follow, report_of, start_run
from tests.world import World, until
from workflows.contracts import BillingRunInput, SubscriptionInput
from workflows.gate import TemporalGate

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
TABLES = ("subscriptions", "invoices", "invoice_lines", "invoice_sequences")


def ignore(_report: BillingRunReport | None) -> None:
    """Nobody watches."""


async def lost(world: World, count: int, *, days: int = 1) -> list[SubscriptionRow]:
    """Daily subscriptions whose workflows are gone, with `days` boundaries overdue."""
    await world.configure(finalization_delay_seconds=0)
    await world.sell(BillingPeriod.DAILY)
    now = datetime.now(UTC)
    rows = []
    for number in range(count):
        customer = await world.customer(f"customer-{number}")
        row = await world.subscribe(customer, now - days * DAY + 2 * HOUR, now=now)
        await world.until_started(row.id)
        rows.append(row)
    for row in rows:
        await caught_up(world, row, now)
        await world.subscription_workflow(row.id).terminate("lost")
        await shifted(world, row.id, -3 * HOUR)
    return rows


async def caught_up(world: World, row: SubscriptionRow, now: datetime) -> None:
    """Its workflow waits for the next boundary, and every invoice so far has come to its end."""

    async def is_waiting() -> bool:
        due = (await world.subscription(row.id)).next_action_at
        return due is not None and due > now

    await until(is_waiting)
    for invoice in await world.invoices(row.id):
        await paid(world, invoice.id)


async def paid(world: World, invoice_id: str) -> InvoiceRow:
    """The invoice, once it is paid and its workflow has nothing left to do."""

    async def is_paid() -> bool:
        return (await world.invoice(invoice_id)).payment_status == "SUCCEEDED"

    await until(is_paid)  # nobody promises that its workflow has been started before
    return await world.closed(invoice_id)


async def shifted(world: World, subscription_id: str, by: timedelta) -> None:
    """Everything about the subscription happened that much earlier, so that its next boundary has passed."""
    columns = (
        "start_date", "billing_anchor", "current_period_start", "current_period_end", "next_action_at",
    )  # fmt: skip
    changes = ", ".join(f"{name} = {name} + :by" for name in columns)
    async with world.database.transaction(world.scope) as session:
        await session.execute(
            text(f"UPDATE subscriptions SET {changes} WHERE id = :id"), {"by": by, "id": subscription_id}
        )


async def started(world: World, *, dry_run: bool = False, per_second: int = 100, patience: int = 20) -> Run:
    wanted = BillingRunInput(
        datetime.now(UTC).replace(microsecond=0),
        world.scope.tenant_id,
        dry_run=dry_run,
        per_second=per_second,
        patience_seconds=patience,
    )
    return await start_run(world.temporal, wanted)


async def made(world: World, rows: Sequence[SubscriptionRow]) -> list[int]:
    """How many invoices each subscription has."""
    return [len(await world.invoices(row.id)) for row in rows]


async def newest(world: World, row: SubscriptionRow) -> InvoiceRow:
    """The subscription's invoice that was made last."""
    return max(await world.invoices(row.id), key=lambda invoice: invoice.created_at)


async def contents(world: World) -> dict[str, list[str]]:
    """Every row of the tenant, as text."""
    found = {}
    async with world.database.transaction(world.scope) as session:
        for table in TABLES:
            rows = (await session.execute(text(f"SELECT t::text FROM {table} t ORDER BY 1"))).scalars().all()
            found[table] = list(rows)
        told = await session.execute(text("SELECT id FROM webhook_events ORDER BY 1"))
        found["webhook_events"] = list(told.scalars().all())
    return found


async def test_a_run_starts_what_was_lost_and_every_boundary_is_billed_once(world: World) -> None:
    rows = await lost(world, 3)
    before = await made(world, rows)

    report = await follow(await started(world), ignore)

    assert (report.phase, report.due.subscriptions, report.woken, report.remaining) == ("finished", 3, 3, 0)
    assert (report.done, report.not_done) == (3, ())
    assert await made(world, rows) == [count + 1 for count in before]
    for row in rows:
        await paid(world, (await newest(world, row)).id)
        assert await world.is_running(world.subscription_workflow(row.id))

    again = await follow(await started(world), ignore)

    assert (again.due.both, again.woken) == (0, 0)
    assert await made(world, rows) == [count + 1 for count in before]


async def test_a_run_that_was_ended_half_way_is_begun_again_and_doubles_nothing(world: World) -> None:
    rows = await lost(world, 7)
    before = await made(world, rows)
    first = await started(world, per_second=1)  # a page of five, then five seconds' pause

    async def is_half_way() -> bool:
        report = (await report_of(first))[1]
        return report is not None and report.woken == 5

    await until(is_half_way)
    await first.terminate("killed")

    report = await follow(await started(world), ignore)

    assert report.remaining == 0
    assert await made(world, rows) == [count + 1 for count in before]


async def test_a_preview_changes_nothing_and_comes_to_what_the_run_then_bills(world: World) -> None:
    rows = await lost(world, 2)
    customer = await world.customer_named("customer-0")
    current = await world.subscription(rows[0].id)
    await world.use(customer, current.current_period_end - HOUR, "1500")
    before = await contents(world)

    preview = await follow(await started(world, dry_run=True), ignore)

    assert await contents(world) == before
    # Two periods begin at 10 each. In the first one's old period: 1,000 calls at 0.02 and 500 at 0.01 = 25.
    (total,) = preview.totals
    assert (total.currency, total.invoices, total.total) == ("usd", 2, "45")
    assert sorted(Decimal(each.total) for each in preview.invoices) == [Decimal(10), Decimal(35)]

    await follow(await started(world), ignore)

    billed = [await paid(world, (await newest(world, row)).id) for row in rows]
    assert {(i.subscription_id, i.period_start, i.period_end, i.total) for i in billed} == {
        (each.subscription_id, each.period_start, each.period_end, Decimal(each.total)) for each in preview.invoices
    }


async def test_what_cannot_be_done_is_reported_with_its_reason(world: World) -> None:
    (row,) = await lost(world, 1)
    async with world.database.transaction(world.scope) as session:
        await session.execute(text("UPDATE subscriptions SET timezone = 'Mars/Olympus' WHERE id = :id"), {"id": row.id})

    preview = await follow(await started(world, dry_run=True), ignore)
    report = await follow(await started(world, patience=1), ignore)

    for one in (*preview.not_done, *report.not_done):
        assert one.id == row.id
        assert "Mars/Olympus" in one.reason
    assert (len(preview.not_done), len(report.not_done), report.remaining, report.done) == (1, 1, 1, 0)


async def test_a_customer_of_a_test_clock_is_left_to_the_clock(world: World) -> None:
    await world.clock(datetime(2025, 1, 1, tzinfo=UTC))
    await world.sell(BillingPeriod.DAILY)
    customer = await world.customer("acme")
    await world.subscribe(customer, datetime(2025, 1, 1, tzinfo=UTC))

    report = await follow(await started(world), ignore)

    assert (report.due.both, report.woken) == (0, 0)


async def test_an_instant_to_come_is_refused_unless_it_is_previewed(world: World) -> None:
    (row,) = await lost(world, 1)
    to_come = (datetime.now(UTC) + 2 * DAY).replace(microsecond=0)
    wanted = BillingRunInput(to_come, world.scope.tenant_id)

    with pytest.raises(RunFailed, match="nothing is billed before its time"):
        await follow(await start_run(world.temporal, wanted), ignore)

    ahead = BillingRunInput(to_come, world.scope.tenant_id, row.customer_id, dry_run=True)
    report = await follow(await start_run(world.temporal, ahead), ignore)
    assert report.invoice_count == 3  # the boundary of an hour ago, and those of the next two days


async def test_the_safety_net_leaves_alone_what_has_been_due_for_less_than_an_hour(world: World) -> None:
    (row,) = await lost(world, 1)
    due = (await world.subscription(row.id)).next_action_at
    assert due is not None
    handle = await world.temporal.start_workflow(
        "BillingRunWorkflow",
        BillingRunInput(tenant_id=world.scope.tenant_id, overdue_seconds=2 * 3600, patience_seconds=0),
        id=f"schedule/billing-run/{world.scope.tenant_id}",
        task_queue="runs",
        result_type=BillingRunReport,
    )
    report = await asyncio.wait_for(handle.result(), 40)

    assert report.due.both == 0
    assert report.as_of < due


async def test_dates_and_amounts_do_not_depend_on_the_spreading_of_wake_ups(world: World) -> None:
    """The timer of one that is spread waits longer; what it then closes is the boundary's, to the microsecond."""
    await world.configure(finalization_delay_seconds=0)
    await world.sell(BillingPeriod.DAILY)
    now = datetime.now(UTC)
    found = []
    for name, spread in (("at-once", 0), ("spread", 3)):
        customer = await world.customer(name)
        row = await world.subscribe(customer, now - 3 * DAY + timedelta(seconds=6), now=now)
        gate = TemporalGate(world.temporal, wake_spread_seconds=spread)
        await world.until_started(row.id)
        await world.subscription_workflow(row.id).terminate("started anew with its spread")
        await gate.wake_subscription(subscription_state(await world.subscription(row.id)), restart=True)
        found.append(row)

    async def all_closed() -> bool:
        return all(count == 4 for count in await made(world, found))

    await until(all_closed)

    dates = [[(i.period_start, i.period_end, i.drafted_at, i.finalize_at, i.due_date, i.total)
              for i in await world.invoices(row.id)] for row in found]  # fmt: skip
    assert dates[0] == dates[1]


async def test_customers_of_test_clocks_are_not_spread(world: World) -> None:
    gate = TemporalGate(world.temporal, wake_spread_seconds=3600)
    await world.clock(datetime(2025, 1, 1, tzinfo=UTC))
    await world.sell(BillingPeriod.DAILY)
    customer = await world.customer("acme")
    row = await world.subscribe(customer, datetime(2025, 1, 1, tzinfo=UTC))
    await world.until_started(row.id)
    state = replace(subscription_state(await world.subscription(row.id)), subscription_id="subs_another")

    await gate.start_subscription(state, datetime(2025, 1, 1, tzinfo=UTC))

    handle = world.subscription_workflow("subs_another")
    first = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes
    (start,) = await pydantic_data_converter.decode(first.input.payloads, [SubscriptionInput])
    assert start.wake_spread_seconds == 0
    await handle.terminate()


async def test_the_commands_preview_run_and_show_the_status(world: World, temporal_address: str) -> None:
    (row,) = await lost(world, 1)

    async def call(*arguments: str) -> tuple[int, Any]:
        command = [sys.executable, "-c", "from starter.cli import main; main()", "billing", *arguments, "--json"]
        environment = os.environ | {"TEMPORAL_ADDRESS": temporal_address}
        ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=environment)
        return ended.returncode, json.loads(ended.stdout)

    of_tenant = ("--tenant", world.scope.tenant_id)
    previewed = await call("preview", *of_tenant)
    done = await call("run", *of_tenant)

    assert [code for code, _ in (previewed, done)] == [0, 0]
    assert previewed[1]["totals"] == [
        {"currency": "usd", "invoices": 1, "subtotal": "10", "total_tax": "0", "total": "10"}
    ]
    assert (done[1]["due"]["subscriptions"], done[1]["done"], done[1]["remaining"]) == (1, 1, 0)
    assert (await paid(world, (await newest(world, row)).id)).total == Decimal(10)
    code, shown = await call("status", done[1]["id"])
    assert (code, shown) == (0, done[1])

    async def is_listed() -> bool:
        return done[1]["id"] in [each["id"] for each in (await call("status", "--limit", "100"))[1]]

    await until(is_listed)


async def test_the_safety_net_reports_what_somebody_has_terminated_and_leaves_it_ended(world: World) -> None:
    (row,) = await lost(world, 1)
    handle = await world.temporal.start_workflow(
        "BillingRunWorkflow",
        BillingRunInput(tenant_id=world.scope.tenant_id, overdue_seconds=60, patience_seconds=0),
        id=f"schedule/billing-run/{world.scope.tenant_id}",
        task_queue="runs",
        result_type=BillingRunReport,
    )
    report = await asyncio.wait_for(handle.result(), 40)

    assert [(one.id, one.reason) for one in report.not_done] == [(row.id, "its workflow has ended (terminated)")]
    assert not await world.is_running(world.subscription_workflow(row.id))
