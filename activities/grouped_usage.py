"""Usage reads of many periods that close at once, as a few grouped reads.

On the first of a month thousands of invoices ask for the same meters over the same period, each for its own customer.
Those that ask within a moment share one statement. Only what waits is gathered, nothing is kept: every answer was read
after its question, so that all that was stored before the question is in it.

A group is of one tenant, one set of meters and one period. A statement that fails is the failure of those who share it
and of nobody else: a meter that cannot be read fails the invoices that need it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from activities.usage_reader import NO_BUCKETS, NOTHING, Days, UsageReader, days_of
from activities.usage_rollups import UsageRollups
from billing.meters import Meter, UsageQuantity
from billing.periods import Period
from billing.windows import WindowSize
from models.clickhouse.client import ClickHouse, ClickHouseTooMuch
from models.clickhouse.meter_query import MeterQuery, quantities
from models.clickhouse.usage import (
    BucketedUsage,
    in_batches,
    in_bucketed_batches,
    rows_by_customer,
    usage_by_bucket,
    windows_of,
)
from models.clickhouse.windows import Window
from models.scope import Scope

GATHER_SECONDS: Final = 0.01
CUSTOMERS_A_GROUP: Final = 10_000
CUSTOMERS_A_QUERY: Final = 1000
"""Of answers with buckets or events for each; halved where these are too many. Stored usage is in the order of
customers, so a group is sorted before it is cut: customers who asked in any order would each time touch all of it."""
DAYS_A_QUERY: Final = 31_000
"""Rows of daily totals, of twenty meters each, that a worker can well hold: a month of a thousand customers."""

QUERIES_AT_ONCE: Final = 4
"""What one ClickHouse connection pool runs in parallel; more would only wait there."""

Made = Callable[[], Any]
"""Makes an answer of what was read for a customer: of many that were read together each is made when it is wanted."""

ReadGroup = Callable[[tuple[str, ...]], Awaitable[dict[str, Made]]]


@dataclass(frozen=True, slots=True)
class Question:
    """What may be asked for many customers at once; `key` tells whether two questions are the same."""

    key: Hashable
    read: ReadGroup
    nothing: Made
    """The answer for a customer without events."""
    at_once: int = CUSTOMERS_A_QUERY
    """How many customers a statement reads."""


@dataclass(slots=True)
class _Group:
    """Who waits for one statement, by customer."""

    question: Question
    waiting: dict[str, list["asyncio.Future[Any]"]] = field(default_factory=dict)


class GroupedUsage(UsageReader):
    """A reader whose `read` and `daily` share statements. Everything else reads by itself."""

    def __init__(self, clickhouse: ClickHouse, rollups: UsageRollups | None = None) -> None:
        super().__init__(clickhouse, rollups)
        self._open: dict[Hashable, _Group] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._queries = asyncio.Semaphore(QUERIES_AT_ONCE)

    async def read(
        self,
        scope: Scope,
        external_customer_id: str,
        meters: Sequence[Meter],
        period: Period,
        known_before: datetime | None = None,
    ) -> dict[str, UsageQuantity]:
        """What each of `meters` measured for the customer in [period.start, period.end), by meter id.

        With `known_before`, an instant of business time, as events were known before it.
        """
        found: dict[str, UsageQuantity] = {}
        for batch in in_batches(meters):
            key = ("total", scope, batch, period, known_before)
            read = partial(self._read_totals, scope, batch, period, known_before)
            nothing = partial(dict.fromkeys, [meter.id for meter in batch], NOTHING)
            # Of expressions, events may be handed out one by one.
            plain = all(meter.expression is None for meter in batch)
            at_once = CUSTOMERS_A_GROUP if plain else CUSTOMERS_A_QUERY
            found |= (await self.ask(Question(key, read, nothing, at_once), external_customer_id))()
        return found

    async def buckets(
        self,
        scope: Scope,
        external_customer_id: str | None,
        meters: Sequence[Meter],
        period: Period,
        zone: str,
        anchor: datetime | None,
        known_before: datetime | None = None,
    ) -> dict[str, BucketedUsage]:
        """What each of `meters`, which all have buckets, measured in its buckets in [period.start, period.end)."""
        if external_customer_id is None:
            return await super().buckets(scope, None, meters, period, zone, anchor, known_before)
        found: dict[str, BucketedUsage] = {}
        for batch in in_bucketed_batches(meters):
            # Only months are cut by the anchor: whatever else shares a window shares the statement.
            at = anchor if batch[0].bucket_size is WindowSize.MONTH else None
            key = ("buckets", scope, batch, period, zone, at, known_before)
            read = partial(self._read_buckets, scope, batch, period, zone, at, known_before)
            nothing = partial(dict.fromkeys, [meter.id for meter in batch], NO_BUCKETS)
            found |= (await self.ask(Question(key, read, nothing), external_customer_id))()
        return found

    async def daily(
        self, scope: Scope, external_customer_id: str, meters: Sequence[Meter], period: Period, zone: str
    ) -> dict[str, Days]:
        """Each meter's quantity for each local day of `zone` that has events of it (the charts of an invoice)."""
        found: dict[str, Days] = {}
        for batch in in_batches(meters):
            key, read = ("daily", scope, batch, period, zone), partial(self._read_days, scope, batch, period, zone)
            at_once = max(DAYS_A_QUERY // max((period.end - period.start).days, 1), 1)
            windows = await self.ask(Question(key, read, list, at_once), external_customer_id)
            found |= days_of(batch, windows(), zone)
        return found

    async def ask(self, question: Question, customer: str) -> Made:
        """The answer for a customer, read together with those who ask the same at the same time."""
        key = question.key
        group = self._open.get(key)
        if group is None:
            group = self._open[key] = _Group(question)
            task = asyncio.create_task(self._answer(group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        future: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
        group.waiting.setdefault(customer, []).append(future)
        if len(group.waiting) == CUSTOMERS_A_GROUP:
            del self._open[key]  # full: who asks next begins another
        return await future

    async def _answer(self, group: _Group) -> None:
        key, at_once = group.question.key, group.question.at_once
        await asyncio.sleep(GATHER_SECONDS)
        async with self._queries:
            if self._open.get(key) is group:
                del self._open[key]  # not before: whoever asked while it waited for its turn is answered, too
            customers = sorted(group.waiting)
            await self._read_some(group, tuple(customers[:at_once]))
        rest = range(at_once, len(customers), at_once)
        await asyncio.gather(*(self._read_next(group, tuple(customers[first : first + at_once])) for first in rest))

    async def _read_next(self, group: _Group, customers: tuple[str, ...]) -> None:
        async with self._queries:
            await self._read_some(group, customers)

    async def _read_some(self, group: _Group, customers: tuple[str, ...]) -> None:
        """One statement; answers those of them who still wait."""
        try:
            found = await group.question.read(customers)
        except ClickHouseTooMuch as error:
            if len(customers) == 1:
                too_much = error
                _each(group, customers, lambda future, customer: future.set_exception(too_much))
                return
            half = len(customers) // 2
            await self._read_some(group, customers[:half])
            await self._read_some(group, customers[half:])
        except Exception as error:
            problem = error
            _each(group, customers, lambda future, customer: future.set_exception(problem))
        else:
            nothing = group.question.nothing
            _each(group, customers, lambda future, customer: future.set_result(found.get(customer, nothing)))

    async def _read_totals(
        self,
        scope: Scope,
        meters: tuple[Meter, ...],
        period: Period,
        known_before: datetime | None,
        customers: tuple[str, ...],
    ) -> dict[str, Made]:
        if known_before is None:
            rolled = await self._rolled(scope, customers, meters, period)
            if rolled is not None:
                return {customer: partial(dict, found) for customer, found in rolled.items()}
        if len(customers) == 1:
            alone = self.query_of(scope, customers[0], meters, period, known_before=known_before)
            return {customers[0]: partial(dict, await self.of_one(alone))}
        query = replace(_query(scope, meters, period, customers, None), known_before=known_before)
        rows = await rows_by_customer(self.clickhouse, query)
        return {customer: partial(quantities, query, own[0]) for customer, own in rows.items()}

    async def _read_buckets(
        self,
        scope: Scope,
        meters: tuple[Meter, ...],
        period: Period,
        zone: str,
        anchor: datetime | None,
        known_before: datetime | None,
        customers: tuple[str, ...],
    ) -> dict[str, Made]:
        query = self.buckets_query(scope, None, meters, period, zone, anchor, known_before)
        read = await usage_by_bucket(self.clickhouse, replace(query, each_of=customers))
        return {customer: partial(dict, found) for (customer,), found in read.items()}

    async def _read_days(
        self, scope: Scope, meters: tuple[Meter, ...], period: Period, zone: str, customers: tuple[str, ...]
    ) -> dict[str, Made]:
        query = _query(scope, meters, period, customers, Window(WindowSize.DAY, zone))
        rows = await rows_by_customer(self.clickhouse, query)
        return {customer: partial(windows_of, query, own) for customer, own in rows.items()}


def _query(
    scope: Scope, meters: tuple[Meter, ...], period: Period, customers: tuple[str, ...], window: Window | None
) -> MeterQuery:
    return MeterQuery(
        scope.tenant_id, scope.environment_id, None, meters, period.start, period.end, window, each_of=customers
    )


def _each(group: _Group, customers: Sequence[str], answer: Callable[["asyncio.Future[Any]", str], None]) -> None:
    """Answers those of the group."""
    for customer in customers:
        for future in group.waiting[customer]:
            if not future.done():
                answer(future, customer)
