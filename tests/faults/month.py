"""A billing month in which something dies again and again: life goes on at one side, kills happen at the other."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.faults.story import DAILY, MONTHLY, Subscriber, calls
from tests.faults.tenant import Tenant, on_clock

START = datetime(2025, 1, 31, tzinfo=UTC)
STEP = timedelta(days=2)
LENGTH = timedelta(days=33)
MOST_SECONDS_TO_RECOVER = 60


def customers() -> list[Subscriber]:
    """Who lives by the test clock: three by the month and one by the day, with cards of every temper."""
    return [
        on_clock("kaveri", "Asia/Kolkata", datetime(2025, 1, 30, 18, 30, tzinfo=UTC), "pm_card_succeeds", MONTHLY),
        on_clock("seine", "Europe/Paris", datetime(2025, 1, 31, tzinfo=UTC), "pm_script_ok_soft_down_lost", MONTHLY, 7),
        on_clock("harbour", "UTC", datetime(2025, 1, 31, tzinfo=UTC), "pm_card_answer_lost", MONTHLY, 2),
        on_clock("northwind", "America/New_York", datetime(2025, 1, 30, 5, tzinfo=UTC), "pm_card_succeeds", DAILY),
    ]


@dataclass
class Month:
    """The life of a tenant: usage is posted and the clock moves on, until the month and the faults are over."""

    tenant: Tenant
    chance: random.Random
    faults_over: asyncio.Event = field(default_factory=asyncio.Event)
    recoveries: list[float] = field(default_factory=list)

    async def begin(self) -> None:
        """The clock, and everybody who lives by it."""
        await self.tenant.start_clock(START)
        for subscriber in customers():
            await self.tenant.sign_up(subscriber)

    async def live(self) -> None:
        """Two days at a time: first their usage, then the clock."""
        now, number = START, 0
        while now < START + LENGTH or not self.faults_over.is_set():
            number += 1
            for subscriber in [each for each in self.tenant.subscribers if each.on_clock]:
                name = f"{subscriber.external_id}-{number}"
                await self.tenant.post(subscriber, calls(self.chance, name, now, now + timedelta(hours=23), 12))
            now += STEP
            await self.tenant.advance(now + timedelta(hours=3))

    async def under_fire(self, faults: list[Callable[[], Awaitable[None]]]) -> None:
        """Lives the month while one fault comes after the other, each at a random moment of work."""
        await self.begin()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.live())
            for number, fault in enumerate(faults):
                await self.moves(self.chance.randint(3, 40))
                await asyncio.sleep(self.chance.random() / 2)
                card = self.chance.choice(("pm_card_succeeds", "pm_card_answer_lost"))
                signing_up = self.tenant.sign_up_now(self.chance, f"new-{number}", self.chance.randint(2, 9), card)
                group.create_task(signing_up)
                self.recoveries.append(await self.recovers_from(fault))
            self.faults_over.set()

    async def recovers_from(self, fault: Callable[[], Awaitable[None]]) -> float:
        """Seconds from the beginning of a fault to the first progress after it."""
        began = time.monotonic()
        await fault()
        await self.moves(1)
        seconds = time.monotonic() - began
        assert seconds < MOST_SECONDS_TO_RECOVER
        return seconds

    async def moves(self, steps: int) -> None:
        """Waits until workers have done so much more than now."""
        async with asyncio.timeout(MOST_SECONDS_TO_RECOVER * 2):
            goal = await self.tenant.progress() + steps
            while await self.tenant.progress() < goal:  # noqa: ASYNC110 (other processes tell nobody)
                await asyncio.sleep(0.02)

    def times(self) -> str:
        """The recoveries, in seconds."""
        return f"recovered after {', '.join(f'{seconds:.1f}' for seconds in self.recoveries)} s"
