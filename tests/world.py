"""A whole durabill for a test: real engines, the fake payment company, worker and relay in the test's own loop.

Stories are told with a few verbs (`customer`, `subscribe`, `use`, `advance`); figures are read back from Postgres.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from sqlmodel import col, select
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

import worker
from activities.adapters.clickhouse import migrate_clickhouse
from activities.adapters.payload_encryption import data_converter
from activities.adapters.webhook_signature import new_secret
from activities.api_keys import bootstrap
from activities.catalog import NewMeter, NewPlan, create_meter, create_plan
from activities.customers import NewCustomer, create_customer
from activities.ingestion.direct_progress import StoredBeforeAnswered
from activities.ingestion.events import Event, Placed
from activities.ingestion.sink import Sink
from activities.new_subscriptions import NewSubscription, create_subscription
from activities.outbox_relay import OutboxRelay
from activities.prices import NewPrice, create_price
from activities.settings import save_billing_settings
from activities.test_clocks import create_test_clock, get_clock
from activities.webhook_endpoints import NewWebhookEndpoint, create_webhook_endpoint
from billing.periods import BillingPeriod
from billing.prices import BillingModel, InvoiceCadence, PriceType, Tier, TierMode
from models.database import Database
from models.migrate import migrate_postgres
from models.scope import Scope
from models.tables import CustomerRow, InvoiceRow, SubscriptionRow, TestClockRow, WebhookEventRow
from starter.clients import Clients, open_clients
from starter.commands import Commands, Unavailable
from starter.settings import Settings
from tests.adapters.servers import ProviderProcess, Receiver, free_port
from workflows.contracts import invoice_workflow_id, subscription_workflow_id
from workflows.gate import TemporalGate

PATIENCE_SECONDS = 40


@dataclass(frozen=True)
class Servers:
    """Where the engines are."""

    postgres_dsn: str
    clickhouse_dsn: str
    temporal_address: str
    folder: Path
    codec_keys: str | None = None


@dataclass
class Crew:
    """The workers and the relay of a durabill, in the test's own loop."""

    settings: Settings
    clients: Clients
    temporal: Client
    gate: TemporalGate
    _running: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self) -> None:
        """Serves every task queue and relays the outbox."""
        served = worker.activities_by_queue(self.clients, self.gate, StoredBeforeAnswered())
        for each in worker.make_workers(self.temporal, self.settings, served):
            await self._running.enter_async_context(_shut_down_after(each))
        stop = asyncio.Event()
        relay = OutboxRelay(self.clients.database, self.gate, self.settings.require("postgres_dsn"))
        await self._running.enter_async_context(_stopped_after(asyncio.create_task(relay.run(stop)), stop))

    async def stop(self) -> None:
        """Nobody serves any queue afterwards."""
        await self._running.aclose()
        self._running = AsyncExitStack()


@dataclass
class World:
    """One tenant of a durabill. Its task queues are the product's own: only one crew at a time on a Temporal server."""

    settings: Settings
    clients: Clients
    temporal: Client
    commands: Commands
    gate: TemporalGate
    provider: ProviderProcess
    receiver: Receiver
    """Gets what the payment company reports."""
    crew: Crew
    scope: Scope
    plan_id: str = ""
    period: BillingPeriod = BillingPeriod.MONTHLY
    clock_id: str = ""
    _offset: int = 0

    @property
    def database(self) -> Database:
        """Postgres."""
        return self.clients.database

    async def another_tenant(self) -> "World":
        """The same servers and crew, seen by a tenant who has nothing yet."""
        return replace(self, scope=await _new_scope(self.database), plan_id="", clock_id="")

    async def start_workers(self) -> None:
        """Serves every task queue and relays the outbox, in this loop."""
        await self.crew.start()

    async def stop_workers(self) -> None:
        """Nobody serves any queue afterwards."""
        await self.crew.stop()

    async def configure(self, **billing: object) -> None:
        """Changes the tenant's billing settings."""
        async with self.database.transaction(self.scope) as session:
            await save_billing_settings(session, self.scope, dict(billing))

    async def sell(self, period: BillingPeriod = BillingPeriod.MONTHLY) -> str:
        """A plan: 10 a seat in advance, and calls at 0.02 up to 1000, then 0.01, in arrears. Returns its id."""
        self.period = period
        async with self.database.transaction(self.scope) as session:
            meter = await create_meter(session, self.scope, NewMeter("Calls", "call", "SUM", "n"))
            plan = await create_plan(session, self.scope, NewPlan("Pro", lookup_key="pro"))
            seat = NewPrice(
                PriceType.FIXED,
                plan.id,
                "usd",
                BillingModel.FLAT_FEE,
                period,
                InvoiceCadence.ADVANCE,
                amount=Decimal(10),
                lookup_key="seat",
            )
            calls = NewPrice(
                PriceType.USAGE,
                plan.id,
                "usd",
                BillingModel.TIERED,
                period,
                InvoiceCadence.ARREAR,
                tier_mode=TierMode.SLAB,
                tiers=(Tier(Decimal(1000), Decimal("0.02")), Tier(None, Decimal("0.01"))),
                meter_id=meter.id,
                lookup_key="calls",
            )
            for price in (seat, calls):
                await create_price(session, self.scope, price)
        self.plan_id = plan.id
        return plan.id

    async def clock(self, at: datetime) -> str:
        """A test clock that stands at `at`; customers made afterwards live by it."""
        async with self.database.transaction(self.scope) as session:
            row = await create_test_clock(session, self.scope, f"clock {uuid.uuid4()}", at)
        self.clock_id = row.id
        return row.id

    async def customer(self, external_id: str, timezone: str = "UTC") -> CustomerRow:
        """A customer, on the world's clock if there is one."""
        async with self.database.transaction(self.scope) as session:
            new = NewCustomer(external_id, external_id, timezone=timezone, test_clock_id=self.clock_id or None)
            return await create_customer(session, self.scope, new, datetime.now(UTC))

    async def endpoint(self) -> None:
        """The tenant's webhooks go to the receiver."""
        async with self.database.transaction(self.scope) as session:
            await create_webhook_endpoint(session, self.scope, NewWebhookEndpoint(self.receiver.url))

    async def customer_named(self, external_id: str) -> CustomerRow:
        """The customer of that external id."""
        async with self.database.transaction(self.scope) as session:
            return (await session.exec(select(CustomerRow).where(CustomerRow.external_id == external_id))).one()

    async def subscribe(
        self,
        customer: CustomerRow,
        start: datetime,
        *,
        card: str | None = "pm_card_succeeds",
        now: datetime | None = None,
        proration: str = "none",
    ) -> SubscriptionRow:
        """A subscription to the plan, paid by card."""
        new = NewSubscription(
            customer_id=customer.id,
            plan_id=self.plan_id,
            currency="usd",
            billing_period=self.period,
            start_date=start,
            gateway_payment_method_id=card,
            payment_gateway="sandbox" if card else None,
            proration_behavior=proration,
        )
        async with self.database.transaction(self.scope) as session:
            return await create_subscription(session, self.scope, new, now or start)

    async def use(self, customer: CustomerRow, at: datetime, quantity: str, received: datetime | None = None) -> str:
        """One usage event of `quantity` calls at `at`, accepted then or when it was `received`. Returns its id."""
        self._offset += 1
        millis = int(at.timestamp()) * 1000
        accepted = millis if received is None else int(received.timestamp()) * 1000
        event = Event(
            self.scope.tenant_id,
            self.scope.environment_id,
            customer.external_id,
            "call",
            millis,
            f"e-{uuid.uuid4()}",
            "",
            f'{{"n": "{quantity}"}}',
            accepted,
        )
        assert self.clients.clickhouse is not None
        await Sink(self.clients.clickhouse).store([Placed(event, 0, self._offset)], accepted)
        return event.event_id

    async def advance(self, to: datetime) -> None:
        """Moves the clock and waits until everybody has caught up."""

        async def has_begun() -> bool:
            try:
                await self.commands.advance_clock(self.scope, self.clock_id, to)
            except Unavailable as problem:
                if "is being started" not in str(problem):
                    raise
                return False  # the relay has the clock's workflow still before it
            return True

        await until(has_begun)

        async def has_arrived() -> bool:
            return (await self.clock_row()).clock_status != "advancing"

        await until(has_arrived)
        row = await self.clock_row()
        assert row.clock_status == "ready", row.problem

    async def clock_row(self) -> TestClockRow:
        """The clock as it stands."""
        async with self.database.transaction(self.scope) as session:
            return await get_clock(session, self.clock_id)

    async def invoices(self, subscription_id: str | None = None) -> Sequence[InvoiceRow]:
        """Every invoice, in the order of periods."""
        query = select(InvoiceRow).order_by(col(InvoiceRow.period_start), col(InvoiceRow.drafted_at))
        if subscription_id is not None:
            query = query.where(InvoiceRow.subscription_id == subscription_id)
        async with self.database.transaction(self.scope) as session:
            return (await session.exec(query)).all()

    async def subscription(self, subscription_id: str) -> SubscriptionRow:
        """The subscription as it stands."""
        async with self.database.transaction(self.scope) as session:
            return await session.get_one(SubscriptionRow, subscription_id)

    async def invoice(self, invoice_id: str) -> InvoiceRow:
        """The invoice as it stands."""
        async with self.database.transaction(self.scope) as session:
            return await session.get_one(InvoiceRow, invoice_id)

    async def events(self, entity_id: str) -> Sequence[WebhookEventRow]:
        """What other systems were told about something, oldest first."""
        query = select(WebhookEventRow).where(WebhookEventRow.entity_id == entity_id)
        async with self.database.transaction(self.scope) as session:
            return (await session.exec(query.order_by(col(WebhookEventRow.id)))).all()

    async def charges(self, invoice_id: str) -> list[dict[str, Any]]:
        """What the payment company has in its books for the invoice, oldest first."""
        async with httpx.AsyncClient(base_url=self.provider.url) as client:
            answer = await client.get("/v1/charges", params={"invoice_id": invoice_id})
        items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
        return items

    def subscription_workflow(self, subscription_id: str) -> WorkflowHandle[Any, Any]:
        """The subscription's workflow, whichever run it is in."""
        return self.temporal.get_workflow_handle(subscription_workflow_id(self.scope, subscription_id))

    def invoice_workflow(self, invoice_id: str) -> WorkflowHandle[Any, Any]:
        """The invoice's workflow, whichever run it is in."""
        return self.temporal.get_workflow_handle(invoice_workflow_id(self.scope, invoice_id))

    async def until_started(self, subscription_id: str) -> None:
        """The relay has started the subscription's workflow."""

        async def runs() -> bool:
            return await self.is_running(self.subscription_workflow(subscription_id))

        await until(runs)

    async def is_running(self, workflow: WorkflowHandle[Any, Any]) -> bool:
        """Whether there is such a workflow, still at work."""
        try:
            return (await workflow.describe()).status is WorkflowExecutionStatus.RUNNING
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False

    @asynccontextmanager
    async def locked(self, subscription: SubscriptionRow) -> AsyncIterator[None]:
        """Nobody else can change the subscription meanwhile: whatever a workflow does to it takes that long."""
        async with self.database.transaction(self.scope) as session:
            await session.get_one(SubscriptionRow, subscription.id, with_for_update=True)
            yield

    async def closed(self, invoice_id: str) -> InvoiceRow:
        """The invoice, once its workflow has nothing left to do."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.invoice_workflow(invoice_id).result()
        return await self.invoice(invoice_id)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits until `condition` holds, for facts that nobody announces."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():  # noqa: ASYNC110  # nobody sets an event for it
            await asyncio.sleep(0.05)


@asynccontextmanager
async def _shut_down_after(each: Worker) -> AsyncIterator[None]:
    async with each:
        yield


@asynccontextmanager
async def _stopped_after(task: "asyncio.Task[None]", stop: asyncio.Event) -> AsyncIterator[None]:
    try:
        yield
    finally:
        stop.set()
        await task


@asynccontextmanager
async def open_world(servers: Servers) -> AsyncIterator[World]:
    """A world with a tenant of its own; its workers are not started yet."""
    await migrate_postgres(servers.postgres_dsn)
    await migrate_clickhouse(servers.clickhouse_dsn)
    receiver, secret = Receiver(), new_secret()
    provider = ProviderProcess(servers.folder / "books.db", free_port(), receiver.url, secret)
    provider.start()
    settings = Settings(
        postgres_dsn=servers.postgres_dsn,
        clickhouse_dsn=servers.clickhouse_dsn,
        documents_dir=servers.folder / "documents",
        documents_secret="a secret of the tests, long enough for it",
        sandbox_provider_url=provider.url,
        sandbox_webhook_secret=secret,
        webhooks_allow_private=True,
        worker_drain_seconds=1,
        codec_keys=servers.codec_keys,
    )
    try:
        await provider.ready()
        temporal = await Client.connect(servers.temporal_address, data_converter=data_converter(settings.codec()))
        async with open_clients(settings, {"clickhouse", "documents", "payments", "webhooks"}) as clients:
            gate = TemporalGate(temporal)
            crew = Crew(settings, clients, temporal, gate)
            commands = Commands(temporal, clients.database)
            scope = await _new_scope(clients.database)
            world = World(settings, clients, temporal, commands, gate, provider, receiver, crew, scope)
            try:
                yield world
            finally:
                await world.stop_workers()
    finally:
        provider.kill()
        receiver.close()


async def _new_scope(database: Database) -> Scope:
    async with database.system_transaction() as session:
        made = await bootstrap(session, f"tenant {uuid.uuid4()}", "test", datetime.now(UTC))
    return made.scope


def utc(text: str) -> datetime:
    """`2025-01-31` or `2025-01-31T10:00` as an instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


HOUR = timedelta(hours=1)
