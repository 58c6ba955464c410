"""A neighbour that does not answer: 503 with Retry-After, named by /readyz; what does not need it goes on."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from asyncpg import (
    DeadlockDetectedError,
    InterfaceError,
    PostgresError,
    SerializationError,
    UniqueViolationError,
)
from sqlalchemy.exc import DBAPIError

from starter.api.app import create_app
from starter.api.errors import OUTAGES, outage_of
from starter.clients import EVERYTHING, open_clients
from starter.settings import Settings
from tests.adapters.servers import free_port
from tests.api.conftest import Server, Tenant, new_key


@pytest.fixture
def temporal_is_down() -> Iterator[None]:
    """Nobody listens where Temporal should be."""
    before = os.environ.get("TEMPORAL_ADDRESS")
    os.environ["TEMPORAL_ADDRESS"] = f"127.0.0.1:{free_port()}"
    yield
    if before is None:
        del os.environ["TEMPORAL_ADDRESS"]
    else:
        os.environ["TEMPORAL_ADDRESS"] = before


@asynccontextmanager
async def api(settings: Settings, api_key: str) -> AsyncIterator[httpx.AsyncClient]:
    """The application in this test's own loop, without a server around it."""
    async with open_clients(settings, EVERYTHING) as clients:
        transport = httpx.ASGITransport(create_app(clients))
        headers = {"x-api-key": api_key}
        async with httpx.AsyncClient(transport=transport, base_url="http://api/v1", headers=headers) as client:
            yield client


async def test_postgres_is_down(api_settings: Settings, tmp_path: Path) -> None:
    dsn = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    settings = api_settings.model_copy(update={"postgres_dsn": type(api_settings.postgres_dsn)(dsn)})  # type: ignore[misc]
    async with api(settings, "sk_any") as client:
        answer = await client.get("/customers")
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
        assert answer.headers["retry-after"] == "2"
        assert "Postgres" in answer.json()["message"]
        ready = await client.get("http://api/readyz")
        assert ready.status_code == 503
        assert ready.json()["parts"]["postgres"] != "ok"
        assert ready.json()["parts"]["clickhouse"] == "ok"
        assert (await client.get("http://api/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("words", "outage"),
    [
        ("connection is closed", "Postgres does not answer"),
        ("cannot perform operation: another operation is in progress", None),
    ],
)
def test_a_connection_that_breaks_while_it_is_set_up_is_an_outage(words: str, outage: str | None) -> None:
    """The driver says so by an error of its own, which SQLAlchemy does not wrap; a mistake of ours is none."""
    assert issubclass(InterfaceError, OUTAGES)
    assert outage_of(InterfaceError(words)) == outage


@pytest.mark.parametrize("lost", [DeadlockDetectedError, SerializationError])
def test_a_transaction_that_was_undone_for_another_can_be_asked_for_again(lost: type[PostgresError]) -> None:
    told = outage_of(DBAPIError("UPDATE", {}, lost("it met another")))
    assert told == "the same was being changed at this moment, and nothing has been done; ask again"
    assert outage_of(DBAPIError("UPDATE", {}, UniqueViolationError("twice"))) is None


async def test_clickhouse_is_down(api_settings: Settings, tenant: Tenant) -> None:
    dsn = f"http://default@127.0.0.1:{free_port()}/none"
    settings = api_settings.model_copy(update={"clickhouse_dsn": type(api_settings.clickhouse_dsn)(dsn)})  # type: ignore[misc]
    async with api(settings, tenant.api_key) as client:
        answer = await client.post("/events/usage", json={"event_name": "e", "aggregation_type": "COUNT"})
        assert answer.status_code == 503
        assert "ClickHouse" in answer.json()["message"]
        assert (await client.get("/customers")).status_code == 200


async def test_temporal_is_down(api_settings: Settings, server: Server, tenant: Tenant, temporal_is_down: None) -> None:
    """Reads work and creations are accepted; they are started later. Only commands to running workflows must wait."""
    async with api(api_settings, new_key(server, tenant.scope, ("super_admin",))) as client:
        plan = (await client.post("/plans", json={"name": "p"})).json()["id"]
        price = {
            "type": "FIXED", "entity_type": "PLAN", "entity_id": plan, "currency": "usd", "billing_model": "FLAT_FEE",
            "billing_period": "MONTHLY", "invoice_cadence": "ARREAR", "price_unit_type": "FIAT", "amount": "10",
        }  # fmt: skip
        assert (await client.post("/prices", json=price)).status_code == 201
        customer = (await client.post("/customers", json={"external_id": "acme", "name": "Acme"})).json()["id"]
        body = {"customer_id": customer, "plan_id": plan, "currency": "usd", "billing_period": "MONTHLY"}
        created = await client.post("/subscriptions", json=body)
        assert created.status_code == 201, created.text
        cancel = {"cancellation_type": "immediate"}
        refused = await client.post(f"/subscriptions/{created.json()['id']}/cancel", json=cancel, timeout=30)
        assert (refused.status_code, refused.json()["code"]) == (503, "service_unavailable")
        assert int(refused.headers["retry-after"]) > 0
        ready = (await client.get("http://api/readyz")).json()["parts"]
        assert ready["postgres"] == "ok"
        assert ready["temporal"] != "ok"
