"""Every kind of fault: how it is injected from outside, and how often it has struck.

A fault counts only once it has struck: a signal that was sent, or an exchange that ran into a trap.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.faults.driver.proxies import Harm, Trap
from tests.faults.driver.stack import WORKERS, FaultStack
from tests.faults.driver.tenants import Tenant
from tests.faults.driver.webhooks import Mishap, Way

PATIENCE_SECONDS: Final = 40
"""How long a trap waits for somebody to run into it."""
STALL_SECONDS: Final = (0.5, 6.0)
LATE_SECONDS: Final = (0.5, 5.0)
TIMED_OUT_SECONDS: Final = 22.0
"""Longer than our client waits for the payment company."""
FULL_SECONDS: Final = 4.0
COMMIT: Final = b"COMMIT"
PUT: Final = b"PUT "
POST: Final = b"POST "
INSERT: Final = b"INSERT"


@dataclass
class Target:
    """What faults strike."""

    stack: FaultStack
    tenants: list[Tenant]
    chance: random.Random
    """Of one lane alone."""


Strike = Callable[[Target], Awaitable[bool]]
"""Whether it has struck."""


def _killed(*names: str) -> Strike:
    async def strike(target: Target) -> bool:
        await target.stack.kill(target.chance.choice(names))
        return True

    return strike


def _stalled(*names: str) -> Strike:
    async def strike(target: Target) -> bool:
        await target.stack.stall(target.chance.choice(names), target.chance.uniform(*STALL_SECONDS))
        return True

    return strike


def _harmed(proxy: str, harm: Harm, word: bytes = b"") -> Strike:
    async def strike(target: Target) -> bool:
        late = target.chance.uniform(*LATE_SECONDS)
        if proxy == "provider" and target.chance.random() < 0.15:
            late = TIMED_OUT_SECONDS
        return await target.stack.proxies[proxy].harm(Trap(harm, word, late), PATIENCE_SECONDS)

    return strike


def _cut(proxy: str) -> Strike:
    async def strike(target: Target) -> bool:
        return target.stack.proxies[proxy].cut() > 0

    return strike


def _received(harm: Harm) -> Strike:
    async def strike(target: Target) -> bool:
        trap = Trap(harm, POST, target.chance.uniform(*LATE_SECONDS))
        return await target.chance.choice(target.tenants).proxy.harm(trap, PATIENCE_SECONDS)

    return strike


def _on_its_way(way: Way) -> Strike:
    async def strike(target: Target) -> bool:
        assert target.stack.relay is not None
        return await target.stack.relay.harm(Mishap(way), PATIENCE_SECONDS)

    return strike


async def _store_full(target: Target) -> bool:
    """No space is left until a document could not be stored for it."""
    stack = target.stack
    async with stack.locks["s3"]:
        before, filler = stack.put_failures, await stack.fill_store()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while stack.put_failures == before:  # noqa: ASYNC110 (the proxy counts)
                    await asyncio.sleep(0.05)
            await asyncio.sleep(target.chance.uniform(0, FULL_SECONDS))
        except TimeoutError:
            return False
        finally:
            filler.unlink(missing_ok=True)
        return True


STORE_FULL: Final = "object store: no space"
LANES: Final[Mapping[str, Mapping[str, Strike]]] = {
    "processes": {
        "worker: kill -9": _killed(*WORKERS),
        "API: kill -9": _killed("api"),
        "Postgres: kill -9": _killed("postgres"),
        "ClickHouse: kill -9": _killed("clickhouse"),
        "Temporal: kill -9": _killed("temporal"),
        "Kafka: kill -9": _killed("kafka"),
        "consumer: kill -9": _killed("consumer"),
        "payment company: kill -9": _killed("provider"),
        "worker: stalled": _stalled(*WORKERS),
        "API: stalled": _stalled("api"),
        "Postgres: stalled": _stalled("postgres"),
        "ClickHouse: stalled": _stalled("clickhouse"),
        "Temporal: stalled": _stalled("temporal"),
        "Kafka: stalled": _stalled("kafka"),
        "consumer: stalled": _stalled("consumer"),
    },
    "payment company": {
        "payment company: request lost": _harmed("provider", Harm.request_lost, POST),
        "payment company: answer lost": _harmed("provider", Harm.answer_lost, POST),
        "payment company: answer late": _harmed("provider", Harm.answer_late, POST),
    },
    "webhooks in": {
        "webhook in: twice": _on_its_way(Way.twice),
        "webhook in: out of order": _on_its_way(Way.out_of_order),
        "webhook in: answer lost": _on_its_way(Way.answer_lost),
    },
    "webhooks out": {
        "webhook out: answer lost": _received(Harm.answer_lost),
        "webhook out: answer late": _received(Harm.answer_late),
    },
    "Postgres": {
        "Postgres: commit's answer lost": _harmed("postgres", Harm.answer_lost, COMMIT),
        "Postgres: answer late": _harmed("postgres", Harm.answer_late),
        "Postgres: connections cut": _cut("postgres"),
    },
    "ClickHouse": {
        "ClickHouse: insert's answer lost": _harmed("clickhouse", Harm.answer_lost, INSERT),
        "ClickHouse: answer late": _harmed("clickhouse", Harm.answer_late, POST),
    },
    "Temporal": {
        "Temporal: answer lost": _harmed("temporal", Harm.answer_lost),
        "Temporal: answer late": _harmed("temporal", Harm.answer_late),
    },
    "Kafka": {
        "Kafka: answer lost": _harmed("kafka", Harm.answer_lost),
        "Kafka: answer late": _harmed("kafka", Harm.answer_late),
    },
    "API": {
        "API: request lost": _harmed("api", Harm.request_lost, POST),
        "API: answer lost": _harmed("api", Harm.answer_lost, POST),
    },
    "object store": {
        STORE_FULL: _store_full,
        "object store: answer lost": _harmed("s3", Harm.answer_lost, PUT),
    },
}
"""Lanes go on side by side; in each one fault comes after the other, in an order that follows from the seed."""
SIDE_BY_SIDE: Final = {"processes": 2}
"""How many faults of a lane may go on at once, where it is more than one."""
KINDS: Final = tuple(kind for lane in LANES.values() for kind in lane)


@dataclass
class Faults:
    """The schedule of one run, and the counts."""

    seed: str
    each: int
    """How often every kind is to strike."""
    pace: float
    """Seconds between two faults of a lane, on the average."""
    without: frozenset[str] = frozenset()
    """Kinds that are not possible here."""
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def kinds(self) -> list[str]:
        """What is to strike."""
        return [kind for kind in KINDS if kind not in self.without]

    def missing(self) -> dict[str, int]:
        """How often which kind has yet to strike."""
        return {kind: self.each - self.counts[kind] for kind in self.kinds if self.counts[kind] < self.each}

    async def inject(self, stack: FaultStack, tenants: list[Tenant], rest: asyncio.Event) -> None:
        """All of them. One that nobody ran into comes again later; none comes any more once `rest` is set."""
        async with asyncio.TaskGroup() as group:
            for lane in LANES:
                for number in range(SIDE_BY_SIDE.get(lane, 1)):
                    target = Target(stack, tenants, random.Random(f"{self.seed}/{lane}/{number}"))
                    group.create_task(self._follow(lane, number, target, rest))

    def schedule(self, lane: str) -> list[str]:
        """The order of a lane's faults."""
        kinds = [kind for kind in LANES[lane] if kind not in self.without] * self.each
        random.Random(f"{self.seed}/{lane}").shuffle(kinds)
        return kinds

    async def _follow(self, lane: str, number: int, target: Target, rest: asyncio.Event) -> None:
        planned = self.schedule(lane)[number :: SIDE_BY_SIDE.get(lane, 1)]
        while planned and not rest.is_set():
            kind = planned.pop(0)
            if await LANES[lane][kind](target):
                self.counts[kind] += 1
            else:
                planned.append(kind)
            await asyncio.sleep(target.chance.expovariate(1) * self.pace)
