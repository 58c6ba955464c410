"""By which time a customer lives: a test clock's, or the real one."""

from datetime import datetime

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.tables import TestClockRow


async def clock_now(session: AsyncSession, test_clock_id: str | None) -> datetime | None:
    """Where the test clock stands; None for those who live by real time."""
    if test_clock_id is None:
        return None
    return (await session.exec(select(TestClockRow.frozen_time).where(TestClockRow.id == test_clock_id))).one()


async def business_time(session: AsyncSession, test_clock_id: str | None, now: datetime) -> datetime:
    """The instant at which a command acts.

    A workflow under a test clock knows only the time of its last step; between two steps the clock may have moved on
    without anything being due, so its row decides. `now` is for those who live by real time.
    """
    return await clock_now(session, test_clock_id) or now
