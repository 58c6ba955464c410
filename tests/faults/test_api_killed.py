"""kill -9 of the API while subscriptions are created: each exists once, and the outbox relay starts its workflow."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

from sqlmodel import col, func, select
from temporalio.client import Client as Temporal
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.outbox import START_SUBSCRIPTION
from models.tables import OutboxRow, SubscriptionRow
from tests.faults.laws import check_laws
from tests.faults.stack import Stack
from tests.faults.story import MONTHLY, Subscriber
from tests.faults.tenant import Tenant
from workflows.contracts import subscription_workflow_id

KILLS = 4
CREATES = 30
AT_ONCE = 8
SECONDS_TO_START = 60


def subscriber(name: str) -> Subscriber:
    """A customer on real time whose month began yesterday."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    return Subscriber(name, "UTC", start, 2, "pm_card_succeeds", MONTHLY, False)


async def sold(tenant: Tenant) -> int:
    """How many subscriptions have been committed."""
    async with tenant.database.transaction(tenant.scope) as session:
        return (await session.exec(select(func.count()).select_from(SubscriptionRow))).one()


async def until_sold(tenant: Tenant, count: int) -> None:
    """Waits until so many have been committed, whether anybody has been answered or not."""
    async with asyncio.timeout(60):
        while await sold(tenant) < count:  # noqa: ASYNC110 (the database tells nobody)
            await asyncio.sleep(0.002)


async def is_running(temporal: Temporal, tenant: Tenant, subscription_id: str) -> bool:
    """Whether the subscription's workflow runs."""
    handle = temporal.get_workflow_handle(subscription_workflow_id(tenant.scope, subscription_id))
    try:
        return (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False


async def test_creates_under_fire(stack: Stack, tenant: Tenant, chance: random.Random) -> None:
    everybody = [subscriber(f"customer-{number}") for number in range(CREATES)]
    waiting = iter(everybody)

    async def create_some() -> None:
        for each in waiting:
            await tenant.sign_up(each)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(create_some())
        for kill in range(KILLS):
            await until_sold(tenant, (kill + 1) * (CREATES // (KILLS + 1)))
            await asyncio.sleep(chance.random() / 20)
            await asyncio.to_thread(stack.api.kill)
            await asyncio.to_thread(stack.api.restart)
    counts = await check_laws(tenant)
    temporal = await Temporal.connect(stack.temporal.running.url)
    running = [await is_running(temporal, tenant, each.subscription_id) for each in everybody]
    print(
        f"API killed {KILLS} times; subscriptions asked for {CREATES}, there {await sold(tenant)}, workflows running"
        f" {sum(running)}; answers that were lost and given again {tenant.client.replayed}; {counts}"
    )
    assert await sold(tenant) == CREATES
    assert all(running)
    assert tenant.client.repeated > 0
    assert stack.died() == []


async def test_the_relay_starts_what_a_dead_api_left_behind(stack: Stack, tenant: Tenant) -> None:
    """The API dies between commit and start, as Temporal is away just then. A worker alone then starts everything."""
    names = [f"orphan-{number}" for number in range(5)]
    orphans = [subscriber(name) for name in names]
    await asyncio.gather(*(tenant.enroll(each) for each in orphans))
    for part in (stack.worker, stack.temporal):
        await asyncio.to_thread(part.kill)
    async with asyncio.TaskGroup() as group:
        for each in orphans:
            body = tenant.subscription_body(each)
            group.create_task(tenant.client.send_once("/subscriptions", body, each.external_id))
        await until_sold(tenant, len(orphans))
        await asyncio.to_thread(stack.api.kill)
    await asyncio.to_thread(stack.temporal.restart)
    temporal = await Temporal.connect(stack.temporal.running.url)
    async with tenant.database.transaction(tenant.scope) as session:
        ids = (await session.exec(select(SubscriptionRow.id))).all()
    assert len(ids) == len(orphans)
    assert [await is_running(temporal, tenant, each) for each in ids] == [False] * len(ids)
    assert await relayed(tenant) == [None] * len(ids)

    began = asyncio.get_running_loop().time()
    await asyncio.to_thread(stack.worker.restart)
    async with asyncio.timeout(SECONDS_TO_START):
        while not all([await is_running(temporal, tenant, each) for each in ids]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    seconds = asyncio.get_running_loop().time() - began
    async with asyncio.timeout(SECONDS_TO_START):
        while None in await relayed(tenant):  # noqa: ASYNC110 (the database tells nobody)
            await asyncio.sleep(0.05)

    await asyncio.to_thread(stack.api.restart)
    for each in orphans:
        created = await tenant.client.post("/subscriptions", tenant.subscription_body(each), each.external_id)
        each.subscription_id = created["id"]
    counts = await check_laws(tenant)
    print(
        f"orphans {len(ids)}, all started {seconds:.1f} s after the worker's start began, with the API still"
        f" dead; answers given again {tenant.client.replayed}; {counts}"
    )
    assert {each.subscription_id for each in orphans} == set(ids)
    assert tenant.client.replayed == len(orphans)


async def relayed(tenant: Tenant) -> list[datetime | None]:
    """When each start of a subscription was carried on; None: not yet."""
    query = select(OutboxRow.relayed_at).where(col(OutboxRow.kind) == START_SUBSCRIPTION)
    async with tenant.database.transaction(tenant.scope) as session:
        return list((await session.exec(query)).all())
