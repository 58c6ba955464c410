"""The outbox: each row is carried on once, whoever and however many relays there are, and none holds up another."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlmodel import col, select

from activities.outbox import START_SUBSCRIPTION, WEBHOOK, emit, enqueue
from activities.outbox_relay import BATCH, OutboxRelay
from activities.states import ClockState, DisputeState, InvoiceState, RefundState, SubscriptionState
from activities.webhook_endpoints import NewWebhookEndpoint, create_webhook_endpoint
from models.database import Database, Scope
from models.tables import OutboxRow, SubscriptionRow, WebhookDeliveryRow, WebhookEndpointRow
from tests.models.rows import TABLES, new_row

NOW = datetime(2025, 1, 31, tzinfo=UTC)
SUBSCRIPTIONS = next(table for table in TABLES if table.name == SubscriptionRow.__tablename__)


@dataclass
class RecordingGate:
    """Stands where Temporal is: notes what is started, and refuses or waits when a test says so."""

    started: list[str] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    hold: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def start_subscription(self, state: SubscriptionState, clock: datetime | None) -> None:
        await self._start(state.subscription_id)

    async def start_invoice(self, state: InvoiceState, clock: datetime | None) -> None:
        await self._start(state.invoice_id)

    async def start_test_clock(self, state: ClockState) -> None:
        await self._start(state.clock_id)

    async def start_delivery(
        self, scope: Scope, delivery_id: str, event_id: str, endpoint_id: str, event_type: str, url: str
    ) -> None:
        await self._start(delivery_id)

    async def start_webhook_queue(self, scope: Scope, endpoint_id: str, url: str) -> None:
        await self._start(endpoint_id)

    async def tell_subscription(self, scope: Scope, subscription_id: str) -> None:
        await self._start(subscription_id)

    async def tell_invoice(self, scope: Scope, invoice_id: str) -> bool:
        await self._start(invoice_id)
        return True

    async def tell_refund(self, state: RefundState) -> None:
        await self._start(state.refund_id)

    async def tell_dispute(self, state: DisputeState) -> None:
        await self._start(state.dispute_id)

    async def advance_subscription(self, state: SubscriptionState, to: datetime) -> None:
        raise AssertionError("the relay moves no clock")

    async def advance_invoice(self, state: InvoiceState, to: datetime) -> None:
        raise AssertionError("the relay moves no clock")

    async def _start(self, name: str) -> None:
        self.reached.set()
        if self.hold is not None:
            await self.hold.wait()
        if name in self.refuses:
            raise ConnectionError(f"Temporal is away, {name} is not started")
        self.started.append(name)


@pytest.fixture
async def relays(own_dsn: str) -> AsyncIterator[tuple[OutboxRelay, OutboxRelay, RecordingGate]]:
    """Two relays in front of the same gate, each with a pool of its own as in two processes."""
    databases, gate = (Database(own_dsn), Database(own_dsn)), RecordingGate()
    first, second = (OutboxRelay(database, gate, own_dsn) for database in databases)
    yield first, second, gate
    for database in databases:
        await database.close()


async def _subscriptions(database: Database, scope: Scope, count: int) -> list[str]:
    """Subscriptions whose workflows wait to be started."""
    rows = [new_row(SUBSCRIPTIONS, scope) for _ in range(count)]
    async with database.transaction(scope) as session:
        await session.execute(SUBSCRIPTIONS.insert(), rows)
        for row in rows:
            await enqueue(session, scope, START_SUBSCRIPTION, row["id"])
    return [row["id"] for row in rows]


async def _waiting(database: Database) -> list[OutboxRow]:
    async with database.system_transaction() as session:
        return list((await session.exec(select(OutboxRow).where(col(OutboxRow.relayed_at).is_(None)))).all())


async def test_two_relays_carry_each_row_once(
    own_database: Database, scope: Scope, relays: tuple[OutboxRelay, OutboxRelay, RecordingGate]
) -> None:
    first, second, gate = relays
    expected = await _subscriptions(own_database, scope, 2 * BATCH + 20)
    hold = gate.hold = asyncio.Event()
    busy = asyncio.create_task(first.relay_batch())
    await gate.reached.wait()  # the first relay holds its batch locked
    gate.hold = None
    assert await second.relay_batch() == BATCH
    assert not set(gate.started) & set(expected[:BATCH])
    assert await second.relay_batch() == 20
    assert await second.relay_batch() == 0
    hold.set()
    assert await busy == BATCH
    assert Counter(gate.started) == Counter(expected)
    assert await _waiting(own_database) == []
    assert await first.relay_batch() == 0


async def test_what_a_failed_transaction_wanted_is_never_carried_on(
    own_database: Database, scope: Scope, relays: tuple[OutboxRelay, OutboxRelay, RecordingGate]
) -> None:
    async def die_before_the_commit() -> None:
        async with own_database.transaction(scope) as session:
            await emit(session, scope, "invoice.update.finalized", "inv_1", {}, NOW)
            await session.flush()
            raise ConnectionError("killed")

    with pytest.raises(ConnectionError):
        await die_before_the_commit()
    assert await relays[0].relay_batch() == 0


async def test_a_row_that_fails_waits_and_holds_up_no_other(
    own_database: Database, scope: Scope, relays: tuple[OutboxRelay, OutboxRelay, RecordingGate]
) -> None:
    first, second, gate = relays
    bad, good = await _subscriptions(own_database, scope, 2)
    async with own_database.transaction(scope) as session:
        await enqueue(session, scope, START_SUBSCRIPTION, "subs_unknown")
    gate.refuses.add(bad)
    assert await first.relay_batch() == 3
    assert gate.started == [good]

    left = {row.reference: row for row in await _waiting(own_database)}
    assert set(left) == {bad, "subs_unknown"}
    assert left[bad].last_error == f"Temporal is away, {bad} is not started"
    assert left["subs_unknown"].last_error == "no subscription has the id 'subs_unknown'"
    assert all(row.attempts == 1 and (row.retry_at or NOW) > datetime.now(UTC) for row in left.values())
    assert await second.relay_batch() == 0  # not before its time

    gate.refuses.clear()
    await _let_time_pass(own_database)
    assert await second.relay_batch() == 2
    assert gate.started == [good, bad]
    assert [(row.reference, row.attempts) for row in await _waiting(own_database)] == [("subs_unknown", 2)]


async def _let_time_pass(database: Database) -> None:
    """Every row that waits for its next try is due."""
    async with database.system_transaction() as session:
        await session.execute(text("UPDATE outbox SET retry_at = now() - interval '1 second' WHERE relayed_at IS NULL"))


async def test_a_broken_statement_of_one_row_does_not_undo_the_others(
    own_database: Database, scope: Scope, relays: tuple[OutboxRelay, OutboxRelay, RecordingGate]
) -> None:
    """A row whose handling PostgreSQL refuses leaves the transaction of its batch usable."""
    first, _, gate = relays
    bad, good = await _subscriptions(own_database, scope, 2)
    async with own_database.transaction(scope) as session:
        # Valid in PostgreSQL, but beyond what the driver can read.
        await session.execute(
            text("UPDATE subscriptions SET start_date = 'infinity', billing_anchor = '0044-03-15 BC' WHERE id = :id"),
            {"id": bad},
        )
    assert await first.relay_batch() == 2
    assert gate.started == [good]
    assert [row.reference for row in await _waiting(own_database)] == [bad]


async def _endpoint(database: Database, scope: Scope, *events: str) -> WebhookEndpointRow:
    async with database.transaction(scope) as session:
        return await create_webhook_endpoint(session, scope, NewWebhookEndpoint("https://example.com/", "", events))


async def _deliveries(database: Database) -> list[tuple[str, str]]:
    async with database.system_transaction() as session:
        return [(row.event_id, row.endpoint_id) for row in (await session.exec(select(WebhookDeliveryRow))).all()]


async def test_an_event_has_one_delivery_for_each_endpoint_that_wants_it(
    own_database: Database, scope: Scope, relays: tuple[OutboxRelay, OutboxRelay, RecordingGate]
) -> None:
    first, second, gate = relays
    everything = await _endpoint(own_database, scope)
    payments = await _endpoint(own_database, scope, "payment.success", "payment.failed")
    await _endpoint(own_database, scope, "customer.created")
    await _endpoint(own_database, Scope("tenant_other", "env_other"))
    disabled = await _endpoint(own_database, scope)
    async with own_database.transaction(scope) as session:
        (await session.get_one(WebhookEndpointRow, disabled.id)).endpoint_status = "disabled"
        event = await emit(session, scope, "payment.success", "pay_1", {"payment": {"id": "pay_1"}}, NOW)
    await _endpoint(own_database, scope)  # made after the event

    assert await first.relay_batch() == 1
    expected = sorted([(event, everything.id), (event, payments.id)])
    assert sorted(await _deliveries(own_database)) == expected
    assert len(gate.started) == 2

    # The relay died before it marked the row: the other one finds the deliveries that are there.
    async with own_database.system_transaction() as session:
        await session.execute(text("UPDATE outbox SET relayed_at = NULL"))
    assert await second.relay_batch() == 1
    assert sorted(await _deliveries(own_database)) == expected
    assert {name: count for name, count in Counter(gate.started).items() if count != 2} == {}


async def test_a_delivery_is_there_before_its_workflow(
    own_database: Database, scope: Scope, relays: tuple[OutboxRelay, OutboxRelay, RecordingGate]
) -> None:
    first, _, gate = relays
    endpoint = await _endpoint(own_database, scope)
    async with own_database.transaction(scope) as session:
        event = await emit(session, scope, "payment.success", "pay_1", {}, NOW)
    gate.hold = asyncio.Event()
    relaying = asyncio.create_task(first.relay_batch())
    await gate.reached.wait()
    assert await _deliveries(own_database) == [(event, endpoint.id)]
    gate.hold.set()
    await relaying


async def test_the_running_relay_hears_of_a_commit_and_stops_when_told(
    own_database: Database, scope: Scope, relays: tuple[OutboxRelay, OutboxRelay, RecordingGate]
) -> None:
    first, _, gate = relays
    stop = asyncio.Event()
    running = asyncio.create_task(first.run(stop))
    expected = await _subscriptions(own_database, scope, 3)
    async with asyncio.timeout(20):
        await gate.reached.wait()
        stop.set()
        await running
    assert gate.started == expected
    assert await _waiting(own_database) == []


async def test_the_outbox_row_commits_with_its_cause(own_database: Database, scope: Scope) -> None:
    async with own_database.transaction(scope) as session:
        event = await emit(session, scope, "payment.success", "pay_1", {}, NOW)
        await session.flush()
        assert await _waiting(own_database) == []
    assert [(row.kind, row.reference) for row in await _waiting(own_database)] == [(WEBHOOK, event)]
