"""One run: a stack, its tenants and their customers, faults until enough of each kind have struck, and the verdict."""

import asyncio
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from models.database import Database
from tests.faults.driver import stories
from tests.faults.driver.faults import KINDS, STORE_FULL, Faults
from tests.faults.driver.judge import Verdict, judge, of_story, quiet
from tests.faults.driver.player import Outcome, Tally, play_and_compare
from tests.faults.driver.proxies import LOOPBACK
from tests.faults.driver.stack import FaultStack, start_stack
from tests.faults.driver.tenants import Tenant, open_tenants

TELL_SECONDS = 15
LONG_RUN = 1000
LEAST_OF_A_LONG_RUN = 30


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of a run. `faults` are spread evenly over the kinds."""

    seed: int
    faults: int = 1000
    customers: int = 20
    """How many live at once; whoever's story ends makes room for another while faults are still to come."""
    months: int = 12
    tenants: int = 3
    pace: float = 1.0
    """Seconds between two faults of a lane, on the average."""

    @property
    def each(self) -> int:
        """How often every kind strikes."""
        evenly = ceil(self.faults / len(KINDS))
        return max(evenly, LEAST_OF_A_LONG_RUN) if self.faults >= LONG_RUN else evenly

    def command(self) -> str:
        """Plays it again."""
        return (
            f"python -m tests.faults.driver --seed {self.seed} --faults {self.faults} --customers {self.customers}"
            f" --months {self.months} --tenants {self.tenants} --pace {self.pace:g}"
        )


@dataclass
class Report:
    """What came of it."""

    plan: Plan
    faults: Faults
    verdict: Verdict = field(default_factory=Verdict)
    tally: Tally = field(default_factory=Tally)
    outcomes: list[Outcome] = field(default_factory=list)
    clock: dict[str, int] = field(default_factory=dict)
    """How often clocks moved over what."""
    failed_starts: int = 0
    consumer_gave_up: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """Everything that does not hold."""
        return self.verdict.problems


def tell(line: str) -> None:
    """To people, at once."""
    print(f"[{time.strftime('%H:%M:%S', time.gmtime())}] {line}", file=sys.stderr, flush=True)


async def run(plan: Plan, folder: Path, say: Callable[[str], None] = tell) -> Report:
    """The whole run. Everything that it started has ended when it returns."""
    say(f"again: {plan.command()}")
    began = time.monotonic()
    stack = await start_stack(folder, random.Random(f"{plan.seed}/relay"))
    without = frozenset() if stack.store_is_small else frozenset({STORE_FULL})
    report = Report(plan, Faults(str(plan.seed), plan.each, plan.pace, without))
    database = Database(stack.postgres_dsn, pool_size=3)
    tenants: list[Tenant] = []
    try:
        tenants = await open_tenants(stack, database, str(plan.seed), plan.tenants)
        report.seconds["start"] = time.monotonic() - began
        await _live(stack, tenants, report, say)
        report.seconds["faults"] = time.monotonic() - began - report.seconds["start"]
        report.verdict.problems += await quiet(stack, database, tenants, say)
        found = await judge(stack, database, tenants, report.outcomes, report.tally)
        report.verdict = Verdict(report.problems + found.problems, found.looked_at)
    finally:
        for tenant in tenants:
            await tenant.close()
        await database.close()
        await stack.close()
    report.seconds["all"] = time.monotonic() - began
    report.failed_starts, report.consumer_gave_up = len(stack.failed_starts), stack.gave_up
    report.verdict.problems += [f"ended by itself: {each}" for each in stack.died]
    report.verdict.problems += [f"an answer without a word on what to do: {each}" for each in report.tally.complaints]
    missing = report.faults.missing()
    report.verdict.problems += [f"{kind}: {count} faults are missing" for kind, count in missing.items()]
    for name, count in (("month ends", stories.month_ends), ("changes to or from summer time", stories.clock_changes)):
        report.clock[name] = sum(count(outcome.story) for outcome in report.outcomes)
    return report


async def _live(stack: FaultStack, tenants: list[Tenant], report: Report, say: Callable[[str], None]) -> None:
    """Customers live at one side, faults strike at the other, until all have struck and all stories are told."""
    rest, over = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(stack.watch())
        telling = group.create_task(_tell(tenants, report, say, over))
        striking = group.create_task(report.faults.inject(stack, tenants, rest))
        with ThreadPoolExecutor(report.plan.customers) as threads:
            seats = [
                _seat(stack, tenants, report, number, striking, threads, say) for number in range(report.plan.customers)
            ]
            await asyncio.gather(*seats)
        rest.set()
        await striking
        watching.cancel()
        over.set()
        await telling


async def _seat(
    stack: FaultStack,
    tenants: list[Tenant],
    report: Report,
    number: int,
    striking: "asyncio.Task[None]",
    threads: ThreadPoolExecutor,
    say: Callable[[str], None],
) -> None:
    """One customer after the other, for as long as faults are to come; who comes later stays for a quarter as long."""
    place, url = number % len(tenants), f"http://{LOOPBACK}:{stack.proxies['api'].port}"
    turn, loop = 0, asyncio.get_running_loop()
    while turn == 0 or not striking.done():
        seed = f"{report.plan.seed}/{number}/{turn}"
        months = report.plan.months if turn == 0 else ceil(report.plan.months / 4)
        told = await loop.run_in_executor(threads, stories.story, seed, tenants[place].settings, months)
        outcome = await loop.run_in_executor(
            threads, play_and_compare, url, tenants[place].api_key, told, place, report.tally
        )
        report.outcomes.append(outcome)
        for problem in of_story(outcome):
            say(problem)
        turn += 1
        if outcome.stopped:
            return


async def _tell(tenants: list[Tenant], report: Report, say: Callable[[str], None], over: asyncio.Event) -> None:
    """How far it is, every now and then."""
    while not over.is_set():
        wrong = sum(bool(outcome.differences or outcome.stopped) for outcome in report.outcomes)
        say(
            f"faults {report.faults.counts.total()}, kinds complete"
            f" {len(report.faults.kinds) - len(report.faults.missing())} of {len(report.faults.kinds)}; stories told"
            f" {len(report.outcomes)}, of these with differences {wrong}; requests {report.tally.counts['requests']},"
            f" without an answer {report.tally.counts['requests without an answer']}; webhooks received"
            f" {sum(tenant.received().total() for tenant in tenants)}"
        )
        try:
            async with asyncio.timeout(TELL_SECONDS):
                await over.wait()
        except TimeoutError:
            continue
