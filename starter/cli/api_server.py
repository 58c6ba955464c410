"""Runs the HTTP API on uvicorn, with clients that live as long as the server."""

import signal

import uvicorn

from starter.api.app import create_app
from starter.api.http_server import protocol_with
from starter.clients import EVERYTHING, open_clients
from starter.garbage import collect_seldom
from starter.ingest.app import SINGLE, Ingest
from starter.settings import Settings

DRAIN_SECONDS = 20
"""How long a stopping server lets running requests finish: longer than a command may wait for its workflow (15 s)."""


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or Ctrl-C. Raises SettingsError when something needed is not configured."""
    async with open_clients(settings, EVERYTHING | {"events"}) as clients:
        app = create_app(clients)
        config = uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            http=protocol_with({SINGLE.encode(): app.single} if isinstance(app, Ingest) else {}),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        collect_seldom()
        await serve_to_the_end(uvicorn.Server(config))


async def serve_to_the_end(server: uvicorn.Server) -> None:
    """Serves until SIGTERM or Ctrl-C and returns then.

    uvicorn by itself raises the signal again when it has stopped serving, and nothing of the process would be closed:
    what has been counted is written down only then.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn puts its own in front, and these back in the end
    await server.serve()
