"""`durabill deployment`: roll workers from one build to the next while billing goes on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from starter.cli.shared import CliError, JsonFlag, examples, group, is_watched, read_settings

if TYPE_CHECKING:
    from temporalio.client import Client

    from starter.deployments import Build

commands = group("deployment", "Builds of the workers: which one takes new work, and when an old one may stop.")
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the Worker Deployment; TEMPORAL_DEPLOYMENT_NAME by default.")
]
BuildArgument = Annotated[
    str, typer.Argument(metavar="BUILD", help="What its workers have as TEMPORAL_WORKER_BUILD_ID.")
]
T = TypeVar("T")


@commands.command(epilog=examples("durabill deployment show", "durabill deployment show --name billing --json"))
def show(name: NameOption = None, json_output: JsonFlag = False) -> None:
    """List the builds, newest first: what each gets to do, and what it must still finish."""
    from starter.cli import output
    from starter.deployments import list_builds

    deployment = _named(name)
    builds = _ask(lambda client: list_builds(client, deployment))
    items = [_item(build) for build in builds]
    if json_output:
        output.print_json(items)
        return
    columns = [
        ("Build", output.field("build_id")),
        ("Status", output.field("status")),
        ("Ramp", lambda item: f"{item['ramp_percentage']:g} %" if item["ramp_percentage"] else ""),
        ("Must finish", output.field("pinned")),
        ("Since (UTC)", output.instant("made_at")),
    ]
    output.print_table(f"Deployment {deployment}", columns, items, right=("Ramp", "Must finish"))


@commands.command(
    epilog=examples(
        "durabill deployment ramp 2026-03-02 --percent 10", "durabill deployment ramp 2026-03-02 --percent 0"
    )
)
def ramp(
    build: BuildArgument,
    percent: Annotated[float, typer.Option(help="Share of the workflows; 0 takes it back.", min=0, max=100)],
    name: NameOption = None,
) -> None:
    """Send a share of the workflows to a build whose workers run, to see how it does."""
    from starter.deployments import ramp as set_ramp

    deployment = _named(name)
    _ask(lambda client: set_ramp(client, deployment, build, percent))
    typer.echo(f"{build} gets {percent:g} % of the workflows." if percent else f"{build} gets no workflows any more.")


@commands.command(epilog=examples("durabill deployment promote 2026-03-02"))
def promote(build: BuildArgument, name: NameOption = None) -> None:
    """Send everything to a build; what an older one has begun and is pinned to it ends there."""
    from starter.deployments import make_current

    deployment = _named(name)
    _ask(lambda client: make_current(client, deployment, build))
    typer.echo(f"{build} is current. Leave the old workers running until `durabill deployment wait OLD` is done.")


@commands.command(
    epilog=examples("durabill deployment wait 2026-02-17", "durabill deployment wait 2026-02-17 && kubectl scale ...")
)
def wait(build: BuildArgument, name: NameOption = None) -> None:
    """Wait until nothing needs the workers of an old build any more; then they may be stopped.

    A delivery that fails is tried for three days and keeps its build that long; all else takes minutes.
    """
    deployment = _named(name)
    _ask(lambda client: _follow(client, deployment, build))
    typer.echo(f"{build} has nothing left to do: its workers may be stopped.")


async def _follow(client: "Client", deployment: str, build: str) -> None:
    from starter.deployments import draining

    said = ""
    async for standing in draining(client, deployment, build):
        words = f"{build} is {standing.status}; workflows that must finish on it: {standing.pinned}"
        if words != said and is_watched():
            typer.echo(words, err=True)
        said = words


def _item(build: "Build") -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(build), "made_at": build.made_at.isoformat().replace("+00:00", "Z")}


def _named(name: str | None) -> str:
    found = name or read_settings().temporal_deployment_name
    if not found:
        raise CliError("say --name, or set TEMPORAL_DEPLOYMENT_NAME as the workers have it", exit_code=2)
    return found


def _ask(question: "Callable[[Client], Coroutine[Any, Any, T]]") -> T:
    """The answer of Temporal; raises CliError with what it refuses, or when it cannot be reached."""
    from temporalio.service import RPCError

    from starter.clients import connect_temporal
    from starter.deployments import DeploymentRefused

    settings = read_settings()

    async def asked() -> T:
        return await question(await connect_temporal(settings))

    try:
        return asyncio.run(asked())
    except DeploymentRefused as refused:
        raise CliError(str(refused)) from refused
    except (RPCError, RuntimeError) as problem:
        raise CliError(f"Temporal cannot be reached: {problem}. Check TEMPORAL_ADDRESS.") from problem
