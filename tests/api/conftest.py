"""The API as a real server on a free port, a tenant with its key, and the official SDK against it."""

import asyncio
import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import flexprice
import httpx
import pytest
import uvicorn

from activities.adapters.clickhouse import migrate_clickhouse
from activities.api_keys import bootstrap, create_api_key
from models.database import Database
from models.migrate import migrate_postgres
from models.scope import Scope
from starter.api.app import create_app
from starter.clients import EVERYTHING, open_clients
from starter.settings import Settings


@dataclass
class Server:
    """A running API. `run` executes a coroutine function in its event loop, where its database connections live."""

    url: str
    loop: asyncio.AbstractEventLoop
    database: Database

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
    done: threading.Event = field(default_factory=threading.Event)
    server: uvicorn.Server | None = None
    loop: asyncio.AbstractEventLoop | None = None
    database: Database | None = None
    failed: BaseException | None = None


@pytest.fixture(scope="session")
def api_settings(postgres_dsn: str, clickhouse_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of the API under test."""
    dsn = f"{clickhouse_dsn.rpartition('/')[0]}/api_{uuid.uuid4().hex}"
    asyncio.run(migrate_postgres(postgres_dsn))
    asyncio.run(migrate_clickhouse(dsn))
    return Settings(
        postgres_dsn=postgres_dsn,
        clickhouse_dsn=dsn,
        documents_dir=tmp_path_factory.mktemp("documents"),
        documents_secret="a secret of the tests, long enough for it",
        webhooks_allow_private=True,
    )


@pytest.fixture(scope="session")
def server(api_settings: Settings) -> Iterator[Server]:
    """The API on a free port, in a thread."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    running = _Running()
    thread = threading.Thread(target=_serve, args=(api_settings, listening, running), daemon=True)
    thread.start()
    assert running.ready.wait(60)
    if running.failed is not None:
        raise running.failed
    assert running.loop is not None
    assert running.database is not None
    assert running.server is not None
    yield Server(f"http://127.0.0.1:{listening.getsockname()[1]}", running.loop, running.database)
    running.server.should_exit = True
    thread.join(30)
    listening.close()


def _serve(settings: Settings, listening: socket.socket, running: _Running) -> None:
    async def serving() -> None:
        async with open_clients(settings, EVERYTHING | {"events"}) as clients:
            config = uvicorn.Config(create_app(clients), http="httptools", log_config=None, access_log=False)
            running.loop, running.database = asyncio.get_running_loop(), clients.database
            running.server = _Announcing(config, running.ready)
            await running.server.serve(sockets=[listening])

    try:
        asyncio.run(serving())
    except BaseException as error:
        running.failed = error
        running.ready.set()


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
