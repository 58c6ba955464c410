"""`durabill schedules`: the Schedules by which Temporal does what no subscription does by itself."""

import asyncio

import typer

from starter.cli.shared import CliError, JsonFlag, examples, group, read_settings

commands = group("schedules", "Schedules: what runs by the clock for everybody.")


@commands.command("list", epilog=examples("durabill schedules list"))
def list_(json_output: JsonFlag = False) -> None:
    """List the table that `schedules apply` brings a namespace to."""
    from starter.cli import output
    from workflows.schedules import SCHEDULES

    rows = [
        {
            "id": entry.id,
            "cron": entry.cron,
            "zone": entry.zone,
            "overlap": entry.overlap.name,
            "catchup_window_seconds": int(entry.catchup_window.total_seconds()),
            "queue": entry.queue,
            "note": entry.note,
        }
        for entry in SCHEDULES
    ]
    if json_output:
        output.print_json(rows)
        return
    names = ("Id", "Cron", "Zone", "Overlap", "Queue", "Note")
    output.print_table("Schedules", [(name, output.field(name.lower())) for name in names], rows)


@commands.command(epilog=examples("durabill schedules apply"))
def apply() -> None:
    """Create what is missing and bring what exists to the table; a paused one stays paused."""
    from temporalio.service import RPCError

    from starter.clients import connect_temporal
    from workflows.schedules import apply_schedules

    settings = read_settings()

    async def applied() -> list[str]:
        return await apply_schedules(await connect_temporal(settings))

    try:
        for name in asyncio.run(applied()):
            typer.echo(f"{name}: applied")
    except (RPCError, RuntimeError) as problem:
        raise CliError(f"Temporal cannot be reached: {problem}. Check TEMPORAL_ADDRESS.") from problem
