"""Usage as invoices, balances and routes read it: exact, from one code path.

Owns which reads make an answer; the sums are ClickHouse's (`models.clickhouse.meter_query`), or those of sealed cells
where `activities.usage_rollups` chooses them.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from activities.usage_rollups import ByCustomer, UsageRollups
from billing.meters import AggregationType, Filter, Meter, UsageQuantity
from billing.periods import Period
from billing.windows import WindowSize
from models.clickhouse.client import ClickHouse, ClickHouseRefused
from models.clickhouse.event_query import EventPage, EventQuery, query_events
from models.clickhouse.few_events import usage_of_few
from models.clickhouse.meter_query import MeterQuery
from models.clickhouse.usage import (
    BucketedUsage,
    bucket_groups,
    bucket_window,
    in_batches,
    in_bucketed_batches,
    usage_by_bucket,
    usage_by_customer,
    usage_by_meter,
    usage_by_window,
)
from models.clickhouse.usage_series import has_series
from models.clickhouse.windows import Window
from models.scope import Scope

log = structlog.get_logger(__name__)

NOTHING: Final = UsageQuantity(Decimal(0), 0, 0, f"{0:032x}")
Days = list[tuple[date, Decimal]]
NO_BUCKETS: Final = BucketedUsage(NOTHING)
MANY_REMEMBERED: Final = 10_000
"""Customers with many events in a period, whose rows are not asked for again."""


class UsageReader:
    """Reads quantities. Every method raises ClickHouseError when ClickHouse does not answer."""

    def __init__(self, clickhouse: ClickHouse, rollups: UsageRollups | None = None) -> None:
        self._clickhouse = clickhouse
        self._rollups = rollups
        self._with_many: set[Hashable] = set()

    @property
    def clickhouse(self) -> ClickHouse:
        """Where it reads."""
        return self._clickhouse

    @property
    def rollups(self) -> UsageRollups | None:
        """The sealed cells that it may use."""
        return self._rollups

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
            rolled = None
            if known_before is None:
                rolled = await self._rolled(scope, (external_customer_id,), batch, period)
            if rolled is not None:
                found |= rolled[external_customer_id]
                continue
            query = self.query_of(scope, external_customer_id, batch, period, known_before=known_before)
            found |= await self.of_one(query)
        return found

    async def of_one(self, query: MeterQuery) -> dict[str, UsageQuantity]:
        """What a query of one customer and without windows measures: by the rules in memory where events are few."""
        plain = query.known_before is None and all(meter.expression is None for meter in query.meters)
        whose = (query.tenant_id, query.environment_id, query.external_customer_id, query.start)
        if plain and whose not in self._with_many:
            few = await usage_of_few(self._clickhouse, query)
            if few is not None:
                return few
            if len(self._with_many) == MANY_REMEMBERED:
                self._with_many.clear()
            self._with_many.add(whose)
        return await usage_by_meter(self._clickhouse, query)

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
        """What each of `meters`, which all have buckets, measured in its buckets in [period.start, period.end).

        They are cut in `zone`, months at those of `anchor` (None: of the calendar).
        """
        found: dict[str, BucketedUsage] = {}
        for batch in in_bucketed_batches(meters):
            query = self.buckets_query(scope, external_customer_id, batch, period, zone, anchor, known_before)
            read = await usage_by_bucket(self._clickhouse, query)
            found |= read.get((), {meter.id: NO_BUCKETS for meter in batch})
        return found

    async def measure(
        self,
        scope: Scope,
        external_customer_id: str,
        meters: Sequence[Meter],
        period: Period,
        zone: str,
        anchor: datetime | None,
        known_before: datetime | None = None,
    ) -> dict[str, BucketedUsage]:
        """What each of `meters`, with buckets or without, measured for the customer, as `buckets` says of them."""
        plain = [meter for meter in meters if meter.bucket_size is None]
        bucketed = [meter for meter in meters if meter.bucket_size is not None]
        read = await self.read(scope, external_customer_id, plain, period, known_before)
        found = {meter_id: BucketedUsage(usage) for meter_id, usage in read.items()}
        return found | await self.buckets(scope, external_customer_id, bucketed, period, zone, anchor, known_before)

    async def _rolled(
        self, scope: Scope, customers: Sequence[str], meters: Sequence[Meter], period: Period
    ) -> ByCustomer | None:
        """What every meter measured for each customer, where sealed cells are the faster way to it; else None."""
        sealable = [meter for meter in meters if has_series(meter)]
        if self._rollups is None or not sealable:
            return None
        try:
            rolled = await self._rollups.chosen(scope, customers, sealable, period)
        except ClickHouseRefused as error:
            # Cells are a shorter way and not the only one: events always tell.
            log.error("usage.cells_not_read", tenant_id=scope.tenant_id, error=str(error))
            return None
        if rolled is None:
            return None
        others = [meter for meter in meters if not has_series(meter)]
        found: ByCustomer = {each: {meter.id: NOTHING for meter in meters} for each in customers}
        unsealed = await self._from_events(scope, customers, others, period)
        late = await self._from_events(scope, rolled.left, sealable, period)
        for part in (rolled.found, unsealed, late):
            for customer, measured in part.items():
                found[customer] |= measured
        return found

    async def _from_events(
        self, scope: Scope, customers: Sequence[str], meters: Sequence[Meter], period: Period
    ) -> ByCustomer:
        if not customers or not meters:
            return {}
        query = self.query_of(scope, None, meters, period)
        return await usage_by_customer(self._clickhouse, replace(query, each_of=tuple(customers)))

    async def windows(
        self, scope: Scope, external_customer_id: str | None, meter: Meter, period: Period, window: Window
    ) -> list[tuple[datetime, UsageQuantity]]:
        """The meter's usage window by window (start in UTC), only windows with events, in their order."""
        query = self.query_of(scope, external_customer_id, (meter,), period, window)
        return [(start, by_meter[meter.id]) for start, by_meter in await usage_by_window(self._clickhouse, query)]

    async def total(
        self, scope: Scope, external_customer_id: str | None, meter: Meter, period: Period
    ) -> UsageQuantity:
        """What `meter` measured in [period.start, period.end) for one customer, or for all where it is None."""
        query = self.query_of(scope, external_customer_id, (meter,), period)
        return (await usage_by_meter(self._clickhouse, query))[meter.id]

    async def stored(
        self, scope: Scope, customers: Sequence[str], meter: Meter, period: Period, before: datetime | None = None
    ) -> dict[str, UsageQuantity]:
        """What the events themselves say, past all rollups, by customer; only those accepted before `before`."""
        query = MeterQuery(
            scope.tenant_id, scope.environment_id, None, (meter,), period.start, period.end,
            each_of=tuple(customers), accepted_before=before,
        )  # fmt: skip
        found = await usage_by_customer(self._clickhouse, query)
        return {customer: found[customer][meter.id] if customer in found else NOTHING for customer in customers}

    async def events(self, query: EventQuery) -> EventPage:
        """A page of stored events."""
        return await query_events(self._clickhouse, query)

    async def daily(
        self, scope: Scope, external_customer_id: str, meters: Sequence[Meter], period: Period, zone: str
    ) -> dict[str, Days]:
        """Each meter's quantity for each local day of `zone` that has events of it (the charts of an invoice)."""
        found: dict[str, Days] = {}
        for batch in in_batches(meters):
            query = self.query_of(scope, external_customer_id, batch, period, Window(WindowSize.DAY, zone))
            found |= days_of(batch, await usage_by_window(self._clickhouse, query), zone)
        return found

    def query_of(
        self,
        scope: Scope,
        external_customer_id: str | None,
        meters: Sequence[Meter],
        period: Period,
        window: Window | None = None,
        known_before: datetime | None = None,
    ) -> MeterQuery:
        """The query that `read` and `windows` run: what a usage snapshot keeps as its proof."""
        return MeterQuery(
            scope.tenant_id,
            scope.environment_id,
            external_customer_id,
            tuple(meters),
            period.start,
            period.end,
            window,
            known_before=known_before,
        )

    def buckets_query(
        self,
        scope: Scope,
        external_customer_id: str | None,
        meters: Sequence[Meter],
        period: Period,
        zone: str,
        anchor: datetime | None,
        known_before: datetime | None = None,
    ) -> MeterQuery:
        """The query that `buckets` runs for a batch: meters with the same buckets and groups. A snapshot's proof."""
        window = bucket_window(meters[0], zone, anchor)
        query = self.query_of(scope, external_customer_id, meters, period, window, known_before)
        return replace(query, group_by=bucket_groups(meters[0]))


def days_of(
    meters: Sequence[Meter], windows: Sequence[tuple[datetime, dict[str, UsageQuantity]]], zone: str
) -> dict[str, Days]:
    """Windows of days, as one statement gives them for `meters`, by meter."""
    local = ZoneInfo(zone)
    return {
        meter.id: [
            (start.astimezone(local).date(), found[meter.id].quantity)
            for start, found in windows
            if found[meter.id].event_count
        ]
        for meter in meters
    }


def meter_of(
    event_name: str,
    aggregation: AggregationType,
    field: str | None,
    filters: Mapping[str, Sequence[str]],
    multiplier: Decimal | None = None,
) -> Meter:
    """The meter that a question by event name means (POST /v1/events/usage); without a property it counts events.

    Raises Invalid naming the field.
    """
    if not field or aggregation is AggregationType.COUNT:
        aggregation, field = AggregationType.COUNT, None
    listed = tuple(Filter(key, tuple(values)) for key, values in filters.items())
    return Meter("asked", "asked", event_name.strip(), aggregation, field, listed, multiplier=multiplier)
