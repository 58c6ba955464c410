"""Usage as invoices, balances and routes read it: exact, from one code path.

Owns which reads make an answer; the sums are ClickHouse's (`models.clickhouse.meter_query`).
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from billing.meters import Meter, UsageQuantity
from billing.periods import Period
from models.clickhouse.client import ClickHouse
from models.clickhouse.meter_query import MeterQuery
from models.clickhouse.usage import in_batches, usage_by_meter, usage_by_window
from models.clickhouse.windows import Window, WindowSize
from models.scope import Scope

NOTHING: Final = UsageQuantity(Decimal(0), 0, 0, f"{0:032x}")


class UsageReader:
    """Reads quantities. Every method raises ClickHouseError when ClickHouse does not answer."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def read(
        self, scope: Scope, external_customer_id: str, meters: Sequence[Meter], period: Period
    ) -> dict[str, UsageQuantity]:
        """What each of `meters` measured for the customer in [period.start, period.end), by meter id."""
        found: dict[str, UsageQuantity] = {}
        for batch in in_batches(meters):
            query = self.query_of(scope, external_customer_id, batch, period)
            found |= await usage_by_meter(self._clickhouse, query)
        return found

    async def windows(
        self, scope: Scope, external_customer_id: str | None, meter: Meter, period: Period, window: Window
    ) -> list[tuple[datetime, UsageQuantity]]:
        """The meter's usage window by window (start in UTC), only windows with events, in their order."""
        query = self.query_of(scope, external_customer_id, (meter,), period, window)
        return [(start, by_meter[meter.id]) for start, by_meter in await usage_by_window(self._clickhouse, query)]

    async def daily(
        self, scope: Scope, external_customer_id: str, meter: Meter, period: Period, zone: str
    ) -> list[tuple[date, Decimal]]:
        """The meter's quantity for each local day of `zone` that has events (the chart of an invoice)."""
        window = Window(WindowSize.DAY, zone)
        found = await self.windows(scope, external_customer_id, meter, period, window)
        return [(start.astimezone(ZoneInfo(zone)).date(), usage.quantity) for start, usage in found]

    def query_of(
        self,
        scope: Scope,
        external_customer_id: str | None,
        meters: Sequence[Meter],
        period: Period,
        window: Window | None = None,
    ) -> MeterQuery:
        """The query that `read` and `windows` run: what a usage snapshot keeps as its proof."""
        return MeterQuery(
            scope.tenant_id, scope.environment_id, external_customer_id, tuple(meters), period.start, period.end, window
        )
