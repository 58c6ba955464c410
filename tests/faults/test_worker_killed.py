"""kill -9 of the worker at random moments of a billing month: nothing lost, nothing doubled, work goes on."""

import asyncio
import os
import random

from tests.faults.laws import check_laws
from tests.faults.month import Month
from tests.faults.stack import Stack
from tests.faults.tenant import Tenant

KILLS = 60 if os.environ.get("FAULTS_LONG") else 10


async def test_a_month_with_ten_dead_workers(stack: Stack, tenant: Tenant, chance: random.Random) -> None:
    month = Month(tenant, chance)

    async def kill_worker() -> None:
        await asyncio.to_thread(stack.worker.kill)
        await asyncio.to_thread(stack.worker.restart)

    await month.under_fire([kill_worker] * KILLS)
    counts = await check_laws(tenant)
    print(f"workers killed {KILLS}, {month.times()}; {counts}")
    assert len(month.recoveries) == KILLS
    assert stack.died() == []
