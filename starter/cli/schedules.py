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
    names = {"Id": "id", "Cron": "cron", "Zone": "zone", "Overlap": "overlap", "Catch-up (s)": "catchup_window_seconds",
             "Queue": "queue", "Note": "note"}  # fmt: skip
    output.print_table("Schedules", [(name, output.field(field)) for name, field in names.items()], rows)


@commands.command(epilog=examples("durabill schedules apply"))
def apply() -> None:
    """Create what is missing, bring what exists to the table, remove what it has no more; a paused one stays paused."""
    from temporalio.service import RPCError

    from starter.clients import connect_temporal
    from workflows.schedules import Applied, apply_schedules

    settings = read_settings()

    async def applied() -> Applied:
        return await apply_schedules(await connect_temporal(settings))

    try:
        done = asyncio.run(applied())
    except (RPCError, RuntimeError) as problem:
        raise CliError(f"Temporal cannot be reached: {problem}. Check TEMPORAL_ADDRESS.") from problem
    for name in done.kept:
        typer.echo(f"{name}: applied")
    for name in done.removed:
        typer.echo(f"{name}: removed")
