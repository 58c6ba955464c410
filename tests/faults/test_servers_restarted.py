"""kill -9 of the servers below us, in the middle of a billing month: our processes wait it out and go on."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from deploy.embedded.process import Part
from tests.faults.laws import check_laws
from tests.faults.month import Month
from tests.faults.stack import Stack
from tests.faults.tenant import Tenant

ORDER = ("postgres", "temporal", "clickhouse", "temporal", "postgres")


async def test_a_month_with_restarted_servers(stack: Stack, tenant: Tenant, chance: random.Random) -> None:
    month = Month(tenant, chance)

    def restart(part: Part) -> Callable[[], Awaitable[None]]:
        async def kill_and_restart() -> None:
            await asyncio.to_thread(part.kill)
            await asyncio.sleep(chance.random() * 2)
            await asyncio.to_thread(part.restart)

        return kill_and_restart

    await month.under_fire([restart(getattr(stack, name)) for name in ORDER])
    counts = await check_laws(tenant)
    print(f"killed and restarted {', '.join(ORDER)}, {month.times()}; {counts}")
    assert stack.died() == []
