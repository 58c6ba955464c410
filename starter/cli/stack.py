"""`durabill dev` and `durabill demo`: everything on this machine."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.shared import CREDENTIALS, CliError, JsonFlag, examples

if TYPE_CHECKING:
    from starter.dev import Dev

PANEL = "On this machine"
DEMO_TENANT = "Demo Voice"
KafkaFlag = Annotated[bool, typer.Option("--kafka", help="Send events through a Kafka broker.")]
S3Flag = Annotated[bool, typer.Option("--s3", help="Keep documents in an S3 server.")]

dev_commands = typer.Typer(name="dev", help="Everything, embedded: databases, Temporal with its UI, API and worker.")


def register(app: typer.Typer) -> None:
    """Adds the commands to the tree."""
    app.add_typer(
        dev_commands,
        invoke_without_command=True,
        rich_help_panel=PANEL,
        epilog=examples(
            "durabill dev", "durabill dev --kafka --s3 --detach", "durabill dev status", "durabill dev stop"
        ),
    )
    app.command("demo", rich_help_panel=PANEL, epilog=examples("durabill demo", "durabill demo --kafka --s3"))(demo)


@dev_commands.callback()
def dev(
    context: typer.Context,
    kafka: KafkaFlag = False,
    s3: S3Flag = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return as soon as everything is ready.")] = False,
) -> None:
    """Run everything, embedded, until Ctrl-C: databases, Temporal with its UI, API and worker.

    The data stays in .durabill/ and is used again by the next run.
    """
    if context.invoked_subcommand is None:
        from starter.dev import run_dev

        raise typer.Exit(run_dev(kafka, s3, detach))


@dev_commands.command(epilog=examples("durabill dev stop"))
def stop() -> None:
    """Stop what runs here; the data stays."""
    from starter.dev import stop_dev

    raise typer.Exit(stop_dev())


@dev_commands.command(epilog=examples('eval "$(durabill dev env)"'))
def env() -> None:
    """Print the settings of what runs here as shell exports, so that other commands find it."""
    from starter.dev import dev_env

    raise typer.Exit(dev_env())


@dev_commands.command(epilog=examples("durabill dev status", "durabill dev status --json"))
def status(json_output: JsonFlag = False) -> None:
    """Show what runs here. Exit 0 when all of it does, 3 when not."""
    from starter.dev import dev_status

    raise typer.Exit(dev_status(json_output=json_output))


def demo(kafka: KafkaFlag = False, s3: S3Flag = False, json_output: JsonFlag = False) -> None:
    """Bring everything up and play twelve months of billing; exit 0 only if every invoice is right to the last digit.

    Run it again: it uses what is there and checks again. With other options it is played anew, in an environment of its
    own. `durabill dev stop` ends it.
    """
    from deploy.embedded.stack import DATA
    from starter.demo.command import run_demo
    from starter.dev import Supervisor

    running = Supervisor(DATA, kafka, s3).up()
    name = "-".join(["demo", *(["kafka"] if kafka else []), *(["s3"] if s3 else [])])
    api_key = demo_key(running, name, DATA / name / "credentials.json")
    remember(CREDENTIALS, running.api_url, api_key)
    raise typer.Exit(run_demo(running.api_url, api_key, running.temporal_ui_url, json_output, DATA / name))


def demo_key(running: "Dev", environment: str, file: Path) -> str:
    """The key of the demo's environment: the one remembered in `file` while the API accepts it, else a new one."""
    from starter.cli.api_client import Api, ApiError

    known = _remembered(file)
    if known is not None:
        try:
            with Api(running.api_url, known) as api:
                api.get("customers", limit=1)
        except ApiError as refusal:
            if refusal.status != 401:
                raise
        else:
            remember(file, running.api_url, known)
            return known
    made = _create_key(running, environment)
    remember(file, running.api_url, made)
    return made


def remember(file: Path, url: str, api_key: str) -> None:
    """Keeps address and key where only this user reads them."""
    scratch = file.with_suffix(".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps({"url": url, "api_key": api_key}), encoding="utf-8")
        scratch.replace(file)
    except OSError as problem:
        raise CliError(f"{file} cannot be written: {problem.strerror}") from None


def _remembered(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["api_key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _create_key(running: "Dev", environment: str) -> str:
    import asyncio

    from pydantic import SecretStr

    from starter.cli.bootstrap import create_key
    from starter.settings import Settings

    settings = Settings(postgres_dsn=SecretStr(running.settings["DURABILL_POSTGRES_DSN"]))
    return asyncio.run(create_key(settings, DEMO_TENANT, environment, "demo"))["api_key"]
