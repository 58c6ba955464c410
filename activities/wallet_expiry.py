"""Taking out of wallets what has expired: by a Schedule for customers in real time, by test clocks for theirs.

A balance never counts what has expired, whether it has been taken out or not: this is for the books.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.wallets import expire_credits
from models.database import Database
from models.queries.wallets import list_wallets_with_expired_lots

BATCH = 200


@dataclass(frozen=True, slots=True)
class ExpireCredits:
    """Expire what is over at `now`, for every tenant, of customers who live by real time."""

    now: datetime


class WalletActivities:
    """What happens to wallets by the calendar."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="wallets.expire")
    async def expire(self, command: ExpireCredits) -> int:
        """Expires everything due, in batches of one transaction each; returns how many lots."""
        expired, after = 0, ""
        while True:
            async with self._database.system_transaction() as session:
                lots, after = await expire_due(session, command.now, after=after)
            expired += lots
            activity.heartbeat(expired)
            if not after:
                return expired


async def expire_due(
    session: AsyncSession, at: datetime, *, after: str = "", test_clock_id: str | None = None
) -> tuple[int, str]:
    """Expires the lots of one batch of wallets, those with ids behind `after`.

    Returns how many lots went, and the last wallet's id while there may be more. A wallet whose lots a draft still
    holds is passed over.
    """
    due = await list_wallets_with_expired_lots(session, at, test_clock_id, after, BATCH)
    expired = 0
    for scope, wallet_id in due:
        expired += await expire_credits(session, scope, wallet_id, at)
    return expired, due[-1][1] if len(due) == BATCH else ""
