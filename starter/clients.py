"""The clients of a process, opened once from its settings and closed together.

Owns which adapter serves which port, and that a process starts while its neighbours are down: nothing here waits for
Postgres, ClickHouse, Temporal or a payment company; the first use does. The only exception is a worker's connection to
Temporal (`connect_temporal(..., wait=True)`), because a worker cannot do anything before it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal, TypeVar

import structlog
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)
from temporalio.runtime import Runtime
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

from activities.adapters.clickhouse import ClickHouseConnection, connect_clickhouse
from activities.adapters.directory_store import DirectoryStore
from activities.adapters.kafka_consumer import KafkaUsageProgress
from activities.adapters.kafka_producer import KafkaEventLog
from activities.adapters.kafka_settings import KafkaSettings
from activities.adapters.kafka_system_events import KafkaSystemEvents
from activities.adapters.payload_encryption import data_converter
from activities.adapters.razorpay_provider import RazorpayProvider
from activities.adapters.s3_store import S3Settings, S3Store
from activities.adapters.sandbox import SandboxProvider
from activities.adapters.stripe_provider import StripeProvider
from activities.adapters.webhook_sender import HttpWebhookSender
from activities.ingestion.counts import AcceptanceCounts
from activities.ingestion.direct_progress import StoredBeforeAnswered
from activities.ingestion.direct_writer import DirectWriter
from activities.ingestion.known_ids import KnownIds
from activities.ingestion.lease import PostgresWriterLease
from activities.ingestion.ports import EventAcceptor, UsageProgress
from activities.ingestion.sink import Sink
from activities.ports import ObjectStore, PaymentProvider, WebhookSender
from activities.usage_reader import UsageReader
from activities.usage_rollups import UsageRollups
from models.clickhouse.client import ClickHouse
from models.database import Database
from starter.settings import Settings, temporal_connection

Need = Literal["temporal", "clickhouse", "documents", "payments", "webhooks", "events"]
EVERYTHING: Final[frozenset[Need]] = frozenset({"temporal", "clickhouse", "documents", "payments", "webhooks"})
"""All but `events`: accepting usage is the API's alone, and without Kafka the right of one process at a time."""
DOCUMENTS_ROUTE: Final = "/v1/documents"
"""Route of the API that answers signed links to a `DirectoryStore`; the object's key follows it."""

CONNECTIONS: Final = 20
"""To Postgres, of a process that answers many callers."""
CONNECT_PAUSE_SECONDS: Final = 2
PROBE_TIMEOUT: Final = timedelta(seconds=2)

log = structlog.get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Clients:
    """What a process was opened with; a part that it did not ask for is None (see `required`)."""

    settings: Settings
    database: Database
    temporal: Client | None = None
    clickhouse: ClickHouse | None = None
    usage: UsageReader | None = None
    object_store: ObjectStore | None = None
    providers: Mapping[str, PaymentProvider] = field(default_factory=dict)
    """By name; empty when no payment company is configured."""
    webhook_sender: WebhookSender | None = None
    events: EventAcceptor | None = None
    """Where accepted usage goes: into Kafka if brokers are configured, else straight into ClickHouse."""
    progress: UsageProgress | None = None
    """How to tell that accepted usage has been stored; there whenever ClickHouse is."""

    def probes(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """For each server that this process talks to, a call that raises what is wrong with it."""
        probes: dict[str, Callable[[], Awaitable[None]]] = {"postgres": self.database.ping}
        if self.clickhouse is not None:
            probes["clickhouse"] = self._probe_clickhouse
        if self.temporal is not None:
            probes["temporal"] = self._probe_temporal
        return probes

    async def _probe_clickhouse(self) -> None:
        await required(self.clickhouse, "clickhouse").query("SELECT 1")

    async def _probe_temporal(self) -> None:
        await required(self.temporal, "temporal").service_client.check_health(timeout=PROBE_TIMEOUT)


def _usage_reader(clickhouse: ClickHouse, settings: Settings) -> UsageReader:
    return UsageReader(clickhouse, UsageRollups(clickhouse, settings.event_retention_months))


def required(client: T | None, need: Need) -> T:
    """The client itself; raises RuntimeError for one that this process was not opened with."""
    if client is None:
        raise RuntimeError(f"this process was opened without {need!r}: add it to the call of open_clients")
    return client


@asynccontextmanager
async def open_clients(
    settings: Settings, need: Collection[Need] = EVERYTHING, connections: int = CONNECTIONS
) -> AsyncIterator[Clients]:
    """The clients in `need`, and always the database with its `connections`; all are closed on leaving.

    Raises SettingsError when a setting that `need` implies is absent. Reaches nothing over the network.
    """
    async with AsyncExitStack() as stack:
        database = Database(settings.require("postgres_dsn"), pool_size=connections)
        stack.push_async_callback(database.close)
        clickhouse = None
        if not {"clickhouse", "events"}.isdisjoint(need):
            clickhouse = LateClickHouse(settings.require("clickhouse_dsn"))
            stack.push_async_callback(clickhouse.close)
        providers = payment_providers(settings) if "payments" in need else {}
        for provider in providers.values():
            stack.push_async_callback(provider.aclose)
        sender = HttpWebhookSender(settings.webhooks_allow_private) if "webhooks" in need else None
        if sender is not None:
            stack.push_async_callback(sender.aclose)
        yield Clients(
            settings=settings,
            database=database,
            temporal=await connect_temporal(settings) if "temporal" in need else None,
            clickhouse=clickhouse,
            usage=_usage_reader(clickhouse, settings) if clickhouse is not None else None,
            object_store=open_object_store(settings) if "documents" in need else None,
            providers=providers,
            webhook_sender=sender,
            events=await _open_events(settings, clickhouse, stack) if "events" in need and clickhouse else None,
            progress=_open_progress(settings, stack) if clickhouse is not None else None,
        )


async def _open_events(settings: Settings, clickhouse: ClickHouse, stack: AsyncExitStack) -> EventAcceptor:
    """One sink a deployment, never a fallback from one to the other."""
    counts = AcceptanceCounts(clickhouse)
    stack.push_async_callback(counts.close)
    counts.start()
    if settings.kafka_brokers is not None:
        log_of_events = KafkaEventLog(kafka_settings(settings), counts=counts, lazy_tenants=settings.lazy_tenants)
        stack.push_async_callback(log_of_events.close)
        await log_of_events.start()
        return log_of_events
    lease = PostgresWriterLease(settings.require("postgres_dsn"))
    writer = DirectWriter(Sink(clickhouse, KnownIds(clickhouse)), lease, counts=counts)
    stack.push_async_callback(writer.close)
    writer.start()
    return writer


def _open_progress(settings: Settings, stack: AsyncExitStack) -> UsageProgress:
    """Connects to Kafka when it is first asked, if at all."""
    if settings.kafka_brokers is None:
        return StoredBeforeAnswered()
    progress = KafkaUsageProgress(kafka_settings(settings))
    stack.push_async_callback(progress.close)
    return progress


def open_object_store(settings: Settings) -> S3Store | DirectoryStore:
    """The bucket if one is configured, else the folder; raises SettingsError when the folder's secret is absent."""
    if settings.s3_bucket:
        endpoint = settings.s3_endpoint
        return S3Store(S3Settings(settings.s3_bucket, endpoint_url=endpoint, path_style=endpoint is not None))
    secret = settings.require("documents_secret").encode()
    return DirectoryStore(settings.documents_dir, settings.base_url + DOCUMENTS_ROUTE, secret)


def kafka_settings(settings: Settings) -> KafkaSettings:
    """How Kafka is reached; raises SettingsError when no broker is configured."""
    return KafkaSettings(settings.require("kafka_brokers"), settings.kafka_options())


def system_events(settings: Settings) -> KafkaSystemEvents | None:
    """Where webhook events go as well; None without a broker."""
    return None if settings.kafka_brokers is None else KafkaSystemEvents(kafka_settings(settings))


def payment_providers(settings: Settings) -> dict[str, PaymentProvider]:
    """The payment companies that are configured, by name."""
    providers: list[PaymentProvider] = []
    if settings.sandbox_provider_url is not None:
        secrets = settings.secrets_of("sandbox_webhook_secret")
        providers.append(SandboxProvider(settings.sandbox_provider_url, secrets))
    if settings.stripe_secret_key is not None:
        key, secrets = settings.require("stripe_secret_key"), settings.secrets_of("stripe_webhook_secret")
        providers.append(StripeProvider(key, secrets, settings.return_url, settings.stripe_api_base))
    if settings.razorpay_key_id is not None:
        keys = (settings.razorpay_key_id, settings.require("razorpay_key_secret"))
        secrets = settings.secrets_of("razorpay_webhook_secret")
        providers.append(RazorpayProvider(*keys, secrets, settings.return_url, settings.razorpay_api_base))
    return {provider.name: provider for provider in providers}


async def connect_temporal(settings: Settings, *, wait: bool = False, runtime: Runtime | None = None) -> Client:
    """A client that connects at its first call and answers UNAVAILABLE while the server is down.

    With `wait`, a connected one, as a worker needs it: tries until the server answers, and logs that it is waiting.
    """
    where = temporal_connection()
    while True:
        try:
            return await Client.connect(
                **where,
                data_converter=data_converter(settings.codec()),
                interceptors=[UnavailableWhileDown()],
                grpc_compression=GrpcCompression.NONE,  # messages are a few hundred bytes: packing them costs more CPU
                lazy=not wait,
                runtime=runtime,
            )
        except RuntimeError as problem:
            if not _is_down(problem):
                raise
            log.warning("temporal.unreachable", address=where.get("target_host"), problem=str(problem))
            await asyncio.sleep(CONNECT_PAUSE_SECONDS)


class UnavailableWhileDown(Interceptor):
    """A client that has never connected raises RuntimeError; callers expect the RPCError of a lost connection."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Puts the translation in front of the calls."""
        return _Translating(next)


class _Translating(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        try:
            return await super().start_workflow(input)
        except RuntimeError as problem:
            raise _translated(problem) from problem

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
        try:
            return await super().start_workflow_update(input)
        except RuntimeError as problem:
            raise _translated(problem) from problem

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        try:
            await super().signal_workflow(input)
        except RuntimeError as problem:
            raise _translated(problem) from problem

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        try:
            return await super().query_workflow(input)
        except RuntimeError as problem:
            raise _translated(problem) from problem


def _translated(problem: RuntimeError) -> Exception:
    return RPCError(str(problem), RPCStatusCode.UNAVAILABLE, b"") if _is_down(problem) else problem


def _is_down(problem: RuntimeError) -> bool:
    return str(problem).startswith("Failed client connect")


class LateClickHouse:
    """A `ClickHouse` that connects at its first use, and again when that failed."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: ClickHouseConnection | None = None
        self._connecting = asyncio.Lock()

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """See `ClickHouse.query`."""
        return await (await self._connected()).query(sql, parameters)

    async def read(self, sql: str) -> bytes:
        """See `ClickHouse.read`."""
        return await (await self._connected()).read(sql)

    async def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """See `ClickHouse.command`."""
        await (await self._connected()).command(sql, parameters)

    async def insert(self, table: str, columns: Mapping[str, str], values: Sequence[Sequence[Any]]) -> None:
        """See `ClickHouse.insert`."""
        await (await self._connected()).insert(table, columns, values)

    async def close(self) -> None:
        """Ends the connections, if there are any."""
        if self._connection is not None:
            await self._connection.close()

    async def _connected(self) -> ClickHouseConnection:
        if self._connection is None:
            async with self._connecting:
                if self._connection is None:
                    self._connection = await connect_clickhouse(self._dsn)
        return self._connection
