"""Carries the outbox on: starts workflows and webhook deliveries for what has been committed. Any number may run."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import and_, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import scope_of
from activities.business_time import clock_now
from activities.collection import collection_state
from activities.disputes import dispute_state
from activities.findings import measure_findings
from activities.gate import WorkflowGate
from activities.outbox import (
    CHANNEL,
    PUBLISH,
    REPLAY_DELIVERY,
    START_INVOICE,
    START_SUBSCRIPTION,
    START_TEST_CLOCK,
    TELL_DISPUTE,
    TELL_INVOICE,
    TELL_REFUND,
    TELL_SUBSCRIPTION,
    WEBHOOK,
    enqueue,
)
from activities.outbox_publisher import OutboxPublisher
from activities.payments import take_in_facts
from activities.refunds import refund_state
from activities.subscriptions import subscription_state
from activities.test_clocks import clock_state
from models.database import Database
from models.ids import derived_id
from models.queries.invoices import get_invoice
from models.queries.refunds import get_dispute, get_refund
from models.queries.subscriptions import get_subscription
from models.scope import Scope
from models.tables import (
    OutboxRow,
    TestClockRow,
    WebhookDeliveryRow,
    WebhookEndpointRow,
    WebhookEventRow,
)

BATCH = 50
AT_ONCE = 16
"""Deliveries that are started beside each other: each is a call of Temporal, which writes it to its disk."""
IDLE_SECONDS = 2.0
GATHER_SECONDS = 0.1
"""From one batch to the next, so that under load a batch has more rows: a batch of one costs as much as one of ten."""
LONGEST_ERROR = 500

log = structlog.get_logger()
relayed = Counter("durabill_outbox_relayed_total", "Outbox rows carried on", ["kind"])
failed = Counter("durabill_outbox_failed_total", "Outbox rows that could not be carried on yet", ["kind"])
lag_seconds = Gauge("durabill_outbox_lag_seconds", "Age of the oldest outbox row that waits")
waiting_rows = Gauge("durabill_outbox_waiting", "Outbox rows that wait")
undelivered = Gauge("durabill_webhooks_undelivered", "Deliveries of webhooks that are on their way")
oldest_undelivered = Gauge(
    "durabill_webhooks_oldest_undelivered_seconds", "Age of the oldest delivery that is on its way"
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint."""

    id: str
    event_id: str
    endpoint_id: str
    event_type: str
    url: str
    ordered: bool

    @classmethod
    def of(cls, row: WebhookDeliveryRow, endpoint: WebhookEndpointRow) -> "Delivery":
        """What the rows say."""
        return cls(row.id, row.event_id, endpoint.id, row.event_type, endpoint.url, endpoint.ordered)


async def dispatch(gate: WorkflowGate, scope: Scope, delivery: Delivery) -> None:
    """Has it delivered: by itself, or in its turn where the endpoint wants order."""
    if delivery.ordered:
        await gate.start_webhook_queue(scope, delivery.endpoint_id, delivery.url)
        return
    await gate.start_delivery(
        scope, delivery.id, delivery.event_id, delivery.endpoint_id, delivery.event_type, delivery.url
    )


class OutboxRelay:
    """A loop that claims waiting rows, acts on them, then marks them: at least once, and repeats are harmless."""

    def __init__(
        self, database: Database, gate: WorkflowGate, notify_dsn: str, publisher: OutboxPublisher | None = None
    ) -> None:
        self._database = database
        self._gate = gate
        self._dsn = notify_dsn
        self._publisher = publisher
        self._wake = asyncio.Event()
        self._measured_at = 0.0
        self._handlers: dict[str, Callable[[AsyncSession, OutboxRow], Awaitable[None]]] = {
            START_SUBSCRIPTION: self._start_subscription,
            START_INVOICE: self._start_invoice,
            START_TEST_CLOCK: self._start_test_clock,
            TELL_SUBSCRIPTION: self._tell_subscription,
            TELL_INVOICE: self._tell_invoice,
            TELL_REFUND: self._tell_refund,
            TELL_DISPUTE: self._tell_dispute,
            REPLAY_DELIVERY: self._replay_delivery,
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Relays until `stop` is set; an outage of Postgres or Temporal is waited out."""
        stopping = asyncio.create_task(stop.wait())
        listener = asyncio.create_task(self._listen(stop))
        while not stop.is_set():
            try:
                carried = await self.relay_batch()
            except Exception as error:  # an outage must not end the loop; it is logged and retried
                log.warning("outbox.waiting", error=str(error))
                carried = 0
            if 0 < carried < BATCH:
                await asyncio.wait({stopping}, timeout=GATHER_SECONDS)
            if carried < BATCH:
                await self._pause(stopping)
        listener.cancel()
        stopping.cancel()

    async def relay_batch(self) -> int:
        """Claims up to a batch of rows and carries them on; returns how many were claimed."""
        async with self._database.system_transaction() as session:
            rows = await _claim(session)
            refused = await self._deliver([row for row in rows if row.kind == WEBHOOK])
            for row in rows:
                await self._carry(session, row, refused.get(row.id))
            await session.flush()
            await self._measure(session)
        if self._publisher is not None and any(row.kind == WEBHOOK for row in rows):
            self._publisher.wake()
        return len(rows)

    async def _measure(self, session: AsyncSession) -> None:
        """Counting costs as much as carrying a row on, so it is done once in a while; an idle relay wakes as often."""
        now = asyncio.get_running_loop().time()
        if now >= self._measured_at + IDLE_SECONDS:
            self._measured_at = now
            await _measure(session)
            await measure_findings(session)

    async def _carry(self, session: AsyncSession, row: OutboxRow, refused: Exception | None) -> None:
        row.attempts += 1
        try:
            if refused is not None:
                raise refused
            if row.kind == WEBHOOK:
                if self._publisher is not None:
                    await enqueue(session, scope_of(row), PUBLISH, row.reference)
            else:
                await self._handlers[row.kind](session, row)
        except Exception as error:  # one row that fails must not hold up the others; it stays and is tried again
            row.last_error = str(error)[:LONGEST_ERROR]
            row.retry_at = datetime.now(UTC) + timedelta(seconds=min(2 ** min(row.attempts, 9), 300))
            failed.labels(row.kind).inc()
            log.warning(
                "outbox.failed", kind=row.kind, reference=row.reference, attempts=row.attempts, error=str(error)
            )
        else:
            row.relayed_at, row.last_error = datetime.now(UTC), None
            relayed.labels(row.kind).inc()

    async def _start_subscription(self, session: AsyncSession, row: OutboxRow) -> None:
        subscription = await get_subscription(session, row.reference)
        clock = await clock_now(session, subscription.test_clock_id)
        await self._gate.start_subscription(subscription_state(subscription), clock)

    async def _start_invoice(self, session: AsyncSession, row: OutboxRow) -> None:
        invoice = await get_invoice(session, row.reference)
        clock = await clock_now(session, invoice.test_clock_id)
        await self._gate.start_invoice(await collection_state(session, invoice), clock)

    async def _start_test_clock(self, session: AsyncSession, row: OutboxRow) -> None:
        clock = await session.get_one(TestClockRow, row.reference)
        await self._gate.start_test_clock(clock_state(clock))

    async def _tell_subscription(self, session: AsyncSession, row: OutboxRow) -> None:
        await self._gate.tell_subscription(scope_of(row), row.reference)

    async def _tell_invoice(self, session: AsyncSession, row: OutboxRow) -> None:
        """A closed invoice has no workflow to act on the news, and they are no less true: money may have come late."""
        if await self._gate.tell_invoice(scope_of(row), row.reference):
            return
        async with self._database.transaction(scope_of(row)) as own:
            await take_in_facts(own, row.reference, datetime.now(UTC))

    async def _tell_refund(self, session: AsyncSession, row: OutboxRow) -> None:
        await self._gate.tell_refund(refund_state(await get_refund(session, row.reference)))

    async def _tell_dispute(self, session: AsyncSession, row: OutboxRow) -> None:
        await self._gate.tell_dispute(dispute_state(await get_dispute(session, row.reference)))

    async def _deliver(self, rows: Sequence[OutboxRow]) -> dict[str, Exception]:
        """Has webhook events delivered, several beside each other. Returns what failed, by outbox row."""
        if not rows:
            return {}
        # In a transaction of its own: a delivery must be there before the workflow that looks for it.
        async with self._database.system_transaction() as own:
            deliveries = await _deliveries(own, rows)
        turns = asyncio.Semaphore(AT_ONCE)
        refused: dict[str, Exception] = {}

        async def carry(row: OutboxRow) -> None:
            try:
                if row.reference not in deliveries:
                    raise LookupError(f"the outbox names the webhook event {row.reference!r}, and there is none")
                for delivery in deliveries[row.reference]:
                    async with turns:
                        await dispatch(self._gate, scope_of(row), delivery)
            except Exception as error:  # noted on the row by whoever asked
                refused[row.id] = error

        await asyncio.gather(*(carry(row) for row in rows))
        return refused

    async def _replay_delivery(self, session: AsyncSession, row: OutboxRow) -> None:
        """An endpoint that was disabled since, or deleted, gets nothing."""
        way = await session.get_one(WebhookDeliveryRow, row.reference)
        endpoint = await session.get_one(WebhookEndpointRow, way.endpoint_id)
        if endpoint.endpoint_status == "enabled" and endpoint.status == "published":
            await dispatch(self._gate, scope_of(row), Delivery.of(way, endpoint))

    async def _pause(self, stopping: "asyncio.Task[bool]") -> None:
        """Until a transaction announces new rows, the relay is stopped, or a moment has passed."""
        waking = asyncio.create_task(self._wake.wait())
        await asyncio.wait({waking, stopping}, timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        waking.cancel()
        self._wake.clear()

    async def _listen(self, stop: asyncio.Event) -> None:
        """Hears of new rows as they are committed; without it the relay only looks every two seconds."""
        while not stop.is_set():
            try:
                connection = await asyncpg.connect(self._dsn)
                try:
                    await connection.add_listener(CHANNEL, self._heard)
                    closed = asyncio.Event()
                    connection.add_termination_listener(lambda _connection, gone=closed: gone.set())
                    await closed.wait()
                finally:
                    await connection.close()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.info("outbox.listener_lost", error=str(error))
                await asyncio.sleep(IDLE_SECONDS)

    def _heard(self, *_notice: Any) -> None:
        self._wake.set()


async def _claim(session: AsyncSession) -> list[OutboxRow]:
    query = (
        select(OutboxRow)
        .where(
            col(OutboxRow.relayed_at).is_(None),
            col(OutboxRow.kind) != PUBLISH,
            col(OutboxRow.retry_at).is_(None) | (col(OutboxRow.retry_at) <= func.now()),
        )
        .order_by(col(OutboxRow.created_at), col(OutboxRow.id))
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    return list((await session.exec(query)).all())


async def _deliveries(session: AsyncSession, rows: Sequence[OutboxRow]) -> dict[str, list[Delivery]]:
    """By event, one delivery an endpoint that wants it; rows that exist from an earlier try are found again."""
    found: dict[str, list[Delivery]] = {}
    made: list[WebhookDeliveryRow] = []
    now = datetime.now(UTC)
    for event, endpoint in await _events_and_endpoints(session, rows):
        deliveries = found.setdefault(event.id, [])
        if endpoint is None or (endpoint.enabled_events and event.event_type not in endpoint.enabled_events):
            continue
        row = WebhookDeliveryRow(
            id=derived_id("wd", event.id, endpoint.id),
            tenant_id=event.tenant_id,
            environment_id=event.environment_id,
            created_at=now,
            updated_at=now,
            event_id=event.id,
            event_type=event.event_type,
            endpoint_id=endpoint.id,
        )
        deliveries.append(Delivery.of(row, endpoint))
        made.append(row)
    known = await _known_deliveries(session, [row.id for row in made])
    session.add_all(row for row in made if row.id not in known)
    await session.flush()
    return found


async def _events_and_endpoints(
    session: AsyncSession, rows: Sequence[OutboxRow]
) -> Sequence[tuple[WebhookEventRow, WebhookEndpointRow | None]]:
    """Each event with each of the endpoints that listened when it happened, or with None when nobody did."""
    if not rows:
        return ()
    listens = and_(
        col(WebhookEndpointRow.tenant_id) == col(WebhookEventRow.tenant_id),
        col(WebhookEndpointRow.environment_id) == col(WebhookEventRow.environment_id),
        col(WebhookEndpointRow.endpoint_status) == "enabled",
        col(WebhookEndpointRow.status) == "published",
        col(WebhookEndpointRow.created_at) <= col(WebhookEventRow.created_at),
    )
    query = (
        select(WebhookEventRow, WebhookEndpointRow)
        .outerjoin(WebhookEndpointRow, listens)
        .where(col(WebhookEventRow.id).in_([row.reference for row in rows]))
    )
    return (await session.exec(query)).all()


async def _known_deliveries(session: AsyncSession, ids: Sequence[str]) -> set[str]:
    if not ids:
        return set()
    return set((await session.exec(select(WebhookDeliveryRow.id).where(col(WebhookDeliveryRow.id).in_(ids)))).all())


async def _measure(session: AsyncSession) -> None:
    query = select(func.count(), func.min(OutboxRow.created_at)).where(col(OutboxRow.relayed_at).is_(None))
    count, oldest = (await session.exec(query)).one()
    waiting_rows.set(count)
    lag_seconds.set(_age(oldest))
    way = WebhookDeliveryRow
    pending = select(func.count(), func.min(way.created_at)).where(way.delivery_status == "pending")
    count, oldest = (await session.exec(pending)).one()
    undelivered.set(count)
    oldest_undelivered.set(_age(oldest))


def _age(since: datetime | None) -> float:
    return (datetime.now(UTC) - since).total_seconds() if since else 0
