"""What is looked at when an hour is full, for every tenant in real time: thresholds of usage, balances of wallets."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.balance_alerts import BalanceAlerts
from activities.ingestion.ports import UsageProgress
from activities.late_usage import require_settled
from activities.thresholds import Thresholds
from billing.errors import BillingError
from models.clickhouse.client import ClickHouseRefused
from models.database import Database
from models.queries.full_hours import list_with_alerts, list_with_threshold
from models.scope import Scope

PAGE: Final = 500
AT_ONCE: Final = 50
"""Those who look at once share their reads of usage."""
SHOWN: Final = 20

log = structlog.get_logger(__name__)
Look = Callable[[Scope, str], Awaitable[str | None]]
ListPage = Callable[[AsyncSession, str, int], Awaitable[list[tuple[Scope, str]]]]


@dataclass(frozen=True, slots=True)
class LookAt:
    """Look at what there is at the full hour `at`; events accepted before the real instant `cutoff` must count."""

    at: datetime
    cutoff: datetime


@dataclass(frozen=True, slots=True)
class Looked:
    """How many were looked at, for how many something came of it, and what could not be looked at."""

    looked: int = 0
    acted: int = 0
    failures: tuple[str, ...] = ()


class FullHourActivities:
    """The hourly looks. Each look is a transaction of its own, and a second one changes nothing."""

    def __init__(
        self, database: Database, progress: UsageProgress, thresholds: Thresholds, alerts: BalanceAlerts
    ) -> None:
        self._database = database
        self._progress = progress
        self._thresholds = thresholds
        self._alerts = alerts

    @activity.defn(name="usage.check_thresholds")
    async def check_thresholds(self, command: LookAt) -> Looked:
        """Invoices unbilled usage that has come to its subscription's threshold."""
        await require_settled(self._progress, command.cutoff)

        async def check(scope: Scope, subscription_id: str) -> str | None:
            return await self._thresholds.check(scope, subscription_id, command.at, command.cutoff)

        return await self._each(list_with_threshold, check, "threshold")

    @activity.defn(name="wallets.check_balances")
    async def check_balances(self, command: LookAt) -> Looked:
        """Tells which balances have changed their state.

        As they are at the cut-off, minutes after the full hour: credits that have come since keep an alert away.
        """
        await require_settled(self._progress, command.cutoff)

        async def look(scope: Scope, wallet_id: str) -> str | None:
            return await self._alerts.look(scope, wallet_id, command.cutoff)

        return await self._each(list_with_alerts, look, "balance")

    async def _each(self, pages: ListPage, look: Look, what: str) -> Looked:
        """All of them; one that cannot be looked at is named and passed over. Raises ClickHouseUnavailable."""
        looked, acted, failures, after = 0, 0, list[str](), ""
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(scope: Scope, name: str) -> bool:
            async with turn:
                try:
                    return await look(scope, name) is not None
                except (ClickHouseRefused, BillingError) as error:
                    log.error(f"{what}.not_looked_at", tenant_id=scope.tenant_id, id=name, error=str(error))
                    failures.append(f"{name} of {scope.tenant_id}: {str(error)[:200]}")
                    return False

        while True:
            async with self._database.system_transaction() as session:
                page = await pages(session, after, PAGE)
            acted += sum(await asyncio.gather(*(one(scope, name) for scope, name in page)))
            looked += len(page)
            activity.heartbeat(looked)
            if len(page) < PAGE:
                return Looked(looked, acted, tuple(failures[:SHOWN]))
            after = page[-1][1]
