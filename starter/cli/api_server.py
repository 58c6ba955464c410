"""Runs the HTTP API on uvicorn, with clients that live as long as the server."""

import uvicorn

from starter.api.app import create_app
from starter.clients import EVERYTHING, open_clients
from starter.settings import Settings

DRAIN_SECONDS = 20
"""How long a stopping server lets running requests finish: longer than a command may wait for its workflow (15 s)."""


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or Ctrl-C. Raises SettingsError when something needed is not configured."""
    async with open_clients(settings, EVERYTHING | {"events"}) as clients:
        config = uvicorn.Config(
            create_app(clients),
            host=settings.api_host,
            port=settings.api_port,
            http="httptools",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        await uvicorn.Server(config).serve()
