"""`durabill findings`: what reconciliation and audit have found, read straight from Postgres for all tenants."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

import typer

from starter.cli.shared import CliError, JsonFlag, LimitOption, examples, read_settings

EXAMPLES = ("durabill findings", "durabill findings --json", "durabill findings --closed --limit 20")


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command("findings", epilog=examples(*EXAMPLES))(findings)


def findings(
    closed: Annotated[
        bool, typer.Option("--closed", help="Those that are gone, instead of those that are open.")
    ] = False,
    limit: LimitOption = 100,
    json_output: JsonFlag = False,
) -> None:
    """What does not add up or stands still, in all tenants, and what to do about it. Needs DURABILL_POSTGRES_DSN.

    Workers look every ten minutes and every night; a finding is closed by the next pass that does not meet it.
    """
    from starter.cli import output

    items = asyncio.run(_read(closed, limit))
    if json_output:
        output.print_json(items)
        return
    columns = [
        ("Finding", output.field("name")),
        ("Tenant", output.field("tenant_id")),
        ("About", output.field("reference")),
        ("Since", output.instant("first_seen_at")),
        *([("Until", output.instant("closed_at"))] if closed else []),
        ("Seen", output.field("times_seen")),
        ("Repair begun", output.field("repaired")),
        ("What, and what to do", output.field("sentence")),
    ]
    output.print_table("Findings", columns, items, right=("Seen",))


async def _read(closed: bool, limit: int) -> list[dict[str, Any]]:
    from sqlalchemy.exc import DBAPIError

    from models.database import Database
    from models.queries.findings import list_findings

    database = Database(read_settings().require("postgres_dsn"))
    try:
        async with database.system_transaction() as session:
            rows = await list_findings(session, closed=closed, most=limit)
    except OSError as problem:
        raise CliError(f"Postgres does not answer ({problem}). Check DURABILL_POSTGRES_DSN.") from problem
    except DBAPIError as problem:
        raise CliError(f"Postgres refused ({problem.orig}). Has `durabill migrate` run?") from problem
    finally:
        await database.close()
    return [{name: _wire(value) for name, value in row.model_dump().items()} for row in rows]


def _wire(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
