"""The payment company loses answers after charging, and dies: every invoice is charged once, in its own books."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import httpx
from sqlmodel import col, func, select

from models.tables import PaymentAttemptRow
from tests.faults.laws import check_laws
from tests.faults.stack import Stack
from tests.faults.story import DAILY, Subscriber, calls
from tests.faults.tenant import DAY, Tenant

KILLS = 3
WORKER_KILLS = 2
CARDS = ("pm_card_answer_lost", "pm_card_succeeds", "pm_script_lost_down_lost", "pm_script_down_ok_lost_lost")
CUSTOMERS = 8


async def sign_up_all(tenant: Tenant, chance: random.Random, cards: tuple[str, ...]) -> None:
    """Customers that are three days behind: each owes four invoices at once."""
    start = datetime.now(UTC).replace(microsecond=0) - 3 * DAY - timedelta(minutes=5)
    subscribers = [
        Subscriber(f"customer-{number}", "UTC", start, 1 + number, cards[number % len(cards)], DAILY, False)
        for number in range(CUSTOMERS)
    ]
    usage = {each.external_id: calls(chance, each.external_id, start, start + 3 * DAY, 20) for each in subscribers}
    await asyncio.gather(*(tenant.sign_up(each, usage[each.external_id]) for each in subscribers))


async def attempts(tenant: Tenant) -> tuple[int, int]:
    """How many attempts there are in our books, and how many of them are settled."""
    query = select(func.count(), func.count(col(PaymentAttemptRow.settled_at))).select_from(PaymentAttemptRow)
    async with tenant.database.transaction(tenant.scope) as session:
        made, settled = (await session.exec(query)).one()
        return made, settled


async def charged(tenant: Tenant) -> int:
    """How many charges the company has in its books for this tenant."""
    async with httpx.AsyncClient(base_url=tenant.stack.provider_url, timeout=30) as provider:
        charges = (await provider.get("/v1/charges")).json()["items"]
    return sum(charge["metadata"].get("tenant_id") == tenant.scope.tenant_id for charge in charges)


async def test_the_company_dies_while_it_is_asked(stack: Stack, tenant: Tenant, chance: random.Random) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sign_up_all(tenant, chance, CARDS))
        for kill in range(KILLS):
            async with asyncio.timeout(60):
                while (await attempts(tenant))[0] < 6 * (kill + 1):  # noqa: ASYNC110 (the database tells nobody)
                    await asyncio.sleep(0.005)
            await asyncio.sleep(chance.random() / 10)
            await asyncio.to_thread(stack.provider.kill)
            await asyncio.sleep(chance.random())
            await asyncio.to_thread(stack.provider.restart)
    counts = await check_laws(tenant)
    made, settled = await attempts(tenant)
    print(f"payment company killed {KILLS} times; attempts {made}, settled {settled}; {counts}")
    assert made == settled
    assert stack.died() == []


async def test_the_worker_dies_before_it_hears_of_the_charge(
    stack: Stack, tenant: Tenant, chance: random.Random
) -> None:
    """The money is taken, the answer is lost, and who asked is killed: the next worker looks it up."""
    kills = 0
    signing_up = asyncio.create_task(sign_up_all(tenant, chance, ("pm_card_answer_lost",)))
    for _ in range(WORKER_KILLS):
        async with asyncio.timeout(60):
            while (hidden := await charged(tenant) - (await attempts(tenant))[1]) <= 0:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.to_thread(stack.worker.kill)
        hidden = await charged(tenant) - (await attempts(tenant))[1]
        kills += hidden > 0
        print(f"worker killed while it did not know of {hidden} charges")
        await asyncio.to_thread(stack.worker.restart)
    await signing_up
    counts = await check_laws(tenant)
    print(f"{kills} of {WORKER_KILLS} kills between charge and answer; {counts}")
    assert kills > 0
