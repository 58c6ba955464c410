"""By which clocks customers live, for many at once: what accepting usage asks."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from models.queries.paging import own
from models.scope import Scope
from models.tables import CustomerRow, TestClockRow

NAMES_A_QUERY: Final = 1000


async def frozen_times(session: AsyncSession, scope: Scope, external_ids: Sequence[str]) -> dict[str, datetime | None]:
    """Where the test clock of each customer stands (UTC); None without a test clock. Unknown customers are left out."""
    found: dict[str, datetime | None] = {}
    for start in range(0, len(external_ids), NAMES_A_QUERY):
        names = col(CustomerRow.external_id).in_(external_ids[start : start + NAMES_A_QUERY])
        query = (
            select(col(CustomerRow.external_id), col(TestClockRow.frozen_time))
            .join(TestClockRow, col(TestClockRow.id) == col(CustomerRow.test_clock_id), isouter=True)
            .where(*own(CustomerRow, scope), col(CustomerRow.status) != "deleted", names)
            .order_by(col(CustomerRow.created_at), col(CustomerRow.id))
        )
        found |= {name: at for name, at in await session.execute(query)}
    return found
