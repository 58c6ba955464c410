"""Sealing usage: keeps the cells of every environment complete up to the last whole hour.

Owns what is sealed and in which order; how, and why it is exact, is `models.clickhouse.usage_seals`. An environment
that cannot be sealed is reported and disturbs no other. Run hourly by a Schedule; a second one beside it does no harm.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import func
from sqlmodel import col, select
from temporalio import activity

from activities.usage_rollups import MANY_CUSTOMERS, common_layers
from billing.errors import BillingError
from billing.meters import Meter
from models.clickhouse.client import ClickHouse, ClickHouseRefused
from models.clickhouse.usage_periods import OpenPeriod, seal_period
from models.clickhouse.usage_seals import (
    DAYS,
    HOURS,
    PERIODS,
    SPANS,
    Layer,
    MonthOfEvents,
    Seal,
    Sealing,
    month_of_events,
    months_with_events,
    newest_blocks,
    read_seals,
    seal,
)
from models.clickhouse.usage_series import has_series, series_of
from models.conversions import meter_from_row
from models.database import Database
from models.queries.customers import LIVE_SUBSCRIPTION
from models.scope import Scope
from models.tables import MeterRow, SubscriptionRow

SETTLING: Final = timedelta(minutes=2)
"""So long after its end a span is sealed: what is under way then would only have to be sealed twice."""

LARGE_EVENTS: Final = 100_000
"""Events of one meter in a month from which on a customer's hours are sealed as well."""

MANY_EVENTS: Final = 1_000_000
DENSE_EVENTS: Final = 300
"""Events of an environment in a month, and of its customers on average, from which on everybody's days are sealed.
With fewer, a close of all of them takes about a second from the events, or cells are hardly fewer than events."""

METERS_A_STATEMENT: Final = 20
SHOWN: Final = 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger(__name__)
Beat = Callable[[str], None]
Since = tuple[datetime, int] | None


@dataclass(frozen=True, slots=True)
class SealUsage:
    """Seal what was over at `now` (real time), of all tenants."""

    now: datetime


@dataclass(frozen=True, slots=True)
class SealedUsage:
    """What a pass did: environments looked at, rows that had come since, and environments that could not be sealed."""

    environments: int = 0
    rows: int = 0
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """What there is to be sealed of one: the usage of its meters, and periods that many of its customers are in."""

    scope: Scope
    meters: tuple[Meter, ...]
    periods: tuple[OpenPeriod, ...] = ()

    @property
    def by_series(self) -> dict[int, Meter]:
        """A meter for each of its series."""
        return {series_of(meter): meter for meter in self.meters if has_series(meter)}

    @property
    def names(self) -> list[str]:
        """The events that they measure."""
        return sorted({meter.event_name for meter in self.meters if has_series(meter)})


class UsageSealer:
    """Seals environments in ClickHouse; an event never waits for it, nor it for an event."""

    def __init__(
        self,
        clickhouse: ClickHouse,
        retention_months: int,
        large_events: int = LARGE_EVENTS,
        many_events: int = MANY_EVENTS,
        dense_events: int = DENSE_EVENTS,
    ) -> None:
        self._clickhouse = clickhouse
        self._retention_months = retention_months
        self._seen: dict[tuple[Scope, datetime], tuple[int, list[str], MonthOfEvents]] = {}
        self._large_events, self._many_events, self._dense_events = large_events, many_events, dense_events

    async def seal(self, environment: Environment, now: datetime, beat: Beat = lambda where: None) -> int:
        """Completes the cells; returns how many rows had come since. Raises ClickHouseError.

        An environment's days and periods are sealed once it has many events for each customer; those of a large
        customer, with hours, in any. What was begun goes on: a seal that stays behind makes reads longer.
        """
        if not environment.by_series:
            return 0
        scope = environment.scope
        newest = await newest_blocks(self._clickhouse)
        seals = await read_seals(self._clickhouse, scope)
        rows = 0
        for month in await self._months(environment, newest, now):
            block = newest[month.year * 100 + month.month]
            found = await self._looked_at(environment, month, block)
            known = {each.layer.external_customer_id for each in seals if each.layer.start == month}
            whose = known | set(found.large)
            if "" in known or self._is_dense(found):
                whose.add("")
            for customer in sorted(whose):
                rows += await self._seal_layer(environment, Layer(month, DAYS, customer), seals, now, block)
                if customer:
                    rows += await self._seal_layer(environment, Layer(month, HOURS, customer), seals, now, block)
                beat(f"{scope.tenant_id} {month:%Y-%m} {customer}")
        for period in environment.periods:
            await self._seal_period(environment, period, max(newest.values(), default=0), now)
            beat(f"{scope.tenant_id} {period.start:%Y-%m-%d}")
        return rows

    async def _months(self, environment: Environment, newest: dict[int, int], now: datetime) -> list[datetime]:
        """The months that have events of the meters and are neither to come nor as old as what retention deletes."""
        starts = [datetime(number // 100, number % 100, 1, tzinfo=UTC) for number in sorted(newest)]
        among = [start.year * 100 + start.month for start in starts if start <= now and self._is_kept(start, now)]
        if not among:
            return []
        found = await months_with_events(self._clickhouse, environment.scope, environment.names, among)
        return [datetime(number // 100, number % 100, 1, tzinfo=UTC) for number in found]

    async def _looked_at(self, environment: Environment, month: datetime, block: int) -> MonthOfEvents:
        """What is stored of a month; asked again only when rows have come."""
        key, names = (environment.scope, month), environment.names
        seen = self._seen.get(key)
        if seen is None or seen[:2] != (block, names):
            found = await month_of_events(self._clickhouse, environment.scope, names, month, self._large_events)
            seen = self._seen[key] = (block, names, found)
        return seen[2]

    def _is_dense(self, found: MonthOfEvents) -> bool:
        return found.events >= max(self._many_events, self._dense_events * found.customers)

    async def _seal_layer(
        self, environment: Environment, layer: Layer, seals: Sequence[Seal], now: datetime, block: int
    ) -> int:
        horizon = min(layer.end, _whole(now - SETTLING, layer.level))
        if horizon <= layer.start:
            return 0
        rows = 0
        for since, meters in _incomplete(environment, layer, seals, horizon, block):
            rows += await seal(self._clickhouse, Sealing(environment.scope, layer, meters, since, horizon, block))
        return rows

    async def _seal_period(self, environment: Environment, period: OpenPeriod, block: int, now: datetime) -> None:
        """The usage of everybody since the period's start, up to the last whole day; from days sealed just now."""
        horizon = _whole(min(now - SETTLING, period.end), DAYS)
        # Cells know whole seconds; a period that began between two is that of a single subscription anyway.
        if horizon <= period.start or period.start.microsecond or not self._is_kept(period.start, now):
            return
        layer = Layer(period.start, PERIODS)
        seals = await read_seals(self._clickhouse, environment.scope)
        days = [each for each in seals if each.layer.level == DAYS and not each.layer.external_customer_id]
        if not any(each.layer.end > period.start for each in days):
            return
        for since, meters in _incomplete(environment, layer, seals, horizon, block):
            step = Sealing(environment.scope, layer, meters, since, horizon, block)
            await seal_period(self._clickhouse, step, common_layers(days, meters))

    def _is_kept(self, start: datetime, now: datetime) -> bool:
        """Whether retention has not deleted any event since."""
        return (now.year - start.year) * 12 + now.month - start.month < self._retention_months


def _whole(at: datetime, level: int) -> datetime:
    """The end of the last whole hour or day of UTC."""
    return at - (at - _EPOCH) % SPANS[level]


def _incomplete(
    environment: Environment, layer: Layer, seals: Sequence[Seal], horizon: datetime, block: int
) -> list[tuple[Since, tuple[Meter, ...]]]:
    """The meters that are not complete yet, those together that are up to the same place."""
    known = {each.series: (each.horizon, each.block) for each in seals if each.layer == layer}
    alike: dict[Since, list[Meter]] = defaultdict(list)
    for series, meter in environment.by_series.items():
        since = known.get(series)
        if since is None or since[1] < block or since[0] < horizon:
            alike[since].append(meter)
    return [
        (since, tuple(meters[start : start + METERS_A_STATEMENT]))
        for since, meters in alike.items()
        for start in range(0, len(meters), METERS_A_STATEMENT)
    ]


class SealingActivities:
    """The hourly pass over all environments."""

    def __init__(self, database: Database, sealer: UsageSealer) -> None:
        self._database = database
        self._sealer = sealer

    @activity.defn(name="usage.seal")
    async def seal(self, command: SealUsage) -> SealedUsage:
        """Seals what is over. An environment whose statements are refused is named and passed over."""
        return await seal_all(self._database, self._sealer, command.now, activity.heartbeat)


async def seal_all(database: Database, sealer: UsageSealer, now: datetime, beat: Beat) -> SealedUsage:
    """One pass over all environments that have meters. Raises ClickHouseUnavailable: then it is to be repeated."""
    environments = await _environments(database)
    rows, failures = 0, []
    for environment in environments:
        try:
            rows += await sealer.seal(environment, now, beat)
        except (ClickHouseRefused, BillingError) as error:
            scope = environment.scope
            log.error("usage.not_sealed", tenant_id=scope.tenant_id, error=str(error))
            failures.append(f"{scope.tenant_id}/{scope.environment_id}: {str(error)[:200]}")
    return SealedUsage(len(environments), rows, tuple(failures[:SHOWN]))


async def _environments(database: Database) -> list[Environment]:
    meters: dict[Scope, list[Meter]] = defaultdict(list)
    periods: dict[Scope, list[OpenPeriod]] = defaultdict(list)
    async with database.system_transaction() as session:
        for row in (await session.exec(select(MeterRow))).all():
            meters[Scope(row.tenant_id, row.environment_id)].append(meter_from_row(row))
        start = SubscriptionRow.current_period_start
        # Those that many running subscriptions began together; test clocks live in another time.
        together = (
            select(
                SubscriptionRow.tenant_id,
                SubscriptionRow.environment_id,
                start,
                func.min(SubscriptionRow.current_period_end),
            )
            .where(col(SubscriptionRow.subscription_status).in_(LIVE_SUBSCRIPTION))
            .where(col(SubscriptionRow.test_clock_id).is_(None))
            .group_by(col(SubscriptionRow.tenant_id), col(SubscriptionRow.environment_id), col(start))
            .having(func.count() >= MANY_CUSTOMERS)
        )
        for tenant_id, environment_id, begun, end in (await session.exec(together)).all():
            periods[Scope(tenant_id, environment_id)].append(OpenPeriod(begun, end))
    return [Environment(scope, tuple(found), tuple(periods[scope])) for scope, found in meters.items()]
