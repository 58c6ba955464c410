"""Commands that are processes: api, worker, consume, migrate, sandbox-provider."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.codec import codec_server
from starter.cli.shared import CliError, JsonFlag, examples, read_settings

if TYPE_CHECKING:
    from starter.settings import Settings

SERVERS = "Processes"


def register(app: typer.Typer) -> None:
    """Adds the commands to the tree."""
    app.command("api", rich_help_panel=SERVERS, epilog=examples("durabill api", "durabill api --port 9000"))(api)
    app.command(
        "worker",
        rich_help_panel=SERVERS,
        epilog=examples("durabill worker", "durabill worker --queue billing --queue webhooks"),
    )(worker)
    app.command(
        "consume",
        rich_help_panel=SERVERS,
        epilog=examples("durabill consume", "durabill consume --lazy", "durabill consume --supervised 2"),
    )(consume)
    app.command("migrate", rich_help_panel=SERVERS, epilog=examples("durabill migrate", "durabill migrate --json"))(
        migrate
    )
    app.command(
        "sandbox-provider",
        rich_help_panel=SERVERS,
        epilog=examples("durabill sandbox-provider --port 8200 --books .durabill/books.db"),
    )(sandbox_provider)

    app.command("codec-server", rich_help_panel=SERVERS, epilog=examples("durabill codec-server --port 8081"))(
        codec_server
    )


def api(
    host: Annotated[str | None, typer.Option(help="Instead of DURABILL_API_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Instead of DURABILL_API_PORT.", min=0, max=65535)] = None,
) -> None:
    """Serve the HTTP API until SIGTERM or Ctrl-C.

    Needs Postgres, ClickHouse and Temporal; starts without them and says in /readyz what is missing.
    """
    settings = read_settings()
    changed = {"api_host": host, "api_port": port}
    settings = settings.model_copy(update={name: value for name, value in changed.items() if value is not None})
    start_logging(settings)
    import uvloop

    from starter.cli.api_server import serve

    uvloop.run(serve(settings))


def worker(
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", help="Serve only this task queue; may be repeated.")
    ] = None,
) -> None:
    """Run workflows and activities until SIGTERM, then finish what is running and go."""
    if queue:
        os.environ["DURABILL_WORKER_QUEUES"] = ",".join(queue)
    read_settings()
    import worker as process

    process.main()


def consume(
    lazy: Annotated[
        bool, typer.Option("--lazy", help="Carry the events of the tenants in DURABILL_LAZY_TENANTS, and no others.")
    ] = False,
    supervised: Annotated[
        int | None,
        typer.Option(help="Have workers of the queue `ingest` do it, so many at once, and end.", min=1, max=64),
    ] = None,
) -> None:
    """Carry usage events from Kafka into ClickHouse until SIGTERM."""
    settings = read_settings()
    start_logging(settings)
    from starter.cli.consumer import serve, supervise

    if supervised is not None:
        typer.echo(f"{asyncio.run(supervise(settings, lazy, supervised))}: cancel this workflow to end it")
        return

    asyncio.run(serve(settings, lazy))


def migrate(json_output: JsonFlag = False) -> None:
    """Bring Postgres, ClickHouse and Temporal's search attributes up to date. Safe to repeat."""
    from starter.cli.migration import migrate_all
    from starter.cli.output import print_json

    applied = asyncio.run(migrate_all(read_settings()))
    if json_output:
        print_json(applied)
        return
    for system, names in applied.items():
        typer.echo(f"{system}: {', '.join(names) if names else 'up to date'}")


def sandbox_provider(
    port: Annotated[int, typer.Option(help="Port on which it listens.", min=0, max=65535)],
    books: Annotated[Path, typer.Option(help="SQLite file of its books; created when missing.")],
    host: Annotated[str, typer.Option(help="Address on which it listens.")] = "127.0.0.1",
    report_all: Annotated[
        bool, typer.Option("--report-all", help="Send a webhook for every outcome, also where it was answered at once.")
    ] = False,
) -> None:
    """Run a fake payment company with books of its own. It moves no money."""
    settings = read_settings()
    secret = settings.sandbox_webhook_secret
    from starter.sandbox_provider.server import serve

    try:
        signing = secret.get_secret_value() if secret else None
        serve(port, books, host, settings.sandbox_webhook_url, signing, report_all=report_all)
    except ValueError as problem:
        raise CliError(f"DURABILL_SANDBOX_WEBHOOK_URL and DURABILL_SANDBOX_WEBHOOK_SECRET: {problem}") from None


def start_logging(settings: "Settings") -> None:
    """Logs of a long-running process, in the format of its settings."""
    from starter.settings import log_format
    from starter.telemetry import configure_logging

    configure_logging(log_format(settings), settings.log_level)
