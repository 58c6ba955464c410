"""`durabill codec-server`: the settings that it needs, and its process."""

import asyncio
from typing import Annotated
from urllib.parse import urlsplit

import typer

from starter.cli.shared import CliError, read_settings


def codec_server(
    port: Annotated[int, typer.Option(help="Port on which it listens.", min=0, max=65535)] = 8081,
    host: Annotated[str, typer.Option(help="Address on which it listens.")] = "127.0.0.1",
) -> None:
    """Decrypt payloads for the Temporal UI and CLI, for whoever knows DURABILL_CODEC_SERVER_TOKEN.

    Needs DURABILL_CODEC_KEYS and DURABILL_TEMPORAL_UI_URL: pages of no other origin can read its answers.
    """
    settings = read_settings()
    from starter.cli.processes import start_logging
    from starter.settings import variable_name

    needed = ("codec_keys", "codec_server_token", "temporal_ui_url")
    if missing := [variable_name(name) for name in needed if getattr(settings, name) is None]:
        raise CliError(f'{", ".join(missing)} must be set: see "Encrypted payloads" in docs/operations.md.')
    token, ui = settings.require("codec_server_token"), urlsplit(settings.require("temporal_ui_url"))
    start_logging(settings)
    import uvicorn

    from activities.adapters.payload_encryption import PayloadEncryption
    from starter.cli.api_server import serve_to_the_end
    from starter.codec_server import CodecServer

    app = CodecServer(PayloadEncryption(settings.codec()), token).app(f"{ui.scheme}://{ui.netloc}")
    config = uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False)
    asyncio.run(serve_to_the_end(uvicorn.Server(config)))
