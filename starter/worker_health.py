"""A worker's `/healthz`, `/readyz` and `/metrics`, served beside it on a port of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from temporalio.client import Client

from starter.clients import Clients
from starter.settings import Settings

PROBE_TIMEOUT = timedelta(seconds=2)


@dataclass
class Health:
    """Whether the worker takes work: false before its pollers run and while it drains."""

    ready: bool = False


@asynccontextmanager
async def serve_health(settings: Settings, clients: Clients, temporal: Client) -> AsyncIterator[Health]:
    """Serves on `worker_health_port` while the block runs; with no port configured only the flag is there."""
    health = Health()
    if settings.worker_health_port is None:
        yield health
        return
    config = uvicorn.Config(
        health_app(health, clients, temporal),
        host=settings.api_host,
        port=settings.worker_health_port,
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]  # SIGTERM is the worker's, not the server's
    task = asyncio.create_task(server.serve())
    try:
        yield health
    finally:
        server.should_exit = True
        await task


def health_app(health: Health, clients: Clients, temporal: Client) -> Starlette:
    """The three routes. `/healthz`: the process lives. `/readyz`: it takes work and reaches Postgres and Temporal."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        problems = {name: problem for name, problem in (await _probe(clients, temporal)).items() if problem}
        if not health.ready:
            problems["worker"] = "starting or draining"
        body = {"status": "unavailable" if problems else "ok", "problems": problems}
        return JSONResponse(body, status_code=503 if problems else 200)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


async def _probe(clients: Clients, temporal: Client) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, probe in clients.probes().items():
        try:
            await asyncio.wait_for(probe(), PROBE_TIMEOUT.total_seconds())
        except Exception as problem:  # whatever is wrong with a neighbour is what the answer says
            found[name] = str(problem) or type(problem).__name__
    try:
        await temporal.service_client.check_health(timeout=PROBE_TIMEOUT)
    except Exception as problem:  # as above
        found["temporal"] = str(problem) or type(problem).__name__
    return found
