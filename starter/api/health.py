"""Whether the process lives, whether what it needs answers, and its metrics."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from starter.api.context import clients_of
from starter.schemas.wire import json_answer

router = APIRouter(tags=["operation"])
PROBE_SECONDS = 3.0


@router.get("/healthz", summary="The process lives")
async def healthz() -> Response:
    """Always 200 while the process answers at all."""
    return json_answer({"status": "ok"})


@router.get("/readyz", summary="What the API needs answers", responses={503: {"description": "A part does not answer"}})
async def readyz(request: Request) -> Response:
    """Each part by name, `ok` or what is wrong; 503 when one does not answer."""
    probes = clients_of(request).probes()
    states = dict(zip(probes, await asyncio.gather(*map(_probe, probes.values())), strict=True))
    ready = all(state == "ok" for state in states.values())
    return json_answer({"status": "ready" if ready else "not ready", "parts": states}, 200 if ready else 503)


@router.get("/metrics", summary="Metrics in Prometheus' text format")
async def metrics() -> Response:
    """Counters and histograms of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _probe(probe: Callable[[], Awaitable[None]]) -> str:
    try:
        await asyncio.wait_for(probe(), PROBE_SECONDS)
    except TimeoutError:
        return f"no answer within {PROBE_SECONDS:.0f} s"
    except Exception as error:  # whatever a driver raises is the state to show
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return "ok"
