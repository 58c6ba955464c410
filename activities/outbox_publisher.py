"""Carries webhook events on to Kafka as well, when a broker is set: same id, same payload, marked once acknowledged.

A loop beside the outbox relay, so that a broker that is down holds up nothing else. One process publishes at a time,
oldest first, so that events of one entity arrive in order; any number stand by. At least once: a process that dies
between the acknowledgement and the mark repeats the same ids.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import structlog
from prometheus_client import Counter
from sqlalchemy import func, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.outbox import PUBLISH
from models.database import Database
from models.tables import OutboxRow, WebhookEventRow

BATCH: Final = 500
IDLE_SECONDS: Final = 2.0
LONGEST_ERROR: Final = 500
LONGEST_PAUSE_SECONDS: Final = 60
TURN: Final = text("SELECT pg_try_advisory_xact_lock(hashtextextended('durabill/outbox/publish', 0))")

log = structlog.get_logger()
published_total = Counter("durabill_system_events_published_total", "Events that Kafka has acknowledged")


@dataclass(frozen=True, slots=True)
class SystemEvent:
    """One event for Kafka: `payload` is the webhook's body, to the byte."""

    key: str
    id: str
    type: str
    payload: str


class SystemEvents(Protocol):
    """A topic that others listen to."""

    async def publish(self, events: Sequence[SystemEvent]) -> Sequence[str | None]:
        """Sends them and waits: for each, what went wrong, or None once all in-sync replicas have it."""


class OutboxPublisher:
    """Publishes what waits, until it is told to stop."""

    def __init__(self, database: Database, events: SystemEvents) -> None:
        self._database = database
        self._events = events
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something new."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; an outage of Postgres or the broker is waited out."""
        stopping = asyncio.create_task(stop.wait())
        while not stop.is_set():
            try:
                carried = await self.publish_batch()
            except Exception as error:  # an outage must not end the loop; it is logged and tried again
                log.warning("outbox.publisher_waiting", error=str(error))
                carried = 0
            if carried < BATCH:
                woken = asyncio.create_task(self._woken.wait())
                await asyncio.wait({woken, stopping}, timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
                self._woken.clear()
        stopping.cancel()

    async def publish_batch(self) -> int:
        """Publishes up to a batch, oldest first; returns how many were acknowledged. 0 while another process does."""
        async with self._database.system_transaction() as session:
            if not (await session.execute(TURN)).scalar_one():
                return 0
            rows = await _claim(session)
            if not rows:
                return 0
            events = await _events_of(session, rows)
            answers = await self._events.publish([events[row.reference] for row in rows])
            now = datetime.now(UTC)
            for row, problem in zip(rows, answers, strict=True):
                row.attempts += 1
                row.last_error = None if problem is None else problem[:LONGEST_ERROR]
                if problem is None:
                    row.relayed_at = now
                else:
                    row.retry_at = now + timedelta(seconds=min(2 ** min(row.attempts, 9), LONGEST_PAUSE_SECONDS))
        failed = [problem for problem in answers if problem is not None]
        published_total.inc(len(rows) - len(failed))
        if failed:
            log.warning("outbox.publish_failed", events=len(failed), error=failed[0])
        return len(rows) - len(failed)


async def _claim(session: AsyncSession) -> Sequence[OutboxRow]:
    query = (
        select(OutboxRow)
        .where(
            OutboxRow.kind == PUBLISH,
            col(OutboxRow.relayed_at).is_(None),
            col(OutboxRow.retry_at).is_(None) | (col(OutboxRow.retry_at) <= func.now()),
        )
        .order_by(col(OutboxRow.created_at), col(OutboxRow.id))
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    return (await session.exec(query)).all()


async def _events_of(session: AsyncSession, rows: Sequence[OutboxRow]) -> dict[str, SystemEvent]:
    query = select(WebhookEventRow).where(col(WebhookEventRow.id).in_([row.reference for row in rows]))
    return {
        row.id: SystemEvent(
            f"{row.tenant_id}/{row.environment_id}/{row.entity_id}", row.id, row.event_type, row.payload
        )
        for row in (await session.exec(query)).all()
    }
