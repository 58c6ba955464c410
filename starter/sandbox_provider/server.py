"""Runs the fake payment company, for `durabill sandbox-provider` and `python -m starter.sandbox_provider`."""

from pathlib import Path

import uvicorn

from starter.sandbox_provider.app import build_app
from starter.sandbox_provider.books import Books
from starter.sandbox_provider.callbacks import Target
from starter.sandbox_provider.connection import DroppableProtocol


def serve(
    port: int,
    books: Path,
    host: str = "127.0.0.1",
    webhook_url: str | None = None,
    webhook_secret: str | None = None,
    *,
    report_all: bool = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C. Books are kept in the SQLite file `books` and outlive `kill -9`.

    `webhook_url` may contain `{tenant}` and `{environment}`; webhooks are signed by `webhook_secret` (`whsec_...`).
    `report_all`: webhooks tell every outcome, as those of payment companies do, not only what came of an action later.
    Raises ValueError when only one of the two is given.
    """
    if (webhook_url is None) != (webhook_secret is None):
        raise ValueError("webhook_url and webhook_secret belong together: give both or neither")
    target = Target(webhook_url, webhook_secret, report_all) if webhook_url and webhook_secret else None
    uvicorn.run(
        build_app(Books(books), target),
        host=host,
        port=port,
        http=DroppableProtocol,
        log_level="warning",
        access_log=False,
    )
