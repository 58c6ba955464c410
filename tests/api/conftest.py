"""The API as a real server with its workers, a tenant with its key, and the official SDK against it."""

import asyncio
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import flexprice
import httpx
import pytest
import uvicorn

import worker
from activities.adapters.clickhouse import migrate_clickhouse
from activities.api_keys import bootstrap, create_api_key
from activities.ingestion.direct_progress import StoredBeforeAnswered
from activities.outbox_relay import OutboxRelay
from deploy.embedded.process import Part
from models.database import Database
from models.migrate import migrate_postgres
from models.scope import Scope
from starter.api.app import create_app
from starter.clients import EVERYTHING, Clients, connect_temporal, open_clients
from starter.settings import Settings
from tests import parts as engines
from tests.adapters.servers import ProviderProcess, free_port
from workflows.gate import TemporalGate


@dataclass
class Server:
    """A running API. `run` executes a coroutine in its event loop, where its database connections live."""

    url: str
    loop: asyncio.AbstractEventLoop
    clients: Clients

    @property
    def database(self) -> Database:
        """Postgres."""
        return self.clients.database

    def run(self, coroutine: Any) -> Any:
        """The coroutine's result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)


class _Announcing(uvicorn.Server):
    """A server that says when it accepts connections."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()


@dataclass
class _Running:
    ready: threading.Event = field(default_factory=threading.Event)
    server: uvicorn.Server | None = None
    loop: asyncio.AbstractEventLoop | None = None
    clients: Clients | None = None
    failed: BaseException | None = None


@pytest.fixture(scope="package")
def temporal_of_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Temporal server of these tests alone: the workers here must not meet those of other tests."""
    parts = engines.Parts(tmp_path_factory.mktemp("api-engines"))
    address = parts.start("temporal").running.url
    os.environ["TEMPORAL_ADDRESS"] = address
    yield address
    del os.environ["TEMPORAL_ADDRESS"]
    parts.close()


@pytest.fixture(scope="package")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """The fake payment company."""
    process = ProviderProcess(tmp_path_factory.mktemp("provider") / "books.db", free_port(), "", "")
    process.start()
    asyncio.run(process.ready())
    yield process
    process.kill()


@pytest.fixture(scope="package")
def api_settings(
    postgres: Part, clickhouse_dsn: str, provider: ProviderProcess, temporal_of_api: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Settings:  # fmt: skip
    """Settings of the API under test, over databases of its own."""
    name = f"api_{uuid.uuid4().hex}"
    asyncio.run(_make_database(postgres.running.url, name))
    postgres_dsn = f"{postgres.running.url.rpartition('/')[0]}/{name}"
    dsn = f"{clickhouse_dsn.rpartition('/')[0]}/{name}"
    asyncio.run(migrate_postgres(postgres_dsn))
    asyncio.run(migrate_clickhouse(dsn))
    port = free_port()
    return Settings(
        postgres_dsn=postgres_dsn,
        clickhouse_dsn=dsn,
        documents_dir=tmp_path_factory.mktemp("documents"),
        documents_secret="a secret of the tests, long enough for it",
        sandbox_provider_url=provider.url,
        webhooks_allow_private=True,
        worker_drain_seconds=1,
        api_port=port,
    )


async def _make_database(dsn: str, name: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()


@pytest.fixture(scope="package")
def server(api_settings: Settings) -> Iterator[Server]:
    """The API on its port, with workers and the outbox relay, in a thread and loop of their own."""
    running = _Running()
    thread = threading.Thread(target=_serve, args=(api_settings, running), daemon=True)
    thread.start()
    assert running.ready.wait(60)
    if running.failed is not None:
        raise running.failed
    assert running.loop is not None
    assert running.clients is not None
    assert running.server is not None
    yield Server(f"http://127.0.0.1:{api_settings.api_port}", running.loop, running.clients)
    running.server.should_exit = True
    thread.join(60)
    assert not thread.is_alive()
    if running.failed is not None:
        raise running.failed


def _serve(settings: Settings, running: _Running) -> None:
    async def serving() -> None:
        async with open_clients(settings, EVERYTHING | {"events"}) as clients, AsyncExitStack() as stack:
            await _start_workers(settings, clients, stack)
            config = uvicorn.Config(
                create_app(clients), port=settings.api_port, http="httptools", log_config=None, access_log=False
            )
            running.loop, running.clients = asyncio.get_running_loop(), clients
            running.server = _Announcing(config, running.ready)
            await running.server.serve()

    try:
        asyncio.run(serving())
    except BaseException as error:
        running.failed = error
        running.ready.set()


async def _start_workers(settings: Settings, clients: Clients, stack: AsyncExitStack) -> None:
    """Every task queue and the relay; they end with the stack."""
    temporal = await connect_temporal(settings, wait=True)
    gate = TemporalGate(temporal)
    served = worker.activities_by_queue(clients, gate, StoredBeforeAnswered())
    for each in worker.make_workers(temporal, settings, served):
        await stack.enter_async_context(each)
    stop = asyncio.Event()
    relay = asyncio.create_task(OutboxRelay(clients.database, gate, settings.require("postgres_dsn")).run(stop))

    async def end_relay() -> None:
        stop.set()
        await relay

    stack.push_async_callback(end_relay)


@dataclass(frozen=True)
class Tenant:
    """A tenant of its own for one test, with a key for everything."""

    scope: Scope
    api_key: str
    base_url: str

    def client(self, api_key: str | None = None, **headers: str) -> httpx.Client:
        """A plain HTTP client that sends the key."""
        sent = {"x-api-key": api_key or self.api_key, **headers}
        return httpx.Client(base_url=f"{self.base_url}/v1", headers=sent, timeout=30)

    def sdk(self) -> flexprice.Flexprice:
        """The official SDK with this tenant's key."""
        return flexprice.Flexprice(server_url=f"{self.base_url}/v1", api_key_auth=self.api_key)


def new_tenant(server: Server, roles: tuple[str, ...] = ("super_admin",)) -> Tenant:
    """A new tenant, environment and key."""

    async def make() -> Tenant:
        now = datetime.now(UTC)
        async with server.database.system_transaction() as session:
            made = await bootstrap(session, f"Tenant {uuid.uuid4().hex}", "production", now)
            key = await create_api_key(session, made.scope, "tests", now, roles)
        return Tenant(made.scope, key.api_key, server.url)

    tenant: Tenant = server.run(make())
    return tenant


def new_key(server: Server, scope: Scope, roles: tuple[str, ...]) -> str:
    """Another key of an environment."""

    async def make() -> str:
        async with server.database.system_transaction() as session:
            return (await create_api_key(session, scope, "more", datetime.now(UTC), roles)).api_key

    key: str = server.run(make())
    return key


@pytest.fixture
def tenant(server: Server) -> Tenant:
    """A tenant of this test alone."""
    return new_tenant(server)


@pytest.fixture
def other_tenant(server: Server) -> Tenant:
    """Another tenant."""
    return new_tenant(server)


@pytest.fixture
def client(tenant: Tenant) -> Iterator[httpx.Client]:
    """Plain requests with the tenant's key; paths begin after `/v1`."""
    with tenant.client() as opened:
        yield opened


@pytest.fixture
def sdk(tenant: Tenant) -> Iterator[Any]:
    """The official SDK with the tenant's key."""
    with tenant.sdk() as opened:
        yield opened
