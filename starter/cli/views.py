"""`durabill views`: the questions of a bad day, answered from the workflow list."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from starter.cli.shared import CliError, JsonFlag, LimitOption, examples, read_settings

if TYPE_CHECKING:
    from temporalio.client import Client

EXAMPLES = ("durabill views", "durabill views waits-for-a-person", "durabill views failed-to-collect-today --json")


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command("views", epilog=examples(*EXAMPLES))(views)


def views(
    name: Annotated[
        str | None, typer.Argument(metavar="VIEW", help="One of the views; without it, how many each finds.")
    ] = None,
    limit: LimitOption = 50,
    json_output: JsonFlag = False,
) -> None:
    """What waits for a person, failed to collect, is stuck or parked: queries that the Temporal UI takes as well.

    The query of each is in --json, to be saved in the UI as a view.
    """
    from starter.cli import output
    from starter.saved_views import VIEWS

    if name is not None and name not in VIEWS:
        raise CliError(f"there is no view {name!r}; there are: {', '.join(VIEWS)}", exit_code=2)
    items = _ask(name, limit)
    if json_output:
        output.print_json(items)
    elif name is None:
        columns = [
            ("View", output.field("view")),
            ("Question", output.field("question")),
            ("Found", output.field("found")),
        ]
        output.print_table("Views", columns, items, right=("Found",))
    else:
        names = (("Workflow", "workflow_id"), ("Status", "status"), ("Link", "link"))
        shown = [
            (title, output.field(key)) for title, key in names if any(item.get(key) for item in items) or not items
        ]
        output.print_table(VIEWS[name].question, [*shown, ("Since (UTC)", output.instant("started_at"))], items)


def _ask(name: str | None, limit: int) -> list[dict[str, Any]]:
    from temporalio.service import RPCError

    from starter.clients import connect_temporal

    settings = read_settings()

    async def asked() -> list[dict[str, Any]]:
        client = await connect_temporal(settings)
        return await (_counts(client) if name is None else _found(client, name, limit, settings.temporal_ui_url))

    try:
        return asyncio.run(asked())
    except (RPCError, RuntimeError) as problem:
        raise CliError(f"Temporal does not answer: {problem}. Check TEMPORAL_ADDRESS.") from problem


async def _counts(client: "Client") -> list[dict[str, Any]]:
    from starter.saved_views import VIEWS

    now = datetime.now(UTC)
    queries = {name: view.at(now) for name, view in VIEWS.items()}
    found = await asyncio.gather(*(client.count_workflows(query) for query in queries.values()))
    return [
        {"view": name, "question": VIEWS[name].question, "found": count.count, "query": queries[name]}
        for name, count in zip(queries, found, strict=True)
    ]


async def _found(client: "Client", name: str, limit: int, ui: str | None) -> list[dict[str, Any]]:
    from starter.saved_views import VIEWS

    items: list[dict[str, Any]] = []
    async for each in client.list_workflows(VIEWS[name].at(datetime.now(UTC)), limit=limit):
        item = {
            "workflow_id": each.id,
            "status": each.status.name.lower() if each.status else None,
            "started_at": each.start_time.isoformat(),
        }
        if ui:
            path = f"namespaces/{client.namespace}/workflows/{quote(each.id, safe='')}/{each.run_id}/history"
            item["link"] = f"{ui.rstrip('/')}/{path}"
        items.append(item)
    return items
