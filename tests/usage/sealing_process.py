"""A sealer in a process of its own, to be killed: seals one customer after another, again and again.

`python -m tests.usage.sealing_process DSN TENANT`.
"""

import asyncio
import sys
from datetime import timedelta

from activities.adapters.clickhouse import connect_clickhouse
from activities.usage_sealing import Environment, UsageSealer
from models.clickhouse import usage_seals
from models.scope import Scope
from tests.usage.test_rollups import EVER, METERS, NOW, OPEN


async def main(dsn: str, tenant_id: str) -> None:
    """Until it is killed."""
    usage_seals.ROWS_A_STATEMENT = 40  # type: ignore[misc]  # many small statements, so that a kill meets one
    clickhouse = await connect_clickhouse(dsn)
    sealer, hours = UsageSealer(clickhouse, 37, large_events=100, many_events=0, dense_events=0), 0
    while True:
        environment = Environment(Scope(tenant_id, "env_test"), (*METERS, *EVER), OPEN)
        await sealer.seal(environment, NOW - timedelta(hours=200 - hours))
        hours += 1


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
